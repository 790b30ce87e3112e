"""The learning rules: `plasticity.py` inside the liquid (STDP, AP-STDP, the astrocyte), `readout.py` for the readout.

May import `config`, `data` and `model`; knows nothing of engines. Open `plasticity.py` first. `protocol.py` is
the interface of a weight rule, your own included; `builtin.py` has the package's rules in that form.
"""

from nalsm.rules.protocol import Memory, PlasticityRule, Wiring

__all__ = ["Memory", "PlasticityRule", "Wiring"]
