r"""The delay layer as a JAX operation that can be traced, differentiated and vmapped, with the engine of its device.

On a CPU it is the compiled event engine behind XLA's foreign function interface (`cpp/xla.cpp`), on
accelerators, or if the library is missing or unusable for this JAX, it is the FFT engine. The choice is made
when a program is compiled for its device, so one call serves all.

.. math::

    I_{t,o} = \sum_k W_{o,k}\, x_{t - D_{o,k},\, k // n}, \quad V_t = \max(0, \alpha V_{t-1} + I_t), \quad
    score_o = \max_t V_{t,o}

The derivative with respect to the weights follows the conventions of `denram.model.neuron`; delays and spikes
are whole numbers and have no derivative.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from reprokit import UserError

from denram.engines import fft, native
from denram.spec import Engine

FORWARD, BACKWARD = "denram_forward", "denram_backward"  # their names in XLA


class Plan(NamedTuple):
    """What the compiled program depends on besides array shapes.

    Attributes:
        steps_in: time steps of input.
        steps: time steps in all.
        bias_steps: steps during which the bias current flows.
        leak: membrane decay per step.
        engine: engine, see `engines`.
        threads: threads of the event engine; its results are the same bits for any number.
    """

    steps_in: int
    steps: int
    bias_steps: int
    leak: float
    engine: Engine = "auto"
    threads: int = 1


class Residual(NamedTuple):
    """What the backward pass needs from the forward pass; None for an engine that cannot run here.

    Attributes:
        windows: last rise to the maximum, int32, shape (sample, n_out, 3).
        slopes: derivative of the scores by the currents, float32, shape (time, sample, n_out).
    """

    windows: jax.Array | None
    slopes: jax.Array | None


@lru_cache
def registered() -> bool:
    """Whether XLA can use the compiled engine: the library exists, has the operations, and fits this JAX."""
    if not native.available() or (found := native.operations()) is None:
        return False
    try:
        # operations registered before the backend starts are checked when it starts, and stop it if they do not fit
        jax.local_devices(backend="cpu")
        for name, capsule in zip((FORWARD, BACKWARD), (found["forward"], found["backward"]), strict=True):
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except (
        Exception
    ):  # no CPU among JAX_PLATFORMS, or built for a newer jaxlib; XLA's error types are not public
        return False
    return True


def engines(wanted: Engine) -> tuple[str, ...]:
    """The engines from which a program of this process may have to choose.

    Raises:
        UserError: ``events`` if XLA cannot use it.
    """
    if wanted == "fft":
        return ("fft",)
    if wanted == "events":
        native.require_library()
        if not registered():
            raise UserError(
                "engine is 'events', but the compiled event engine was built without XLA's headers or for a newer "
                "jaxlib; reinstall denram with a C++ compiler, or choose engine 'fft' or 'auto'."
            )
        return ("events",)
    if not registered():
        return ("fft",)
    if jax.default_backend() == "cpu":
        return ("events",)
    # before 0.6 JAX left both ways in the program of the accelerator, which knows no event engine
    return ("events", "fft") if jax.__version_info__ >= (0, 6) else ("fft",)


@partial(jax.jit, static_argnames="plan")
def scores(weights: jax.Array, lags: jax.Array, steps: jax.Array, starts: jax.Array, plan: Plan) -> jax.Array:
    """Scores, float32 of shape (sample, n_out).

    Args:
        weights: float32, shape (n_out, n_in * n_delays + 1), bias last.
        lags: delays in steps, int32, shape (n_out, n_in * n_delays).
        steps: uint16, shape (sample, capacity), see `denram.layer.Spikes`.
        starts: int32, shape (sample, n_in + 1).
        plan: sizes, constants and the engine.
    """
    (weights,) = fft.told_apart((weights,), lags, steps, starts)
    n_out, n_in = weights.shape[0], starts.shape[1] - 1
    by_channel = lags.reshape(n_out, n_in, -1).transpose(1, 0, 2)
    return jnp.asarray(_scores(weights, by_channel, steps, starts, plan))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scores(
    weights: jax.Array, lags: jax.Array, steps: jax.Array, starts: jax.Array, plan: Plan
) -> jax.Array:
    """As `scores`, with lags in the order of the event engine, (n_in, n_out, n_delays)."""
    return _forward(weights, lags, steps, starts, plan)[0]


def _forward(
    weights: jax.Array, lags: jax.Array, steps: jax.Array, starts: jax.Array, plan: Plan
) -> tuple[jax.Array, tuple[Any, ...]]:
    here = engines(plan.engine)
    ways = {"events": _events_forward, "fft": _fft_forward}
    run = _choice({name: partial(ways[name], plan=plan, both=len(here) > 1) for name in here})
    score, residual = run(weights, lags, steps, starts)
    return score, (weights, lags, steps, starts, residual)


def _backward(plan: Plan, kept: tuple[Any, ...], upstream: jax.Array) -> tuple[jax.Array, None, None, None]:
    ways = {"events": _events_backward, "fft": _fft_backward}
    run = _choice({name: partial(ways[name], plan=plan) for name in engines(plan.engine)})
    return run(*kept, upstream), None, None, None


_scores.defvjp(_forward, _backward)


def _choice(ways: dict[str, Any]) -> Any:
    """The only possible engine, or that of the device for which JAX compiles."""
    if len(ways) == 1:
        return next(iter(ways.values()))
    return lambda *arrays: jax.lax.platform_dependent(*arrays, cpu=ways["events"], default=ways["fft"])


def _attributes(plan: Plan) -> dict[str, Any]:
    whole = {name: np.int64(getattr(plan, name)) for name in ("threads", "steps_in", "steps", "bias_steps")}
    return whole | {"leak": np.float32(plan.leak)}


def _events_forward(
    weights: jax.Array, lags: jax.Array, steps: jax.Array, starts: jax.Array, *, plan: Plan, both: bool
) -> tuple[jax.Array, Residual]:
    n_samples, n_out = steps.shape[0], weights.shape[0]
    call = jax.ffi.ffi_call(
        FORWARD,
        (
            jax.ShapeDtypeStruct((n_samples, n_out), jnp.float32),
            jax.ShapeDtypeStruct((n_samples, n_out, 3), jnp.int32),
        ),
        vmap_method="expand_dims",
    )
    out = call(weights, lags, steps, starts, method=np.int64(0), **_attributes(plan))
    score, windows = fft.told_apart(tuple(out), weights, lags, steps, starts)
    slopes = jnp.zeros((plan.steps, n_samples, n_out), jnp.float32) if both else None
    return score, Residual(windows, slopes)


def _events_backward(
    weights: jax.Array,
    lags: jax.Array,
    steps: jax.Array,
    starts: jax.Array,
    residual: Residual,
    upstream: jax.Array,
    *,
    plan: Plan,
) -> jax.Array:
    call = jax.ffi.ffi_call(
        BACKWARD, jax.ShapeDtypeStruct(weights.shape, jnp.float32), vmap_method="expand_dims"
    )
    gradient = call(weights, lags, steps, starts, residual.windows, upstream, **_attributes(plan))
    return fft.told_apart((gradient,), weights, lags, steps, starts, upstream)[0]


def _fft_forward(
    weights: jax.Array, lags: jax.Array, steps: jax.Array, starts: jax.Array, *, plan: Plan, both: bool
) -> tuple[jax.Array, Residual]:
    spikes = fft.dense(steps, starts, plan.steps_in).transpose(1, 0, 2)
    score, slopes = fft.scores_and_slopes(weights, _by_output(lags), spikes, _timing(lags, plan))
    score = jnp.where(_sound(lags, steps, starts, plan), score, jnp.float32(jnp.nan))
    windows = jnp.zeros((*score.shape, 3), jnp.int32) if both else None
    return score, Residual(windows, slopes)


def _fft_backward(
    weights: jax.Array,
    lags: jax.Array,
    steps: jax.Array,
    starts: jax.Array,
    residual: Residual,
    upstream: jax.Array,
    *,
    plan: Plan,
) -> jax.Array:
    del weights
    spikes = fft.dense(steps, starts, plan.steps_in).transpose(1, 0, 2)
    assert residual.slopes is not None
    return fft.weight_gradient(residual.slopes * upstream, _by_output(lags), spikes, _timing(lags, plan))


def _by_output(lags: jax.Array) -> jax.Array:
    """Lags in the order of the FFT engine, (n_out, n_in * n_delays)."""
    return lags.transpose(1, 0, 2).reshape(lags.shape[1], -1)


def _timing(lags: jax.Array, plan: Plan) -> fft.Timing:
    timing = fft.Timing(lags.shape[2], plan.steps, plan.bias_steps, plan.leak, "fixed")
    return timing if jax.default_backend() == "cpu" else fft.for_accelerator(timing)


def _sound(lags: jax.Array, steps: jax.Array, starts: jax.Array, plan: Plan) -> jax.Array:
    """Which samples have valid spikes and delays, (sample, 1); a compiled program cannot raise an error for others."""
    delays = jnp.all((lags >= 0) & (lags <= plan.steps - plan.steps_in))
    rows = (starts[:, 0] >= 0) & jnp.all(jnp.diff(starts) >= 0, axis=1) & (starts[:, -1] <= steps.shape[1])
    used = jnp.arange(steps.shape[1], dtype=jnp.int32) < starts[:, -1:]
    return (delays & rows & jnp.all(~used | (steps < plan.steps_in), axis=1))[:, None]
