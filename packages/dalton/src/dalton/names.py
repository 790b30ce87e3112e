"""Names of methods and settings, and what the original's model names stand for."""

from __future__ import annotations

from typing import Literal

Method = Literal["surrgd", "tfr", "dalton"]
Setting = Literal["bptt", "online", "rtrl"]
METHODS: tuple[Method, ...] = ("surrgd", "tfr", "dalton")
SETTINGS: tuple[Setting, ...] = ("bptt", "online", "rtrl")
# DEV-1: the original's "RTRL" models take the gradient of the present step alone; here that is called online, and rtrl
# is the rule with eligibility traces.
ALIASES: dict[str, tuple[Method, Setting]] = {
    "SRGT_GD_SCNN": ("surrgd", "bptt"),
    "TFR_SCNN": ("tfr", "bptt"),
    "DALTON_SCNN": ("dalton", "bptt"),
    "TFR_RTRL_SCNN": ("tfr", "online"),
    "DALTON_RTRL_SCNN": ("dalton", "online"),
}
