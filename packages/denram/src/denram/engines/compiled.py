r"""Native event engine: compiled C++ behind a plain C interface, called through ctypes (decision 0009).

Forward, the library adds every spike's taps to the current where spikes are few; else it sums one row of
phases per spike, multiplies spectra and comes back to time. Outputs whose maximum or last clamp the rounding
noise of the spectra leaves in doubt are then summed spike by spike. Backward is closed form: with the leaky
trace :math:`e_t = \alpha e_{t-1} + x_t` of a channel, the step t* of the maximum and the first step t0 after
the last clamp before it,

.. math:: \frac{\partial L}{\partial W} = \sum_b g_b\,(e_{t^*-D} - \alpha^{t^*-t_0+1} e_{t_0-1-D}),

g being the gradient of the loss with respect to the score. Equal maxima and drives of exactly zero take the
full recursion of `denram.model.neuron`.
"""

import ctypes
from typing import Literal

import numpy as np

from denram.data.events import EventBatch
from denram.engines.native import require_library
from denram.model.delays import DelayLines
from denram.model.readout import loss_of_scores

Method = Literal["choose", "add", "transform"]
METHODS: dict[Method, int] = {"choose": 0, "add": 1, "transform": 2}
WINDOW = np.dtype([("first", np.int32), ("peak", np.int32), ("general", np.int32)])


class _Problem(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in ("n_samples", "n_in", "n_out", "n_delays", "steps_in", "steps", "bias_steps")
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
    """One batch with one set of weights: keeps the arrays the library borrows alive."""

    def __init__(self, weights: np.ndarray, events: EventBatch, lines: DelayLines, threads: int) -> None:
        spec = lines.spec
        self._library = require_library()
        self._threads = threads
        self._shape = (len(events), spec.n_out)
        self._weights = np.ascontiguousarray(weights, np.float32)
        self._starts = np.ascontiguousarray(events.starts, np.int64)
        self._steps = np.ascontiguousarray(events.steps, np.uint16)
        self._lags = lines.lags_by_channel
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
            ),
            spec.leak,
            *(array.ctypes.data for array in (self._steps, self._starts, self._weights, self._lags)),
        )

    def forward(
        self, method: Method, currents: np.ndarray | None = None, potentials: np.ndarray | None = None
    ) -> np.ndarray:
        score = np.zeros(self._shape, np.float32)
        extra = [None if array is None else array.ctypes.data for array in (currents, potentials)]
        failed = self._library.denram_forward(
            ctypes.byref(self._problem),
            METHODS[method],
            self._threads,
            self._windows.ctypes.data,
            score.ctypes.data,
            *extra,
        )
        if failed:
            raise MemoryError("The event engine could not get the memory for this batch.")
        return score

    def backward(self, upstream: np.ndarray) -> np.ndarray:
        gradient = np.zeros(self._weights.shape, np.float32)
        upstream = np.ascontiguousarray(upstream, np.float32)
        failed = self._library.denram_backward(
            ctypes.byref(self._problem),
            self._windows.ctypes.data,
            upstream.ctypes.data,
            self._threads,
            gradient.ctypes.data,
        )
        if failed:
            raise MemoryError("The event engine could not get the memory for this batch.")
        return gradient
