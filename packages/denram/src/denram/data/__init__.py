"""What goes in: recordings of spikes, binned and cut into batches.

May import `config`, `spec`, `randomness` and reprokit. Open `loading.py` first: from the name of a data set to
binned events; `binning.py` says how a spike time becomes a step, `events.py` how events are held, `splits.py`
which samples train, which validate, and in what order.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
