"""The weight rules of the package in the same form as your own rules; equations in `nalsm.rules.plasticity`."""

from __future__ import annotations

from typing import cast

from torch import Tensor

from nalsm.parameters import PlasticityParameters
from nalsm.rules import plasticity as equations
from nalsm.rules.protocol import Memory, PlasticityRule, Wiring


class BuiltinRule:
    """none, stdp, astrocyte or calcium, with their constants."""

    def __init__(self, parameters: PlasticityParameters) -> None:
        self.parameters, self.name = parameters, str(parameters.rule)

    def start(self, wiring: Wiring, samples: int, like: Tensor) -> Memory:
        """Return traces and calcium of 0 and the initial rates."""
        zeros, rate = like.new_zeros(samples, wiring.neurons), self.parameters.rate
        bias = rate * (1.0 + self.parameters.astrocyte_bias_offset)
        return {
            "trace": zeros,
            "calcium": zeros.clone(),
            "potentiation": rate,
            "depression": like.new_full((samples,), bias if self.name == "astrocyte" else rate),
            "astrocyte_weight": self.parameters.astrocyte_weight,
            "astrocyte_bias": bias,
        }

    def observe(self, memory: Memory, spikes: Tensor) -> None:
        """Update the calcium from the spikes."""
        if self.name == "calcium":
            tau = self.parameters.calcium_tau
            memory["calcium"] = equations.next_calcium(memory["calcium"], spikes, tau)

    def change(self, memory: Memory, weights: Tensor, spikes: Tensor, wiring: Wiring) -> Tensor:  # noqa: ARG002
        """Return dW from the traces before these spikes, then update traces, astrocyte and rates."""
        rule = self.parameters
        up, down = equations.pairs(memory["trace"], spikes, wiring.post, wiring.pre, wiring.inhibitory)
        potentiation, depression = memory["potentiation"], memory["depression"][:, None]
        if self.name == "calcium":
            calcium = memory["calcium"][:, wiring.post]
            theta, width = rule.calcium_threshold, rule.calcium_range
            change = equations.ap_stdp(up, down, potentiation, depression, calcium, theta, width)
        else:
            change = equations.stdp(up, down, potentiation, depression)
        memory["trace"] = equations.next_trace(
            memory["trace"], spikes, rule.trace_increment, rule.trace_decay
        )
        if self.name == "astrocyte":
            memory["depression"] = equations.next_astrocyte(
                memory["depression"], spikes, wiring.liquid, memory["astrocyte_weight"], memory["astrocyte_bias"],
                rule.astrocyte_tau,
            )  # fmt: skip
            memory["astrocyte_weight"] *= rule.rate_decay
            memory["astrocyte_bias"] *= rule.rate_decay
        memory["depression"] = memory["depression"] * rule.rate_decay
        memory["potentiation"] *= rule.rate_decay
        return change


def rule_of(parameters: PlasticityParameters) -> PlasticityRule:
    """Return the rule that the parameters name, or the user's own object in them."""
    return cast("PlasticityRule", parameters.rule) if parameters.own else BuiltinRule(parameters)
