"""The delay layer as JAX functions: jit, differentiate, vmap, scan, stack and build them into your own model.

May import `engines` and the rooms below it. Open `spikes.py` first (the input), then `scores.py` (spikes to scores).

Everything here is a function of arrays: there is no state between calls, and arrays may be traced unless they
are called static. The imperative `denram.DelayNetwork` uses the same engines.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
