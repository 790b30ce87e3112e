"""What goes in: sources of images and events, splits, batches, augmentation, and the encoder the first layer sees.

May import `config` and the words it uses. Open `loading.py` first, then `samples.py`; `sources.py` to `cache.py` are
the way of an event recording from a file to frames of 1 ms, `encoding.py` turns pixels and frames into spikes.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, submod_attrs={"loading": ["IMAGE_NAMES", "load"], "samples": ["Portion", "Splits"]}
)
