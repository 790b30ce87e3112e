"""The engines: inference of one SbS layer from an image, by spikes.

`reference` is the plain and slow oracle in torch: open it first. `kernel` calls the C++ core and falls back to
the reference; `geometry` says which pixels belong to a patch. This room works on arrays and knows neither layers nor
networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, submodules=["geometry", "kernel", "reference"])
