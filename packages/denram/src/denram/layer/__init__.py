"""The delay layer as functions of JAX: to jit, differentiate, vmap, scan, stack and build into your own model.

May import `engines` and what lies below it. Open `spikes.py` first (what goes in), then `scores.py` (spikes to scores).

Everything here is a function of arrays: nothing is kept between calls, and an array may be traced wherever it is not
called static. The imperative `denram.DelayNetwork` computes with the same engines.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
