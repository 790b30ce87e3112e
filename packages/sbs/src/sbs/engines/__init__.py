"""Who works it out: the inference of one SbS layer from an image, by spikes.

`reference` is the plain and slow oracle in torch: open it first. `kernel` calls the C++ core and falls back to
the reference; `geometry` says which pixels a patch has. This room knows arrays, no layer and no network.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["geometry", "kernel", "reference"])
