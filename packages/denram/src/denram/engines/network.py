"""One interface to the network for all engines.

`DelayNetwork` has everything that does not change during training: the delays, prepared for an engine. Weights and
spikes are arguments of its methods. Engines agree with one another to float32 rounding:

* ``fft``: pure JAX (`denram.engines.fft`), CPU and GPU, cost independent of the number of spikes;
* ``events``: compiled C++ (`denram.engines.compiled`), CPU; adds single spikes if they are few, otherwise
  transforms;
* ``auto``: ``events`` on a CPU (measured faster there at every density), ``fft`` on an accelerator or without
  the compiled library.

`denram.layer.scores` is the same network, computed by the same engines, as a function inside JAX programs. This
one is called from outside: it can be interrupted, works in forks, and returns a loss and NumPy arrays.
"""

import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from typing import Any, Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from reprokit import UserError
from reprokit.config import device_name

from denram.data.events import EventBatch
from denram.engines import compiled, fft, native, operations
from denram.model.delays import DelayLines
from denram.model.neuron import membrane
from denram.model.readout import loss_of_scores
from denram.randomness import refuse_forked
from denram.spec import Engine, NetworkSpec, require_whole

Array = np.ndarray | jax.Array


class Traces(NamedTuple):
    """Currents and potentials at every step, each float32 of shape (time, sample, n_out)."""

    currents: np.ndarray
    potential: np.ndarray


class LossAndGradient(NamedTuple):
    """Result of one forward and backward pass.

    Attributes:
        loss: mean negative log-likelihood.
        accuracy: share of correctly classified samples.
        gradient: gradient of the loss with respect to the weights of the pass, float32, shape of the weights.
        scores: float32, shape (sample, n_out).
    """

    loss: float
    accuracy: float
    gradient: Array
    scores: Array


class DelayNetwork:
    """A network with given delays.

    Its `lines` (`DelayLines`) have the lags applied, the depth of the delay line and the steps of a pass.

    Args:
        delays: whole steps, shape (n_out, n_in * n_delays).
        spec: sizes, constants and profile.
        engine: ``auto``, ``fft`` or ``events``.
        threads: threads of the ``events`` engine; its results are the same bits for any number.

    Raises:
        UserError: delays that do not fit the specification, an unknown engine, threads below 1, or ``events``
            without the compiled library.
    """

    def __init__(
        self, delays: Array, spec: NetworkSpec, *, engine: Engine = "auto", threads: int = 1
    ) -> None:
        if engine not in get_args(Engine):
            raise UserError(f"engine is {engine!r}; choose one of {', '.join(get_args(Engine))}.")
        require_whole("threads", threads, minimum=1)
        if engine == "events":
            native.require_library()
        self.spec = spec
        self.engine: Engine = engine
        self.threads = threads
        self.lines = DelayLines.of(delays, spec)

    @property
    def engine_used(self) -> Literal["fft", "events"]:
        """The engine in use, which ``auto`` resolves to; warns once if the faster one is missing."""
        if self.engine != "auto":
            return self.engine
        if platform() != "cpu":
            return "fft"
        if native.available():
            return "events"
        _warn_once(native.missing_message())
        return "fft"

    def traces(self, weights: Array, events: EventBatch) -> Traces:
        """Currents and potentials at every step.

        Args:
            weights: float32, shape (n_out, n_in * n_delays + 1), as applied (including noise).
            events: spikes of the batch.
        """
        self._check(weights, events)
        if self.engine_used == "events":
            return Traces(*compiled.traces(np.asarray(weights), events, self.lines, self.threads))
        drive = fft.currents(jnp.asarray(weights), self._lags_on_device, events.dense(), self._timing)
        return Traces(np.asarray(drive), np.asarray(membrane(drive, self.spec.leak, self._timing.parallel)))

    def scores(self, weights: Array, events: EventBatch) -> np.ndarray:
        """Largest potential of every output, float32 of shape (sample, n_out); arguments as in `traces`."""
        self._check(weights, events)
        if not len(events):
            return np.zeros((0, self.spec.n_out), np.float32)
        if self.engine_used == "events":
            return compiled.scores(np.asarray(weights), events, self.lines, self.threads)
        return np.asarray(
            fft.scores(jnp.asarray(weights), self._lags_on_device, events.dense(), self._timing)
        )

    def loss_and_gradient(self, weights: Array, events: EventBatch, labels: Array) -> LossAndGradient:
        """Mean loss, accuracy and gradient of a batch.

        Args:
            weights: as applied; with noise in them the gradient is the straight-through one.
            events: spikes of the batch.
            labels: whole numbers below n_out, shape (sample,).

        Raises:
            UserError: an empty batch, labels outside the classes, arrays that do not fit together.
        """
        self._check(weights, events)
        labels = check_labels(np.asarray(labels), len(events), self.spec)
        if self.engine_used == "events":
            return LossAndGradient(
                *compiled.loss_and_gradient(np.asarray(weights), events, labels, self.lines, self.threads)
            )
        loss, accuracy, gradient, score = fft.loss_and_gradient(
            jnp.asarray(weights), self._lags_on_device, events.dense(), labels.astype(np.int32), self._timing
        )
        return LossAndGradient(float(loss), float(accuracy), gradient, score)

    def score_function(self, events: EventBatch) -> Callable[[jax.Array], jax.Array]:
        """``weights -> scores`` for fixed spikes as a JAX function that can be jitted and differentiated.

        The spikes become a constant of the compiled program; to use another batch at every step without
        compiling again, use `denram.layer.scores`.

        Raises:
            UserError: Spikes whose sizes are not the network's.
        """
        self._check_events(events)
        refuse_forked()
        lags = self.lines.lags
        steps, starts = events.padded()
        plan = operations.Plan(
            self.spec.steps_in,
            self.lines.steps,
            self.lines.bias_steps,
            self.spec.leak,
            self.engine,
            self.threads,
        )
        return lambda weights: operations.scores(weights, lags, steps, starts, plan)

    @property
    def _timing(self) -> fft.Timing:
        spec, lines = self.spec, self.lines
        timing = fft.Timing(spec.n_delays, lines.steps, lines.bias_steps, spec.leak, spec.profile)
        return timing if platform() == "cpu" else fft.for_accelerator(timing)

    @property
    def _lags_on_device(self) -> jax.Array:
        refuse_forked()
        if not hasattr(self, "_lags"):
            with jax.ensure_compile_time_eval():  # an array of this trace would outlive it
                self._lags = jnp.asarray(self.lines.lags)
        return self._lags

    def _check(self, weights: Array, events: EventBatch) -> None:
        if isinstance(weights, Tracer):
            raise UserError(
                "weights is traced by JAX, and a DelayNetwork computes outside of its programs; inside of them use "
                "denram.layer.scores, or score_function for fixed spikes."
            )
        expected = (self.spec.n_out, self.spec.n_synapses + 1)
        if np.shape(weights) != expected:
            raise UserError(
                f"weights has shape {np.shape(weights)}; needed is (n_out, n_in * n_delays + 1) = {expected}."
            )
        if weights.dtype != np.float32:
            raise UserError(f"weights is {weights.dtype}; it must be float32.")
        if not np.all(np.isfinite(np.asarray(weights))):
            raise UserError(
                "weights holds values that are not finite; training has diverged or a file is damaged."
            )
        self._check_events(events)

    def _check_events(self, events: EventBatch) -> None:
        if (events.n_in, events.steps_in) != (self.spec.n_in, self.spec.steps_in):
            raise UserError(
                f"The spikes have {events.n_in} channels and {events.steps_in} steps; "
                f"this network takes {self.spec.n_in} channels and {self.spec.steps_in} steps."
            )


