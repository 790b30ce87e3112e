"""Training: the loop, one epoch, the final test, and stored runs.

May import `formats` and the rooms below it. Open `loop.py` first (`train`), then `trainer.py` (one epoch);
`runs.py` reads a run back, `evaluation.py` tests it on noisy devices, `reporting.py` prints.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
