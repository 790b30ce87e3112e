"""Specifications: the network (sizes, time constants, device statistics), the binning, the profile, the engine.

Two profiles exist. ``faithful`` repeats the original program with its quirks; ``fixed`` (the default) repairs
those that are mistakes. The quirks that concern the model itself:

* ``DEV-1``: the original's delay line is one step short, so the largest delay present acts one step early
  (effective delay ``min(D, depth - 1)``); ``fixed`` applies every delay as drawn.
* ``DEV-2``: the original takes ``log(softmax(score))``, which overflows for large scores; ``fixed`` uses
  log-sum-exp.
* ``DEV-3``: the original's Adam counts epochs instead of steps (see `denram.rules.adam`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, get_args

import numpy as np
from reprokit import UserError

Profile = Literal["faithful", "fixed"]
Distribution = Literal["lognormal", "uniform", "pattern"]
Engine = Literal["auto", "fft", "events"]
LEVELS_MV = (0.1,)  # distance of the levels of heartbeats, mV


@dataclass(frozen=True)
class NetworkSpec:
    """Everything that determines the shape and the dynamics of a network, except weights and delays.

    Attributes:
        n_in: input channels.
        n_delays: parallel synapses per (output, input) pair; column k of a weight matrix reads channel
            ``k // n_delays``.
        n_out: classes.
        steps_in: time steps of input; the network continues for the longest delay after them.
        dt: time step in seconds.
        tau_mem: membrane time constant in seconds.
        max_delay: delays are clipped to this many steps.
        r_mu: mean resistance of the delay cells in ohm.
        r_std: standard deviation of the logarithm of the resistance.
        capacitance: in farad; a delay is ``capacitance * resistance`` seconds.
        weight_scale: initial weights are ``|N(0, 1)| * weight_scale / sqrt(n_in)``.
        distribution: distribution of the delays.
        bias_in_tail: whether the bias current also flows after the input has ended (the original: no).
        profile: ``fixed`` or ``faithful``, see the module docstring.

    Raises:
        UserError: a value out of range.
    """

    n_in: int = 700
    n_delays: int = 16
    n_out: int = 20
    steps_in: int = 150
    dt: float = 5e-3
    tau_mem: float = 20e-3
    max_delay: int = 200
    r_mu: float = 500e9
    r_std: float = 0.4
    capacitance: float = 1e-12
    weight_scale: float = 0.3
    distribution: Distribution = "lognormal"
    bias_in_tail: bool = False
    profile: Profile = "fixed"

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        for name in ("n_in", "n_delays", "n_out", "steps_in"):
            require_whole(name, getattr(self, name), minimum=1)
        require_whole("max_delay", self.max_delay, minimum=0)
        for name in ("dt", "tau_mem", "r_mu", "capacitance", "weight_scale"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value!r}; it must be a finite number above 0.")
        if not (np.isfinite(self.r_std) and self.r_std >= 0):
            raise UserError(f"r_std is {self.r_std!r}; it must be a finite number of at least 0.")
        for name, allowed in (("distribution", get_args(Distribution)), ("profile", get_args(Profile))):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name} is {getattr(self, name)!r}; choose one of {', '.join(allowed)}.")

    @property
    def n_synapses(self) -> int:
        """Number of synapses of one output, without the bias."""
        return self.n_in * self.n_delays

    @property
    def leak(self) -> float:
        """Membrane decay per step, ``alpha = exp(-dt / tau_mem)``, rounded to float32."""
        return float(np.exp(np.float32(-self.dt / self.tau_mem)))

    def settings(self) -> dict[str, object]:
        """All fields by name, for a run's configuration."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class Stack:
    """Sizes of a stacked network.

    Attributes:
        whole: channels, classes, steps, time constants and delays; hidden layers share all but the sizes.
        layers: delay layers, including the readout.
        hidden: threshold neurons of each hidden layer.
        recurrent: whether hidden neurons have recurrent connections, with a delay of one step.
        hidden_scale: initial weights of hidden layers are ``N(0, 1) * hidden_scale / sqrt(n_in * n_delays)``.

    Raises:
        UserError: Layers or neurons below 1, or recurrence without a hidden layer.
    """

    whole: NetworkSpec
    layers: int = 1
    hidden: int = 64
    recurrent: bool = False
    hidden_scale: float = 2.0

    def __post_init__(self) -> None:
        for name in ("layers", "hidden"):
            require_whole(name, getattr(self, name), minimum=1)
        if self.recurrent and self.layers < 2:
            raise UserError(
                "recurrent is True with 1 layer; only hidden layers are recurrent: give at least 2 layers."
            )

    @property
    def steps(self) -> int:
        """Steps of a pass."""
        return self.whole.steps_in + self.whole.max_delay

    def spec(self, layer: int) -> NetworkSpec:
        """Sizes of a layer, counted from 1; the last is the readout."""
        n_in = self.whole.n_in if layer == 1 else self.hidden
        n_out = self.whole.n_out if layer == self.layers else self.hidden
        return replace(self.whole, n_in=n_in, n_out=n_out)

    def name(self, kind: str, layer: int) -> str:
        """Name of a layer's array."""
        return kind if layer == self.layers else f"{kind}-{layer}"

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Shape of every array by name."""
        found = {}
        for layer in range(1, self.layers + 1):
            spec = self.spec(layer)
            found[self.name("weights", layer)] = (spec.n_out, spec.n_synapses + 1)
            found[self.name("delays", layer)] = (spec.n_out, spec.n_synapses)
            if self.recurrent and layer < self.layers:
                found[self.name("recurrent", layer)] = (self.hidden, self.hidden)
        return found


@dataclass(frozen=True)
class Binning:
    """How spike times and units become steps and channels.

    Args:
        n_in: Channels kept, at most the channels of the data.
        steps_in: Steps kept, counted from the start.
        dt: Nominal time step in seconds; `n_bins = round(duration / dt)`.
        duration: End of the last bin in seconds.

    Raises:
        UserError: If a value is not positive, or there are more steps than bins.
    """

    n_in: int = 700
    steps_in: int = 150
    dt: float = 0.005
    duration: float = 1.4

    def __post_init__(self) -> None:
        for name, value in (("n_in", self.n_in), ("steps", self.steps_in)):
            require_whole(name, value, minimum=1)
        for name, value in (("dt", self.dt), ("duration", self.duration)):
            if not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value}; it must be a positive number of seconds.")
        if self.n_bins < 2 or self.steps_in > self.n_bins:
            raise UserError(
                f"steps is {self.steps_in}, but a duration of {self.duration} s holds {self.n_bins} steps "
                f"of {self.dt} s; "
                f"ask for 1 to {self.n_bins} steps or a longer duration."
            )

    @property
    def n_bins(self) -> int:
        """Number of bins over the whole duration."""
        return round(self.duration / self.dt)

    @property
    def edges(self) -> np.ndarray:
        """Bin edges in seconds, float64 `(n_bins,)`: spacing `duration / (n_bins - 1)` as in the original."""
        return np.linspace(0.0, self.duration, self.n_bins)

    def stride(self, channels: int) -> int:
        """Distance of the kept channels: `ceil(channels / n_in)`.

        Raises:
            UserError: If `n_in` exceeds the channels of the data.
        """
        if self.n_in > channels:
            raise UserError(
                f"n_in is {self.n_in}, but the data have {channels} channels; "
                f"choose n_in between 1 and {channels}."
            )
        return math.ceil(channels / self.n_in)


def require_whole(name: str, value: object, minimum: int) -> None:
    """Raise `UserError` unless a value is a whole number, of Python or NumPy, of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < minimum:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least {minimum}.")


def level_distances(levels: Sequence[float]) -> tuple[float, float]:
    """The distance of the levels of each lead, mV.

    Raises:
        UserError: Not one or two numbers, or a number that is not above 0.
    """
    if len(levels) not in (1, 2) or not all(np.isfinite(level) and level > 0 for level in levels):
        shown = " ".join(f"{level:g}" for level in levels) or "empty"
        raise UserError(
            f"levels is {shown}; it must be one number of mV above 0 for both leads, or one for each."
        )
    return levels[0], levels[-1]


PRESETS = {
    "D1": NetworkSpec(n_in=700, n_delays=16, tau_mem=20e-3),
    "D2": NetworkSpec(n_in=256, n_delays=16, tau_mem=15e-3),
}
"""The networks of figure 4d."""
