"""The input: sources of images and events, splits, batches, augmentation, and the encoder in front of the first layer.

May import `config` and the words it uses. Open `loading.py` first, then `samples.py`; `own.py` takes tensors
and data sets of PyTorch, `sources.py` to `cache.py` turn an event recording from a file into frames of 1 ms,
`encoding.py` turns pixels and frames into spikes.
"""

from dalton.data.loading import IMAGE_NAMES, load
from dalton.data.own import splits_of
from dalton.data.samples import Portion, Splits

__all__ = ["IMAGE_NAMES", "Portion", "Splits", "load", "splits_of"]
