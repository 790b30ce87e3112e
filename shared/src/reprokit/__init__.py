"""Shared tools of the repository: data sets, run directories, checkpoints, result ledgers and claims."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
