"""Liquid state machines with fixed weights, STDP, AP-STDP and astrocyte-modulated STDP.

Names are loaded when they are first used, so `import nalsm` is fast; `__init__.pyi` lists them. The rooms, from
the ground up: `config`, `data`, `model`, `rules` (the learning rules), `engines`, `training`, `plots`, `estimator` and
`reproduce`, `cli`.

`from nalsm import *` leaves out the two estimators, because their base classes make scikit-learn load, which takes
nearly as long as PyTorch; `from nalsm import LiquidStateMachine` brings them.

Reference: Ivanov & Michmizos, Increasing Liquid State Machine Performance with Edge-of-Chaos Dynamics
Organized by Astrocyte-modulated Plasticity, NeurIPS 2021.
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach_stub(__name__, __file__)
__all__.remove("LiquidStateMachine")
__all__.remove("LiquidStateRegressor")
__version__ = "0.2.0"
