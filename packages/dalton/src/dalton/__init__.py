"""Spiking CNNs trained by surrogate gradients, a three-factor rule or DALTON, by sequence or online.

Reference: R. Gaurav, D. Do, T. Doan, Y. Yi, DALTON - Deep Local Learning in SNNs via local Weights and
Surrogate-Derivative Transfer (2024), and its program.

The names in ``__init__.pyi`` are loaded when they are first used, so ``dalton --help`` does not load torch.
Where to look: `dalton.rules` has the learning rules, one file each; `dalton.model` the neuron and the network;
`dalton.engines` the engines that compute; `dalton.training` the step and the loop.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
__version__ = "0.2.0"
