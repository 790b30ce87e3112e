"""DenRAM: fixed random dendritic delays and trained, noisy weights.

D'Agostino et al., Nature Communications 15:3446, 2024, doi 10.1038/s41467-024-47764-w.

Arrays over time are time-major: (time, sample, channel or output).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
