r"""Native event engine: compiled C++ behind a plain C interface, called through ctypes (decision 0009).

In the forward pass, the library adds every spike's taps to the current if spikes are few; otherwise it sums one
row of phases per spike, multiplies spectra and transforms back. Outputs whose maximum or last clamp is
uncertain because of the spectra's rounding noise are then summed spike by spike. The backward pass has a closed form:
with the leaky trace :math:`e_t = \alpha e_{t-1} + x_t` of a channel, the step t* of the maximum and the first step t0
after the last clamp before it,

.. math:: \frac{\partial L}{\partial W} = \sum_b g_b\,(e_{t^*-D} - \alpha^{t^*-t_0+1} e_{t_0-1-D}),

g being the gradient of the loss with respect to the score. Equal maxima and drives of exactly zero use the full
recursion of `denram.model.neuron`.
"""

import ctypes
from typing import Literal

import numpy as np
from reprokit.errors import UserError

from denram.data.events import EventBatch
from denram.engines.native import python, require_library
from denram.model.delays import DelayLines
from denram.model.readout import loss_of_scores

Method = Literal["choose", "add", "transform"]
METHODS: dict[Method, int] = {"choose": 0, "add": 1, "transform": 2}
WINDOW = np.dtype([("first", np.int32), ("peak", np.int32), ("general", np.int32)])


class _Problem(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                "n_samples",
                "n_in",
                "n_out",
                "n_delays",
                "steps_in",
                "steps",
                "bias_steps",
                "n_spikes",
            )
        ),
        ("leak", ctypes.c_float),
        *((name, ctypes.c_void_p) for name in ("spike_steps", "starts", "weights", "lags")),
    )


def traces(
    weights: np.ndarray, events: EventBatch, lines: DelayLines, threads: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Currents and potentials, each float32 of shape (time, sample, n_out), summed spike by spike."""
    shape = (lines.steps, len(events), lines.spec.n_out)
    currents, potentials = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _Pass(weights, events, lines, threads).forward("add", currents, potentials)
    return currents, potentials


def scores(
    weights: np.ndarray, events: EventBatch, lines: DelayLines, threads: int = 1, method: Method = "choose"
) -> np.ndarray:
    """Scores, float32 of shape (sample, n_out)."""
    return _Pass(weights, events, lines, threads).forward(method)


def loss_and_gradient(
    weights: np.ndarray,
    events: EventBatch,
    labels: np.ndarray,
    lines: DelayLines,
    threads: int = 1,
    method: Method = "choose",
) -> tuple[float, float, np.ndarray, np.ndarray]:
    """Mean loss, accuracy, gradient of the mean loss (shape of the weights) and scores of a batch."""
    work = _Pass(weights, events, lines, threads)
    score = work.forward(method)
    loss, accuracy, upstream = loss_of_scores(score, labels, lines.spec.profile)
    return loss, accuracy, work.backward(upstream), score


class _Pass:
    """One batch with one set of weights; keeps the arrays that the library borrows alive.

    Raises:
        UserError: an array whose type or shape is not the network's; nothing is converted or broadcast.
    """

    def __init__(self, weights: np.ndarray, events: EventBatch, lines: DelayLines, threads: int) -> None:
        spec = lines.spec
        self._library = require_library()
        self._threads = threads
        self._shape = (len(events), spec.n_out)
        self._weights = _borrowed("weights", weights, np.float32, (spec.n_out, spec.n_synapses + 1))
        self._starts = _borrowed("starts", events.starts, np.int64, (len(events), spec.n_in + 1))
        self._steps = _borrowed("steps", events.steps, np.uint16, (np.size(events.steps),))
        self._lags = _borrowed(
            "lags", lines.lags_by_channel, np.int32, (spec.n_in, spec.n_out, spec.n_delays)
        )
        if events.steps_in != spec.steps_in or lines.steps <= spec.steps_in:
            raise UserError(
                f"the spikes have {events.steps_in} steps and the delay lines {lines.steps}; the network takes "
                f"{spec.steps_in} of input and at least one more in all."
            )
        self._windows = np.zeros(self._shape, WINDOW)
        self._problem = _Problem(
            *(
                len(events),
                spec.n_in,
                spec.n_out,
                spec.n_delays,
                spec.steps_in,
                lines.steps,
                lines.bias_steps,
                len(self._steps),
            ),
            spec.leak,
            *(array.ctypes.data for array in (self._steps, self._starts, self._weights, self._lags)),
        )

    def forward(
        self, method: Method, currents: np.ndarray | None = None, potentials: np.ndarray | None = None
    ) -> np.ndarray:
        score = np.zeros(self._shape, np.float32)
        extra = [None if array is None else array.ctypes.data for array in (currents, potentials)]
        code = self._library.denram_forward(
            ctypes.byref(self._problem),
            METHODS[method],
            self._threads,
            self._windows.ctypes.data,
            score.ctypes.data,
            *extra,
            ctypes.byref(python()),
        )
        _check(code)
        return score

    def backward(self, upstream: np.ndarray) -> np.ndarray:
        gradient = np.zeros(self._weights.shape, np.float32)
        upstream = _borrowed("upstream", upstream, np.float32, self._shape)
        code = self._library.denram_backward(
            ctypes.byref(self._problem),
            self._windows.ctypes.data,
            upstream.ctypes.data,
            self._threads,
            gradient.ctypes.data,
            ctypes.byref(python()),
        )
        _check(code)
        return gradient


def _borrowed(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
    """The array in the library's form: C-contiguous and aligned, copied only if necessary."""
    array = np.asarray(array)
    if array.dtype != dtype or array.shape != shape:
        raise UserError(
            f"{name} is {array.dtype} of shape {array.shape}; the event engine takes {np.dtype(dtype)}, {shape}."
        )
    return np.require(array, requirements=("C", "A"))


def _check(code: int) -> None:
    """Raise the error for a code of the library (engine.hpp); a signal's exception is raised by the call itself."""
    if code == 2:
        raise UserError(
            "the spikes or delays lead outside of the network: rows of starts must rise within steps, the spikes of a "
            "channel must rise within the input, and delays must lie within the delay line."
        )
    if code:
        raise MemoryError("The event engine could not get the memory for this batch.")
