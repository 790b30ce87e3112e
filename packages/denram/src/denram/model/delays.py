r"""Fixed random delays: from resistive memory cells to whole time steps.

A delay is the time constant of a capacitor and a memory cell in its high-resistance state,

.. math:: R = \exp(m + r_{std}\,\mathcal N(0, 1)), \quad m = \ln r_\mu - r_{std}^2 / 2, \quad d = C R,

so that the mean resistance is :math:`r_\mu`; it is then rounded half to even to steps and clipped. `DelayLines`
is what an engine needs to know about a network apart from its weights.
"""

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int32
from reprokit import UserError

from denram.randomness import draw_integers, draw_normals
from denram.spec import NetworkSpec

FloatArray = np.ndarray | jax.Array


def log_resistance_mean(r_mu: float, r_std: float) -> np.float32:
    """Mean of ln(R) that gives a log-normal resistance the mean ``r_mu`` (ohm)."""
    return np.float32(np.log(r_mu) - r_std**2 / 2)


def resistances(normals: Float[FloatArray, "n_out n_synapses"], spec: NetworkSpec) -> np.ndarray:
    """Resistance in ohm of every delay cell, ``exp(m + r_std * normals)``, in float32."""
    mean = log_resistance_mean(spec.r_mu, spec.r_std)
    return np.asarray(jnp.exp(mean + np.float32(spec.r_std) * jnp.asarray(normals, jnp.float32)))


def delay_times(ohm: Float[FloatArray, "n_out n_synapses"], spec: NetworkSpec) -> np.ndarray:
    """Continuous delays ``C * R`` in seconds, in float32."""
    return np.float32(spec.capacitance) * np.asarray(ohm, np.float32)


def steps_from_times(seconds: Float[FloatArray, "n_out n_synapses"], spec: NetworkSpec) -> np.ndarray:
    """Delays in whole steps, ``clip(round_half_even(seconds / dt), 0, max_delay)``, as float32."""
    steps = np.rint(np.asarray(seconds, np.float32) * np.float32(1 / spec.dt))
    return np.clip(steps, 0, spec.max_delay).astype(np.float32)


def draw_delays(key: FloatArray, spec: NetworkSpec) -> np.ndarray:
    """Draw the delays of one network.

    Args:
        key: a JAX key; normals (``lognormal``) or integers (``uniform``) come from it in the legacy layout.
            ``pattern`` draws nothing: every connection gets ``k * max_delay / n_delays``, k = 0..n_delays-1.
        spec: the network.

    Returns:
        Whole steps, float32, shape (n_out, n_in * n_delays).
    """
    shape = (spec.n_out, spec.n_synapses)
    if spec.distribution == "pattern":
        taps = np.rint(np.arange(spec.n_delays, dtype=np.float32) * spec.max_delay / spec.n_delays)
        return np.broadcast_to(np.tile(taps.astype(np.float32), spec.n_in), shape).copy()
    if spec.distribution == "uniform":
        return draw_integers(key, shape, spec.max_delay + 1).astype(np.float32)
    return steps_from_times(delay_times(resistances(draw_normals(key, shape), spec), spec), spec)


def line_depth(delays: np.ndarray) -> int:
    """Length of the delay line in steps: the largest delay, at least 1."""
    return max(1, int(np.max(delays))) if delays.size else 1


def effective_lags(delays: np.ndarray, spec: NetworkSpec) -> Int32[np.ndarray, "n_out n_synapses"]:
    """Lags actually applied, in steps.

    ``faithful`` (DEV-1): ``min(D, depth - 1)``, because the original reads its line one step beyond the end and
    gets the last element. ``fixed``: ``D``.

    Raises:
        UserError: a delay that is negative, not finite or not whole, or a matrix of the wrong shape.
    """
    array = np.asarray(delays)
    expected = (spec.n_out, spec.n_synapses)
    if array.shape != expected:
        raise UserError(f"delays has shape {array.shape}; needed is (n_out, n_in * n_delays) = {expected}.")
    if not np.all(np.isfinite(array)) or np.any(array < 0) or np.any(array != np.rint(array)):
        raise UserError(
            "delays holds a value other than 0, 1, 2, ...; delays are whole numbers of time steps."
        )
    lags = array.astype(np.int32)
    return np.minimum(lags, line_depth(lags) - 1) if spec.profile == "faithful" else lags


@dataclass(frozen=True, eq=False)
class DelayLines:
    """The delays of one network, ready for an engine.

    Attributes:
        spec: sizes, constants and profile of the network.
        lags: actual delay of each synapse in steps, int32, shape (n_out, n_in * n_delays).
        depth: length of the delay line in steps.
    """

    spec: NetworkSpec
    lags: Int32[np.ndarray, "n_out n_synapses"]
    depth: int

    @classmethod
    def of(cls, delays: FloatArray, spec: NetworkSpec) -> "DelayLines":
        """The lines of given delays: whole steps, shape (n_out, n_in * n_delays).

        Raises:
            UserError: delays that `effective_lags` refuses.
        """
        return cls(spec, effective_lags(np.asarray(delays), spec), line_depth(np.asarray(delays)))

    @property
    def steps(self) -> int:
        """Time steps of a pass: those of the input plus the longest delay."""
        return self.spec.steps_in + self.depth

    @property
    def bias_steps(self) -> int:
        """Steps during which the bias current flows."""
        return self.steps if self.spec.bias_in_tail else self.spec.steps_in

    @cached_property
    def lags_by_channel(self) -> Int32[np.ndarray, "n_in n_out n_delays"]:
        """The lags in the order in which the event engine reads them."""
        spec = self.spec
        by_channel = self.lags.reshape(spec.n_out, spec.n_in, spec.n_delays).transpose(1, 0, 2)
        return np.ascontiguousarray(by_channel)