def scores(
    weights: Array, delays: Array, events: EventBatch, spec: NetworkSpec, *, engine: Engine = "auto"
) -> np.ndarray:
    """`DelayNetwork.scores` in one call."""
    return DelayNetwork(delays, spec, engine=engine).scores(weights, events)


def loss_and_gradient(
    weights: Array,
    delays: Array,
    events: EventBatch,
    labels: Array,
    spec: NetworkSpec,
    *,
    engine: Engine = "auto",
) -> LossAndGradient:
    """`DelayNetwork.loss_and_gradient` in one call."""
    return DelayNetwork(delays, spec, engine=engine).loss_and_gradient(weights, events, labels)


def loss_and_accuracy(scores: np.ndarray, labels: Array, spec: NetworkSpec) -> tuple[float, float]:
    """Mean loss and accuracy of scores, float32 of shape (sample, n_out).

    Raises:
        UserError: scores of the wrong shape, or labels that are not classes of the network.
    """
    if np.ndim(scores) != 2 or np.shape(scores)[1] != spec.n_out:
        raise UserError(f"scores has shape {np.shape(scores)}; needed is (sample, {spec.n_out}).")
    return loss_of_scores(scores, check_labels(np.asarray(labels), len(scores), spec), spec.profile)[:2]


def check_labels(labels: np.ndarray, n_samples: int, spec: NetworkSpec) -> np.ndarray:
    """Labels as int64, if there is one class of the network for each sample."""
    if not n_samples:
        raise UserError("The batch is empty; a loss needs at least one sample.")
    if labels.shape != (n_samples,):
        raise UserError(f"labels has shape {labels.shape}; it must be ({n_samples},), one for each sample.")
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels is {labels.dtype}; classes are whole numbers.")
    if labels.min() < 0 or labels.max() >= spec.n_out:
        bad = labels[(labels < 0) | (labels >= spec.n_out)][0]
        raise UserError(f"A label is {bad}; the network has classes 0 to {spec.n_out - 1}.")
    return labels.astype(np.int64)


def computing_on(device: str) -> AbstractContextManager[object]:
    """Context in which JAX computes on a device.

    Args:
        device: auto (JAX's choice), cpu, cuda:K, or K alone, which falls back to the CPU if there is no such GPU.

    Raises:
        UserError: another name, a GPU that does not exist, or a platform that JAX was told to use but cannot.
    """
    backend = _backend()
    if device == "auto":
        return nullcontext()
    gpus = jax.devices("gpu") if backend == "gpu" else []
    kind, _, number = device_name(device, len(gpus)).partition(":")
    return jax.default_device(gpus[int(number)] if kind == "cuda" else jax.devices("cpu")[0])


def platform() -> str:
    """The platform on which JAX computes now: cpu, gpu, ..."""
    chosen = cast(Any, jax.config).jax_default_device
    return _backend() if chosen is None else getattr(chosen, "platform", str(chosen))


def _backend() -> str:
    """JAX's default backend, started here if necessary.

    Raises:
        UserError: The platforms named by the environment do not exist.
    """
    try:
        return jax.default_backend()
    except (RuntimeError, AssertionError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        raise UserError(
            f"JAX cannot compute on JAX_PLATFORMS={wanted!r} here; install JAX for it, or unset JAX_PLATFORMS."
        ) from error


@lru_cache
def _warn_once(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=4)
