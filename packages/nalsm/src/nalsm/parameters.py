"""Constants of the liquid and of its plasticity, with the values of Ivanov & Michmizos (2021) as defaults.

Neuron i integrates with step dt = 1 ms (V in arbitrary units, threshold 20)

    V_i <- V_i + I_i - V_i / tau_v,          S_i = [V_i >= threshold and not refractory], then V_i <- 0

    I_i = sum_j W_ij exp(-age_j / tau_u) / tau_u      (nearest spike of j only) + input_current per input event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

from reprokit import UserError

from nalsm.checks import real, whole

Rule = Literal["none", "stdp", "astrocyte", "calcium"]
RULES: tuple[Rule, ...] = ("none", "stdp", "astrocyte", "calcium")
RULE_METHODS = ("start", "observe", "change")  # methods of a user's own rule, see `nalsm.rules.protocol`


@dataclass(frozen=True)
class NeuronParameters:
    """Leaky integrate-and-fire neurons with nearest-spike exponential currents."""

    tau_v: float = 64.0
    """Membrane time constant, ms."""
    threshold: float = 20.0
    """Membrane potential at which a neuron fires."""
    refractory: int = 2
    """Milliseconds after a spike in which the neuron cannot fire."""
    tau_u: float = 1.0
    """Synaptic time constant, ms."""
    input_current: float = 100.0
    """Current of one event into its input neuron."""

    def __post_init__(self) -> None:
        """Check ranges: one step lasts 1 ms, so a shorter time constant would make V overshoot."""
        real("tau_v", self.tau_v, least=1.0, unit=" ms")
        for name in ("threshold", "input_current"):
            real(name, getattr(self, name), above=0.0)
        real("tau_u", self.tau_u, least=0.01, unit=" ms")
        whole("refractory", self.refractory, 0, unit=" ms")


@dataclass(frozen=True)
class PlasticityParameters:
    """Pair STDP with one trace per neuron; `rule` determines the depression rate L-.

    `none` changes nothing, `stdp` has a constant L-, `astrocyte` the state of one astrocyte, `calcium` gates both terms
    by the calcium of the post-synaptic neuron (AP-STDP). The equations are in `rules/plasticity.py`.
    """

    rule: Rule | object = "none"
    """none, stdp, astrocyte or calcium, or a `nalsm.rules.PlasticityRule` of your own."""
    rate: float = 0.15
    """L+ at the start of a presentation, and also L- of `stdp` and `calcium`."""
    rate_decay: float = 1.0
    """Factor on all rates after each millisecond (0.99 while features are produced)."""
    trace_increment: float = 0.1
    trace_decay: float = 0.9047744744744745
    """The original's constant, exp(-1 / 10 ms) to four digits."""
    weight_limit: float = 3.0
    astrocyte_weight: float = 0.015
    """w_a: 0.015 for 1000 neurons, 0.0075 for 8000."""
    astrocyte_bias_offset: float = 0.0
    """b = rate (1 + offset)."""
    astrocyte_tau: float = 100.0
    calcium_tau: float = 1000.0
    calcium_threshold: float = 37.0
    """theta, Hz."""
    calcium_range: float = 23.0
    """Hz."""

    def __post_init__(self) -> None:
        """Check ranges."""
        if not self.own and self.rule not in RULES:
            raise UserError(f"plasticity rule is {self.rule!r}; choose one of {', '.join(RULES)}.")
        if self.own:
            check_rule(self.rule, "plasticity rule")
        for name in ("rate", "trace_increment"):
            real(name, getattr(self, name), least=0.0)
        for name in ("rate_decay", "trace_decay"):
            real(name, getattr(self, name), least=0.0, most=1.0)
        for name in ("astrocyte_tau", "calcium_tau"):
            real(name, getattr(self, name), least=1.0, unit=" ms")
        for name in ("astrocyte_weight", "astrocyte_bias_offset", "calcium_threshold"):
            real(name, getattr(self, name))
        real("weight_limit", self.weight_limit, above=0.0)
        real("calcium_range", self.calcium_range, least=0.0, unit=" Hz")

    @property
    def own(self) -> bool:
        """Whether the rule is the user's own object."""
        return any(hasattr(self.rule, method) for method in RULE_METHODS)


def check_rule(rule: object, source: str) -> object:
    """Return a weight rule after checking that it is complete.

    Args:
        rule: the object.
        source: where it comes from; the message begins with this.

    Raises:
        UserError: if a method or the name is missing.
    """
    lacking = [name for name in RULE_METHODS if not callable(getattr(rule, name, None))]
    if isinstance(rule, type) or lacking:
        what = (
            "is a class" if isinstance(rule, type) else f"is a {type(rule).__name__} without {lacking[0]}()"
        )
        raise UserError(f"{source} {what}; give an object with the methods {', '.join(RULE_METHODS)}.")
    if not isinstance(getattr(rule, "name", None), str):
        raise UserError(f"{source} has no name; give it one, a string.")
    return rule


def kernel_options(
    neuron: NeuronParameters, plasticity: PlasticityParameters, duration: int
) -> dict[str, float]:
    """Return the constants of one presentation for both engines.

    Args:
        neuron: constants of the neurons.
        plasticity: constants of the weight rule.
        duration: milliseconds of one presentation.

    Raises:
        UserError: if duration is not a whole number of 1 or more, or the rule is the user's own.
    """
    if plasticity.own:
        raise UserError("the compiled engine cannot run your own rule; choose engine torch.")
    return {
        "duration": whole("duration", duration, 1, unit=" ms"),
        "threshold": neuron.threshold,
        "leak": 1.0 / neuron.tau_v,
        "synapse_decay": math.exp(-1.0 / neuron.tau_u),
        "synapse_gain": 1.0 / neuron.tau_u,
        "input_current": neuron.input_current,
        "refractory": int(neuron.refractory),
        "plasticity": RULES.index(cast("Rule", plasticity.rule)),
        "potentiation": plasticity.rate,
        "depression": plasticity.rate,
        "trace_increment": plasticity.trace_increment,
        "trace_decay": plasticity.trace_decay,
        "weight_limit": plasticity.weight_limit,
        "rate_decay": plasticity.rate_decay,
        "astrocyte_weight": plasticity.astrocyte_weight,
        "astrocyte_bias": plasticity.rate * (1.0 + plasticity.astrocyte_bias_offset),
        "astrocyte_tau": plasticity.astrocyte_tau,
        "calcium_tau": plasticity.calcium_tau,
        "calcium_threshold": plasticity.calcium_threshold,
        "calcium_range": plasticity.calcium_range,
    }
