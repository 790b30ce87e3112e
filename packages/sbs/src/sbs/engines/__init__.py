"""The engines: inference of one SbS layer from an image, by spikes.

`reference` is the plain and slow oracle in torch: open it first. `kernel` chooses: the C++ core, the GPU's kernels
(`gpu`, `triton_kernels`), or the reference where neither runs. `call` is what an engine is asked for, `geometry`
says which pixels belong to a patch, `agreement` compares the spikes of two engines. This room works on arrays and
knows neither layers nor networks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__, submodules=["agreement", "call", "geometry", "kernel", "reference"]
)
