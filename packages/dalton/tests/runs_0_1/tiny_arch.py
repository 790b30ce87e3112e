"""The architecture that the old runs name as ``tiny_arch:TINY``."""

from dalton import Architecture, ConvSpec

TINY = Architecture((ConvSpec(4, 3, pool=2, dropout=0.1),), (16, 12), name="tiny")
