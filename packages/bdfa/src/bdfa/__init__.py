"""The feedback-alignment family (BP, FA, DFA, BFA, BDFA) on any PyTorch network.

The names are listed in ``__init__.pyi`` and loaded when they are first used, so that ``import bdfa`` and
``bdfa --help`` do not wait for PyTorch. The learning rules are in `bdfa.rules`.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
