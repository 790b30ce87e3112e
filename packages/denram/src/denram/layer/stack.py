"""A network of several delay layers as functions of arrays, for `denram train --layers --train-delays`.

    hidden layer l:  I = currents(W_l, D_l, x),  x <- threshold(I), optionally with recurrent weights R_l
    readout:         V = rectified leaky integrator of currents(W, D, x),  score = max_t V

All layers run for the input's steps plus one delay line; a bias flows while the input lasts. With one layer and
whole delays this is `DelayNetwork`.

Arrays are named as in a run directory: ``weights`` and ``delays`` are the readout's, ``weights-1``, ``delays-1`` and
``recurrent-1`` the first hidden layer's, and so on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from reprokit import UserError
from reprokit.config import derived_seed

from denram.data.events import EventBatch
from denram.engines.network import Traces
from denram.layer.currents import currents
from denram.layer.neurons import integrate, threshold
from denram.layer.readouts import peak
from denram.model.parameters import initialise
from denram.randomness import draw_normals, initial_key, refuse_forked
from denram.spec import NetworkSpec, Stack

Arrays = Mapping[str, Any]
LOOP_GAIN = 0.5  # initial recurrent weights are N(0, 1) times this over sqrt(neurons)


def initial_arrays(stack: Stack, seed: int) -> dict[str, np.ndarray]:
    """Arrays of a seed by name, float32; a network of one layer is the one `denram.initialise` draws."""
    found = {}
    for layer in range(1, stack.layers + 1):
        spec = stack.spec(layer)
        own = seed if layer == stack.layers else derived_seed(seed, "layer", layer) % 2**32
        drawn = initialise(spec, own)
        found[stack.name("delays", layer)] = drawn.delays
        found[stack.name("weights", layer)] = drawn.weights
        if layer < stack.layers:
            normals = draw_normals(
                initial_key(derived_seed(own, "weights") % 2**32), (spec.n_out, spec.n_synapses + 1)
            )
            scale = np.float32(stack.hidden_scale / np.sqrt(spec.n_synapses))
            found[stack.name("weights", layer)] = normals * scale
        if stack.recurrent and layer < stack.layers:
            normals = draw_normals(
                initial_key(derived_seed(own, "loop") % 2**32), (stack.hidden, stack.hidden)
            )
            found[stack.name("recurrent", layer)] = normals * np.float32(LOOP_GAIN / np.sqrt(stack.hidden))
    return found


def readout_currents(
    arrays: Arrays, x: jax.Array, stack: Stack, sigma: float | jax.Array = 0.0, reach: int | None = None
) -> jax.Array:
    """Currents of the readout, shape (steps, sample, n_out).

    Args:
        arrays: weights and delays by name, see the module.
        x: spikes, shape (time, sample, n_in).
        stack: sizes.
        sigma: width of the Gaussians of all delays, in steps.
        reach: as for `currents`.
    """
    spec = stack.whole
    drive = x
    for layer in range(1, stack.layers + 1):
        drive = currents(
            arrays[stack.name("weights", layer)],
            arrays[stack.name("delays", layer)],
            x,
            max_delay=spec.max_delay,
            sigma=sigma,
            steps=stack.steps,
            bias_steps=spec.steps_in,
            reach=reach,
        )
        if layer < stack.layers:
            x = threshold(drive, spec.leak, recurrent=arrays.get(stack.name("recurrent", layer)))
    return drive


def scores(
    arrays: Arrays, x: jax.Array, stack: Stack, sigma: float | jax.Array = 0.0, reach: int | None = None
) -> jax.Array:
    """Scores, shape (sample, n_out); arguments as for `readout_currents`."""
    return peak(integrate(readout_currents(arrays, x, stack, sigma, reach), stack.whole.leak, rectified=True))


_scores = partial(jax.jit, static_argnames=("stack", "reach"))(scores)
_currents = partial(jax.jit, static_argnames=("stack", "reach"))(readout_currents)


@dataclass(frozen=True, eq=False)
class StackNetwork:
    """A stacked network with given delays, used like a `DelayNetwork`.

    Attributes:
        delays: delays of all layers in steps, by name.
        stack: sizes.
        sigma: width of the Gaussians of the delays, in steps; 0: whole delays.
        reach: as for `denram.layer.currents`.
    """

    delays: Arrays
    stack: Stack
    sigma: float = 0.0
    reach: int = 0

    @property
    def spec(self) -> NetworkSpec:
        """Sizes of the whole network."""
        return self.stack.whole

    def scores(self, weights: Arrays, events: EventBatch) -> np.ndarray:
        """Scores, float32 of shape (sample, n_out), of weights by name."""
        refuse_forked()
        found = _scores({**self.delays, **weights}, self._dense(events), self.stack, self.sigma, self.reach)
        return np.asarray(found)[: len(events)]

    def traces(self, weights: Arrays, events: EventBatch) -> Traces:
        """Currents and potentials of the readout at every step, float32 of shape (time, sample, n_out)."""
        refuse_forked()
        drive = _currents({**self.delays, **weights}, self._dense(events), self.stack, self.sigma, self.reach)
        potential = integrate(drive, self.spec.leak, rectified=True)
        return Traces(*(np.asarray(values)[:, : len(events)] for values in (drive, potential)))

    def _dense(self, events: EventBatch) -> np.ndarray:
        if (events.n_in, events.steps_in) != (self.spec.n_in, self.spec.steps_in):
            raise UserError(
                f"The spikes have {events.n_in} channels and {events.steps_in} steps; "
                f"this network takes {self.spec.n_in} channels and {self.spec.steps_in} steps."
            )
        dense = events.dense()
        silent = (1 << max(0, len(events) - 1).bit_length()) - len(
            events
        )  # a power of two, so that few sizes are compiled
        return np.pad(dense, ((0, 0), (0, silent), (0, 0)))
