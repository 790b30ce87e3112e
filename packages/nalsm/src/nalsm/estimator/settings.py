"""Parameters shared by all estimators, and the liquid made from them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from reprokit import UserError
from reprokit.terminal import say
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, validate_data

from nalsm.checks import whole
from nalsm.config import Config, Model
from nalsm.engines.reference import Presentation
from nalsm.estimator.inputs import InputCode, as_array
from nalsm.model.network import NetworkSpec, generate
from nalsm.names import Engine
from nalsm.training.liquid import Liquid, derive_seed

CHUNK = 200  # samples between two lines of progress; results do not depend on this


@dataclass(eq=False, repr=False)
class LiquidEstimator(BaseEstimator):
    """A liquid whose settings are parameters of scikit-learn, so that searches can tune every one of them."""

    model: Model = "nalsm"
    """nalsm, lsm-stdp, lsm (fixed weights) or lsm-apstdp."""
    dims: tuple[int, int, int] = (10, 10, 10)
    """Grid points of the liquid in each direction."""
    weight: float | None = None
    """Start magnitude |w|; None: the model's: 3 (nalsm, lsm-stdp), 0.9 (lsm) or 1 (lsm-apstdp)."""
    astrocyte_weight: float = Config.astrocyte_weight
    """w_a of nalsm."""
    duration: int | None = None
    """Milliseconds of a sample; None: 250 for vectors, the steps of X (1 ms each) for (sample, time, input)."""
    initial_samples: int | None = None
    """Presentations of the initialisation phase; None: every training sample once."""
    _: KW_ONLY
    initial_duration: int = Config.initial_duration
    """Milliseconds of such a presentation."""
    astrocyte_bias_offset: float = Config.astrocyte_bias_offset
    astrocyte_tau: float = Config.astrocyte_tau
    ap_theta: float = Config.ap_theta
    """Threshold of lsm-apstdp on calcium, Hz."""
    ap_range: float = Config.ap_range
    """Window around it, Hz."""
    rate: float = Config.rate
    """Learning rate of STDP at the start of a presentation."""
    rate_decay: float = Config.rate_decay
    """Factor on the learning rates after each millisecond of a sample."""
    max_weight: float = Config.max_weight
    tau_v: float = Config.tau_v
    """Membrane time constant, ms."""
    threshold: float = Config.threshold
    refractory: int = Config.refractory
    tau_u: float = Config.tau_u
    """Synaptic time constant, ms."""
    input_current: float = Config.input_current
    input_density: float = NetworkSpec.input_density
    """Share of all (liquid, input) pairs that are connected."""
    excitatory_fraction: float = NetworkSpec.excitatory_fraction
    connection: tuple[float, float, float, float] = NetworkSpec.connection
    """Connection strength C for E->E, E->I, I->E, I->I."""
    length: float = NetworkSpec.length
    """Length constant of the wiring, grid steps."""
    network_seed: int | None = None
    """Seed of the wiring; None: random_state."""
    random_state: int | np.random.RandomState | None = 0
    """Seed of wiring, events and presentation order; None: a random one."""
    engine: Engine = "auto"
    """events (compiled), triton (NVIDIA GPUs), torch, or auto."""
    device: str = "cpu"
    threads: int = 1
    """Samples simulated at once; results do not depend on it."""
    verbose: int = 0
    """1 prints a line of progress every few seconds."""

    _least: ClassVar = {2: 2, 3: 2}
    """Number of samples that `fit` needs for X with this many axes."""

    def _settings(self) -> Config:
        """Return the configuration; the default duration is that of vectors."""
        whole("threads", self.threads, 1)
        if not isinstance(self.verbose, bool):
            whole("verbose", self.verbose, 0)
        if isinstance(self.random_state, Integral):
            whole("random_state", self.random_state, 0)
        if self.network_seed is not None:
            whole("network_seed", self.network_seed, 0)
        if len(np.atleast_1d(np.asarray(self.connection, dtype=object))) != 4:
            raise UserError(f"connection is {self.connection}; give four probabilities in [0, 1].")
        given = self.random_state
        self.seed_ = (
            int(given) if isinstance(given, Integral) else int(check_random_state(given).randint(2**31 - 1))
        )
        return Config(
            model=self.model,
            dims=_triple(self.dims),
            weight=self.weight,
            astrocyte_weight=self.astrocyte_weight,
            astrocyte_bias_offset=self.astrocyte_bias_offset,
            astrocyte_tau=self.astrocyte_tau,
            ap_theta=self.ap_theta,
            ap_range=self.ap_range,
            rate=self.rate,
            rate_decay=self.rate_decay,
            max_weight=self.max_weight,
            duration=Config.duration if self.duration is None else self.duration,
            initial_duration=self.initial_duration,
            initial_samples=self.initial_samples,
            tau_v=self.tau_v,
            threshold=self.threshold,
            refractory=self.refractory,
            tau_u=self.tau_u,
            input_current=self.input_current,
            seed=self.seed_,
        )

    def _build(self, inputs: int) -> None:
        """Make the liquid `liquid_` with this many input neurons."""
        config = self._settings()
        seed = self.seed_ if self.network_seed is None else self.network_seed
        spec = NetworkSpec(
            _triple(self.dims), inputs, int(seed), self.input_density, NetworkSpec.output_density,
            self.excitatory_fraction, tuple(self.connection), self.length,  # pyright: ignore[reportArgumentType]
        )  # fmt: skip
        self.liquid_ = Liquid(generate(spec), config, engine=self.engine, device=self.device)

    def _initialise(self, code: InputCode, X: np.ndarray, presentations: int | None = None) -> np.ndarray:
        """Return the weights after initialisation on X, float32 (synapse,); None: one presentation per sample."""
        liquid, config = self.liquid_, self.liquid_.config
        state = liquid.start()
        count = liquid.presentations(len(X)) if presentations is None else presentations
        if not count:
            return state.weights
        index = np.resize(np.random.default_rng(self.seed_).permutation(len(X)), count)
        seed = derive_seed(self.seed_, "initialise")
        duration = config.initial_duration if X.ndim == 2 else min(config.initial_duration, X.shape[1])
        for begin, end in self._chunks(count, "initialisation"):
            places = np.arange(begin, end)
            shown = _windows(X, index[begin:end], places, seed, duration)
            run = liquid.simulator.present_in_sequence(
                code.source(shown, duration, seed, places), state.weights, config.plasticity("initialise"),
                duration=duration, trace=state.trace, calcium=state.calcium, carry_trace=True,
            )  # fmt: skip
            assert run.weights is not None
            state.weights, state.trace, state.calcium = run.weights, run.trace, run.calcium
        return state.weights

    def _presented(
        self, code: InputCode, X: np.ndarray, weights: np.ndarray, record: bool
    ) -> Iterator[Presentation]:
        """Present samples, some at a time."""
        duration, seed = self._milliseconds(X), derive_seed(self.seed_, "features")
        rule = self.liquid_.config.plasticity("sample")
        for begin, end in self._chunks(len(X), "samples"):
            yield self.liquid_.simulator.present_independent(
                code.source(X[begin:end], duration, seed), weights, rule,
                duration=duration, record=record, threads=self.threads,
            )  # fmt: skip

    def _milliseconds(self, X: np.ndarray) -> int:
        """Return the simulated duration of a sample of X.

        Raises:
            UserError: if X is longer than `duration`.
        """
        duration = self.liquid_.config.duration
        if X.ndim == 2:
            return duration
        if self.duration is not None and duration < X.shape[1]:
            raise UserError(
                f"duration is {duration} ms and a sample of X has {X.shape[1]} steps of 1 ms; leave duration out, "
                "or cut or bin X."
            )
        return X.shape[1] if self.duration is None else duration

    def _checked(self, X: Any, y: Any = "no_validation", *, reset: bool) -> Any:
        """Return X, (sample, input) or (sample, time, input), and y where it is given, after scikit-learn's checks."""
        array = as_array(X)
        if array is None:
            options: dict[str, Any] = {"dtype": np.float64, "reset": reset}
            if reset:
                options["ensure_min_samples"] = self._least[2]
            return validate_data(self, X, y, **options)
        kind: Any = None if array.dtype.kind in "biu" else np.float64
        array = check_array(
            array,
            dtype=kind,
            ensure_2d=False,
            allow_nd=True,
            ensure_min_samples=self._least[3] if reset else 1,
        )
        if not array.shape[1] or not array.shape[2]:
            raise UserError(f"X has shape {array.shape}; give at least one step and one input.")
        if reset:
            self.n_features_in_ = array.shape[2]
        elif array.shape[2] != self.n_features_in_:
            raise ValueError(
                f"X has {array.shape[2]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input."
            )
        if isinstance(y, str):
            return array
        return array, self._target(array, y)

    def _target(self, X: np.ndarray, y: Any) -> Any:
        """Return y after the checks that the kind of estimator needs."""
        raise NotImplementedError

    def _chunks(self, total: int, what: str) -> Iterator[tuple[int, int]]:
        """Yield the start and end of each part of the work, and report progress if asked to."""
        began = said = time.perf_counter()
        for begin in range(0, total, CHUNK):
            end = min(begin + CHUNK, total)
            yield begin, end
            now = time.perf_counter()
            if self.verbose and (end == total or now - said > 2.0):
                say(f"{type(self).__name__}: {what} {end} of {total}, {now - began:.1f} s")
                said = now


def _triple(dims: Any) -> tuple[int, int, int]:
    """Return dims as a tuple of Python's own numbers, whatever type a search gives them."""
    return tuple(np.asarray(dims).ravel().tolist())  # pyright: ignore[reportReturnType]


def _windows(X: np.ndarray, index: np.ndarray, places: np.ndarray, seed: int, duration: int) -> np.ndarray:
    """Return the chosen samples; for time series, `duration` milliseconds from a random moment, keyed by place."""
    if X.ndim == 2:
        return X[index]
    last = X.shape[1] - duration
    starts = [int(np.random.default_rng((seed, 1, int(k))).integers(0, last + 1)) for k in places]
    return np.stack([X[k, s : s + duration] for k, s in zip(index, starts, strict=True)])
