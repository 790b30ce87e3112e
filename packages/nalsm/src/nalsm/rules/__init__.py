"""How it learns: `plasticity.py` inside the liquid (STDP, AP-STDP, the astrocyte), `readout.py` behind it.

May import `config`, `data` and `model`; knows no engine. Open `plasticity.py` first. `protocol.py` says what a weight
rule is, one of your own too; `builtin.py` has those of the package in that form.
"""

from nalsm.rules.protocol import Memory, PlasticityRule, Wiring

__all__ = ["Memory", "PlasticityRule", "Wiring"]
