"""The learning rules, one file a rule; one time-step of the online settings is a block of one step.

May import `engines` and what lies below. Open `dalton.py` first, the paper's rule; `surrgd.py` and `tfr.py` are what it
is compared with, `rtrl.py` the exact eligibility traces. `workspace.py` is what a rule is given.
"""

from dalton.rules.dalton import dalton
from dalton.rules.surrgd import surrgd
from dalton.rules.tfr import tfr
from dalton.rules.workspace import Pass

RULES = {"surrgd": surrgd, "tfr": tfr, "dalton": dalton}

__all__ = ["RULES", "Pass", "dalton", "surrgd", "tfr"]
