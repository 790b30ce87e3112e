"""Spike-By-Spike layers for PyTorch: non-negative stochastic inference with a custom gradient and a C++ core.

The names below are loaded when they are first used; ``__init__.pyi`` says where each is defined. The rooms,
from the ground up: `data`, `engines`, `rules` (the learning rule), `model`, `formats`, `training`, `reproduce`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
