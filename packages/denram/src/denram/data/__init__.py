"""The input: recordings of spikes, binned and split into batches.

May import `config`, `spec`, `randomness` and reprokit. Open `loading.py` first: from the name of a data set to
binned events; `binning.py` turns spike times into steps, `events.py` stores events, `splits.py` determines
which samples are for training or validation, and their order.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
