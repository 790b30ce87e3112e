r"""From spikes to scores through synapses with fixed delays: the network of the paper as one function.

.. math::

    I_{t,o} = b_o\,[t < T_{in}] + \sum_k W_{o,k}\, x_{t - D_{o,k},\, k // n}, \quad
    V_{t,o} = \max(0, \alpha V_{t-1,o} + I_{t,o}), \quad score_o = \max_t V_{t,o}

Source: D'Agostino et al. 2024, equations as in the package's README.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from reprokit import UserError

from denram.engines import operations
from denram.layer.spikes import Spikes
from denram.randomness import refuse_forked
from denram.spec import Engine, require_whole

Array = np.ndarray | jax.Array


def scores(
    weights: Array,
    lags: Array,
    spikes: Spikes,
    *,
    max_delay: int,
    leak: float,
    bias_in_tail: bool = False,
    engine: Engine = "auto",
    threads: int = 1,
) -> jax.Array:
    """Largest membrane potential of every output.

    Works under ``jit``, ``grad`` (with respect to the weights), ``vmap`` (over samples, or over networks with
    different delays), ``scan`` and ``shard_map``. Pass whole batches if the weights are the same: this is
    faster than ``vmap`` over samples, which has a gradient for each sample. Same result as
    `denram.DelayNetwork.scores`, if `max_delay` is ``network.lines.depth`` and `lags` are ``network.lines.lags``.

    Args:
        weights: float32 ``(n_out, n_in * n_delays + 1)``, the bias last; including noise.
        lags: Delays in whole steps, integers ``(n_out, n_in * n_delays)``; column k belongs to channel k // n_delays.
        spikes: A batch, or a single sample.
        max_delay: Length of the delay lines in steps; static. The network keeps running for this long after the input.
        leak: Decay of the membrane in one step, ``exp(-dt / tau)`` (`denram.NetworkSpec.leak`); static.
        bias_in_tail: Whether the bias also flows after the input; static.
        engine: ``auto``: the compiled event engine on a CPU, the FFT engine on accelerators or without the
            compiled one; or either by name; static.
        threads: Threads of the event engine, whose results are the same bits for any number; static.

    Returns:
        float32 ``(sample, n_out)``, or ``(n_out,)`` for a single sample.

    Raises:
        UserError: Arrays of wrong types or shapes, lags outside of 0 to `max_delay`, other settings out of
            range. Traced arrays can only be checked at run time: then the event engine raises JAX's runtime
            error, and the FFT engine returns NaN.
    """
    refuse_forked()
    plan = _plan(spikes, max_delay, leak, bias_in_tail, engine, threads)
    _check(weights, lags, spikes, max_delay)
    single = np.ndim(spikes.starts) == 1
    steps, starts = (jnp.asarray(array) for array in (spikes.steps, spikes.starts))
    if single:
        steps, starts = steps[None], starts[None]
    found = operations.scores(jnp.asarray(weights), jnp.asarray(lags).astype(jnp.int32), steps, starts, plan)
    return found[0] if single else found


def _plan(
    spikes: Spikes, max_delay: int, leak: float, bias_in_tail: bool, engine: Engine, threads: int
) -> operations.Plan:
    require_whole("max_delay", max_delay, minimum=0)
    require_whole("threads", threads, minimum=1)
    if isinstance(leak, Tracer) or not 0 <= leak <= 1:
        raise UserError(f"leak is {leak}; it must be a number from 0 to 1 that is known when JAX compiles.")
    if engine not in ("auto", "events", "fft"):
        raise UserError(f"engine is {engine!r}; choose one of auto, fft, events.")
    operations.engines(engine)
    if not isinstance(spikes, Spikes):
        raise UserError(
            f"spikes is {type(spikes).__name__}; it must be denram.layer.Spikes, for example Spikes.from_dense(array)."
        )
    steps = spikes.steps_in + max(1, int(max_delay))
    bias_steps = steps if bias_in_tail else spikes.steps_in
    return operations.Plan(spikes.steps_in, steps, bias_steps, float(leak), engine, int(threads))


def _check(weights: Array, lags: Array, spikes: Spikes, max_delay: int) -> None:
    if np.shape(spikes.starts)[:-1] != np.shape(spikes.steps)[:-1] or np.ndim(spikes.starts) not in (1, 2):
        raise UserError(
            f"spikes has steps of shape {np.shape(spikes.steps)} and starts of shape {np.shape(spikes.starts)}; it "
            "must be a batch or a single sample (jax.vmap takes more axes)."
        )
    if (spikes.steps.dtype, spikes.starts.dtype) != (np.uint16, np.int32):
        raise UserError(f"spikes has steps of {spikes.steps.dtype} and starts of {spikes.starts.dtype}; "
                        "they must be uint16 and int32, as the conversions of Spikes make them.")  # fmt: skip
    if np.ndim(weights) != 2 or weights.dtype != np.float32:
        raise UserError(
            f"weights is {weights.dtype} of shape {np.shape(weights)}; it must be float32, "
            "(n_out, n_in * n_delays + 1)."
        )
    n_out, columns = np.shape(weights)
    if np.shape(lags) != (n_out, columns - 1) or columns < 2 or (columns - 1) % spikes.n_in:
        raise UserError(
            f"weights has shape {np.shape(weights)}, lags {np.shape(lags)}, the spikes {spikes.n_in} channels; "
            "needed are (n_out, n_in * n_delays + 1) and (n_out, n_in * n_delays)."
        )
    if not np.issubdtype(lags.dtype, np.integer):
        raise UserError(
            f"lags is {lags.dtype}; delays are whole steps here: jnp.rint(lags).astype(jnp.int32), or use "
            "denram.layer.currents for delays between steps."
        )
    if not isinstance(lags, Tracer) and np.size(lags):
        known = np.asarray(lags)
        least, most = int(known.min()), int(known.max())
        if least < 0 or most > max_delay:
            bad = least if least < 0 else most
            raise UserError(
                f"lags holds {bad}; with max_delay {max_delay} delays lie between 0 and {max_delay}."
            )
