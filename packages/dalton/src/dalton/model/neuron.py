"""Current-based integrate-and-fire neuron: its constants, its time course, its gradient in closed form.

    c_t = d c_{t-1} + I_t         d = exp(-dt / tau_current), 0 without a current filter
    u_t = v_{t-1} + c_t
    p_t = u_t if u_t >= 0 else 0
    delta_t = p_t - threshold,    s_t = [delta_t > 0]
    v_t = 0 if s_t else p_t       (soft reset: v_t = p_t - threshold s_t)

The derivative of [delta > 0] is replaced by that of the fast sigmoid, sigma'(delta) = 1 / (1 + k |delta|)^2, k = 5.

Only u is stored; p, delta, s and v follow from it. Arrays are time-major: (time, batch, ...).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from reprokit import UserError
from torch import Tensor, nn

from dalton.checks import check_alike, check_number


def surrogate_derivative(delta: Tensor, scale: float = 5.0) -> Tensor:
    """Return sigma'(delta) = 1 / (1 + scale |delta|)^2, any shape, dimensionless.

    Args:
        delta: Membrane potential minus threshold.
        scale: Steepness k, above 0.

    Raises:
        UserError: The scale is not above 0, or a type other than float32 and float64.
    """
    check_number("scale", scale, positive=True)
    check_alike({}, ("delta", delta))
    slope = delta.abs().mul_(scale).add_(1)
    return slope.mul_(slope).reciprocal_()


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(delta: Tensor, scale: float) -> Tensor:  # noqa: ARG004
        return (delta > 0).to(delta.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        del output
        ctx.save_for_backward(inputs[0])
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (delta,) = ctx.saved_tensors
        slope = delta.abs() * ctx.scale + 1  # not in place, so that it can be differentiated again
        return grad_outputs[0] * (slope * slope).reciprocal(), None


def spike(delta: Tensor, scale: float = 5.0) -> Tensor:
    """Return 1 where delta > 0, else 0, in delta's dtype; autograd sees sigma'(delta).

    Args:
        delta: Membrane potential minus threshold, any shape.
        scale: Steepness k of the surrogate derivative, above 0.

    Raises:
        UserError: The scale is not above 0, or a type other than float32 and float64.
    """
    check_number("scale", scale, positive=True)
    check_alike({}, ("delta", delta))
    result: Any = _Spike.apply(delta, scale)
    return result


Reset = Literal["hard", "soft"]


@dataclass(frozen=True)
class NeuronParameters:
    """Constants of every neuron of a network.

    Attributes:
        tau_current: Time constant of the synaptic current in s; None: no filter.
        dt: Duration of a time-step in s.
        threshold: Firing threshold.
        surrogate_scale: Steepness k of the surrogate derivative.
        reset: "hard" sets the potential to 0 at a spike, "soft" subtracts the threshold.

    Raises:
        UserError: A constant is out of range.
    """

    tau_current: float | None = 1e-3
    dt: float = 1e-3
    threshold: float = 1.0
    surrogate_scale: float = 5.0
    reset: Reset = "hard"

    def __post_init__(self) -> None:
        for name in ("tau_current", "dt", "threshold", "surrogate_scale"):
            if name != "tau_current" or self.tau_current is not None:
                check_number(name, getattr(self, name), positive=True)
        if self.reset not in ("hard", "soft"):
            raise UserError(f"reset is {self.reset!r}; choose hard or soft.")

    @property
    def decay(self) -> float:
        """Factor d of the synaptic current from one time-step to the next."""
        return 0.0 if self.tau_current is None else math.exp(-self.dt / self.tau_current)


class NeuronState(NamedTuple):
    """A neuron's state between time-steps, each (batch, ...).

    Attributes:
        v: Membrane potential after the reset.
        c: Synaptic current.
    """

    v: Tensor
    c: Tensor


def zero_state(like: Tensor) -> NeuronState:
    """Return the state at rest for currents of one time-step, (batch, ...)."""
    return NeuronState(torch.zeros_like(like), torch.zeros_like(like))


def threshold_distance(u: Tensor, neuron: NeuronParameters) -> Tensor:
    """Return delta = max(u, 0) - threshold."""
    return u.clamp(min=0).sub_(neuron.threshold)


def after_reset(u: Tensor, neuron: NeuronParameters) -> Tensor:
    """Return v, the potential after clipping and reset, from the potential u before both."""
    p = u.clamp(min=0)
    fired = p > neuron.threshold
    if neuron.reset == "hard":
        return p.masked_fill_(fired, 0)
    return p.sub_(fired.to(p.dtype), alpha=neuron.threshold)


def run(
    currents: Tensor, neuron: NeuronParameters, state: NeuronState | None = None
) -> tuple[Tensor, NeuronState]:
    """Return the potentials u before clipping and reset, (time, batch, ...), and the state at the end.

    Args:
        currents: Input currents I (time, batch, ...), float32 or float64.
        neuron: Constants.
        state: State before the first step; None: at rest. It is not changed.

    Raises:
        UserError: No time-step, a wrong type, or a state of the wrong shape.
    """
    if currents.dim() < 1 or 0 in currents.shape:
        raise UserError(
            f"currents have shape {tuple(currents.shape)}; there must be a time-step and a neuron."
        )
    check_alike({} if state is None else {"v": state.v, "c": state.c}, ("currents", currents[0]))
    v, c = zero_state(currents[0]) if state is None else state
    potentials = torch.empty_like(currents)
    for t, current in enumerate(currents):
        c = c * neuron.decay + current
        torch.add(v, c, out=potentials[t])
        v = after_reset(potentials[t], neuron)
    return potentials, NeuronState(v, c)


def current_gradient(u: Tensor, spike_gradient: Tensor, neuron: NeuronParameters) -> Tensor:
    """Return e = dLoss/dI (time, batch, ...) from g = dLoss/ds through the neuron's own time.

        a_t = sigma'(delta_t) g_t + (1 - s_t) b_{t+1}     (soft reset: without the factor 1 - s_t)
        b_t = [u_t >= 0] a_t
        e_t = b_t + d e_{t+1}

    Args:
        u: Potentials that :func:`run` returned.
        spike_gradient: g, same shape.
        neuron: Constants.

    Raises:
        UserError: Shapes differ, or a type is not float32 or float64.
    """
    check_alike({"spike_gradient": spike_gradient}, ("u", u))
    result = torch.empty_like(u)
    b, e = torch.zeros_like(u[0]), torch.zeros_like(u[0])
    for t in reversed(range(len(u))):
        delta = threshold_distance(u[t], neuron)
        carried = b.masked_fill(delta > 0, 0) if neuron.reset == "hard" else b
        b = surrogate_derivative(delta, neuron.surrogate_scale).mul_(spike_gradient[t]).add_(carried)
        b.masked_fill_(u[t] < 0, 0)
        e = torch.add(b, e, alpha=neuron.decay, out=result[t])
    return result


class IntegrateAndFire(nn.Module):
    """One time-step of the neuron for autograd; the state is both argument and result.

    Args:
        parameters: Constants.
    """

    def __init__(self, parameters: NeuronParameters | None = None) -> None:
        super().__init__()
        self.parameters_of_neuron = parameters or NeuronParameters()

    def forward(self, current: Tensor, state: NeuronState | None = None) -> tuple[Tensor, NeuronState]:
        """Return spikes (batch, ...) and the next state.

        Args:
            current: I (batch, ...).
            state: State before this step; None: at rest.

        Raises:
            UserError: A state of the wrong shape, or a type other than float32 and float64.
        """
        neuron = self.parameters_of_neuron
        check_alike({} if state is None else {"v": state.v, "c": state.c}, ("currents", current))
        v, c = zero_state(current) if state is None else state
        c = c * neuron.decay + current
        u = v + c
        p = torch.where(u >= 0, u, torch.zeros_like(u))
        spikes = spike(p - neuron.threshold, neuron.surrogate_scale)
        fired = spikes.detach()
        v = p * (1 - fired) if neuron.reset == "hard" else p - neuron.threshold * fired
        return spikes, NeuronState(v, c)
