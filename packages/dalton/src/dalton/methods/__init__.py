"""The three learning rules on a block of samples; one time-step of the online settings is a block of one step."""

from dalton.methods.dalton import dalton
from dalton.methods.pass_context import Pass
from dalton.methods.surrgd import surrgd
from dalton.methods.tfr import tfr

RULES = {"surrgd": surrgd, "tfr": tfr, "dalton": dalton}

__all__ = ["RULES", "Pass", "dalton", "surrgd", "tfr"]
