"""The learning rules, one file per rule; one time-step of the online settings is a block of one step.

May import `engines` and the rooms below it. Open `dalton.py` first, the paper's rule; `surrgd.py` and `tfr.py`
are the rules it is compared with, `rtrl.py` has the exact eligibility traces. `protocol.py` is the interface of
a rule, your own included, and `workspace.py` what a rule receives.
"""

from dalton.rules.dalton import dalton
from dalton.rules.protocol import BuiltinRule, LearningRule
from dalton.rules.surrgd import surrgd
from dalton.rules.tfr import tfr
from dalton.rules.workspace import Pass

RULES: dict[str, LearningRule] = {
    "surrgd": BuiltinRule("surrgd", surrgd, settings=("bptt",), trains_out=True),
    "tfr": BuiltinRule("tfr", tfr),
    "dalton": BuiltinRule("dalton", dalton, losses=("mse",)),  # its targets are currents
}

__all__ = ["RULES", "LearningRule", "Pass", "dalton", "surrgd", "tfr"]
