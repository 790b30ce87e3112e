r"""Pure JAX engine: delays as phase factors, convolution over time as a product of spectra.

The current is a convolution over time of the spikes with a sparse kernel (n_delays taps per connection),

.. math::

    \hat I_{f,b,o} = \sum_i \hat X_{f,b,i}\, \hat K_{f,i,o}, \qquad
    K_{\tau,i,o} = \sum_k W_{o,(i,k)}\,[D_{o,(i,k)} = \tau]

and the gradient with respect to a weight is the correlation read at its delay. The rectified integrator runs
step by step on the small current array. Channels are processed in chunks, so little memory is needed for any
batch; the spectra of the spikes are computed again for the backward pass instead of being stored.

``DEV-4``: spectra carry rounding noise of about 1e-7 of the largest value. Currents below `NOISE_FLOOR` of
the largest current of an output, and gradients below that share of the largest correlation of a connection,
count as zero; potentials within `TIE_TOLERANCE` of the maximum count as equal to it. So silent outputs, exact
ties and weights without influence keep the gradient they have in exact arithmetic.
"""

from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from denram.model.neuron import current_gradient, membrane
from denram.model.readout import sample_losses
from denram.spec import Profile

NOISE_FLOOR = 2.0**-20
TIE_TOLERANCE = 5e-7
CHUNK_CELLS = 4096  # samples * channels processed at a time; about 14 MB for 350 steps
ACCELERATOR_CELLS = 2**20  # the same on an accelerator, where few large kernels win; about 4 GB for 350 steps
HIGHEST = jax.lax.Precision.HIGHEST


class Timing(NamedTuple):
    """What the compiled program depends on, apart from array shapes.

    Attributes:
        n_delays: taps per connection.
        steps: time steps in all, input and tail.
        bias_steps: steps during which the bias current flows.
        leak: membrane decay per step.
        profile: profile, which selects the loss (DEV-2).
        parallel: whether the membrane combines stretches of time instead of going step by step; for accelerators.
        cells: samples * channels processed at a time; None: `CHUNK_CELLS`.
    """

    n_delays: int
    steps: int
    bias_steps: int
    leak: float
    profile: Profile
    parallel: bool = False
    cells: int | None = None


def for_accelerator(timing: Timing, networks: int = 1) -> Timing:
    """The program for a GPU: a parallel membrane, and chunks as large as `ACCELERATOR_CELLS` allows for all networks.

    Args:
        timing: the program for a CPU.
        networks: how many networks are computed at a time, under `jax.vmap`.
    """
    return timing._replace(parallel=True, cells=max(CHUNK_CELLS, ACCELERATOR_CELLS // networks))


@partial(jax.jit, static_argnames="timing")
def currents(weights: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing) -> jax.Array:
    """Input currents.

    Args:
        weights: float32, shape (n_out, n_in * n_delays + 1), bias last.
        lags: delays in steps, int32, shape (n_out, n_in * n_delays).
        spikes: 0/1, uint8, shape (time, sample, n_in).
        timing: sizes and constants.

    Returns:
        float32, shape (timing.steps, sample, n_out).
    """

    def add(total: jax.Array, chunk: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        taps, delays, events = chunk
        product = jnp.einsum(
            "fbi,fio->fbo",
            _spike_spectrum(events, timing),
            _kernel_spectrum(taps, delays, timing),
            precision=HIGHEST,
        )
        return total + product, None

    n_out, n_samples, n_in = lags.shape[0], spikes.shape[1], spikes.shape[2]
    taps, delays, events = (
        _in_chunks(values, n_samples, n_in, timing) for values in (weights[:, :-1], lags, spikes)
    )
    start = jnp.zeros((timing.steps // 2 + 1, n_samples, n_out), jnp.complex64)
    (start,) = told_apart((start,), weights, lags, spikes)
    product, _ = jax.lax.scan(add, start, (taps, delays, events))
    drive = jnp.fft.irfft(product.transpose(1, 2, 0), n=timing.steps).transpose(2, 0, 1)
    scale = jnp.maximum(jnp.max(jnp.abs(drive), axis=0), jnp.max(jnp.abs(weights[:, :-1]), axis=1))
    drive = jnp.where(jnp.abs(drive) < NOISE_FLOOR * scale, 0, drive)
    flows = jnp.arange(timing.steps) < timing.bias_steps
    return drive + jnp.where(flows[:, None, None], weights[:, -1], 0)


@partial(jax.jit, static_argnames="timing")
def scores(weights: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing) -> jax.Array:
    """Scores, float32 of shape (sample, n_out); arguments as in `currents`."""
    return jnp.max(membrane(currents(weights, lags, spikes, timing), timing.leak, timing.parallel), axis=0)


def scores_and_slopes(
    weights: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing
) -> tuple[jax.Array, jax.Array]:
    """Scores, and their derivative with respect to the currents, float32 of shape (timing.steps, sample, n_out)."""
    drive = currents(weights, lags, spikes, timing)
    potential = membrane(drive, timing.leak, timing.parallel)
    slopes = current_gradient(drive, potential, timing.leak, TIE_TOLERANCE, timing.parallel)
    return jnp.max(potential, axis=0), slopes


def weight_gradient(gradient: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing) -> jax.Array:
    """Gradient of the weights from that of the currents.

    Args:
        gradient: float32, shape (timing.steps, sample, n_out).
        lags: as in `currents`.
        spikes: as in `currents`.
        timing: sizes and constants.

    Returns:
        float32, shape of the weights.
    """
    n_out, n_samples, n_in = lags.shape[0], spikes.shape[1], spikes.shape[2]
    backward = jnp.fft.rfft(gradient.transpose(1, 2, 0), n=timing.steps).transpose(2, 0, 1)

    def read(chunk: tuple[jax.Array, jax.Array]) -> jax.Array:
        delays, events = chunk
        spectrum = jnp.conj(_spike_spectrum(events, timing))
        product = jnp.einsum("fbi,fbo->fio", spectrum, backward, precision=HIGHEST)
        return _read_taps(product, delays, timing)

    chunks = (_in_chunks(lags, n_samples, n_in, timing), _in_chunks(spikes, n_samples, n_in, timing))
    taps = jnp.moveaxis(jax.lax.map(read, chunks), 0, 1).reshape(n_out, -1)[:, : lags.shape[1]]
    bias = jnp.sum(gradient[: timing.bias_steps], axis=(0, 1))
    return jnp.concatenate([taps, bias[:, None]], axis=1)


@partial(jax.jit, static_argnames="timing")
def loss_and_gradient(
    weights: jax.Array, lags: jax.Array, spikes: jax.Array, labels: jax.Array, timing: Timing
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean loss, accuracy, gradient of the mean loss, and scores.

    Args:
        weights: as in `currents`.
        lags: as in `currents`.
        spikes: as in `currents`.
        labels: int32, shape (sample,).
        timing: sizes and constants.
    """
    score, slopes = scores_and_slopes(weights, lags, spikes, timing)
    loss, upstream = jax.value_and_grad(lambda s: jnp.mean(sample_losses(s, labels, timing.profile)))(score)
    gradient = weight_gradient(slopes * upstream, lags, spikes, timing)
    right = jnp.argmax(score, axis=1).astype(labels.dtype) == labels
    return loss, jnp.mean(right, dtype=jnp.float32), gradient, score


@partial(jax.jit, static_argnames="steps_in")
def dense(steps: jax.Array, starts: jax.Array, steps_in: int) -> jax.Array:
    """Events as uint8 0 and 1.

    Args:
        steps: time step of every spike, uint16, shape (..., capacity).
        starts: where the spikes of a channel start in their row, int32, shape (..., n_in + 1).
        steps_in: number of time steps.

    Returns:
        Shape (..., steps_in, n_in); steps after the last start, or outside of the input, are left out.
    """
    if steps.ndim > 1:
        return jax.vmap(partial(dense, steps_in=steps_in))(steps, starts)
    place = jnp.arange(steps.shape[0], dtype=jnp.int32)
    channel = jnp.searchsorted(starts[1:], place, side="right").astype(jnp.int32)
    grid = jnp.zeros((steps_in, starts.shape[0] - 1), jnp.uint8)
    return grid.at[steps.astype(jnp.int32), channel].set(jnp.uint8(1), mode="drop")


def told_apart(values: tuple[Any, ...], *sources: jax.Array) -> tuple[Any, ...]:
    """The values, marked for `shard_map` as varying between devices if any source is.

    JAX assumes that the result of a foreign operation is the same on all devices, and does not check the inputs
    of an operation with a custom derivative, so it would not sum the devices' parts of the gradient of shared
    weights. An ordinary operation on all of them solves this; XLA computes nothing for it. Outside of `shard_map`
    nothing is done.
    """
    mesh = getattr(jax.sharding, "get_abstract_mesh", lambda: None)()
    if not getattr(mesh, "manual_axes", ()):
        return values
    known = jnp.all(jnp.stack([jnp.any(source.ravel()[:1] == source.ravel()[:1]) for source in sources]))
    return jax.tree.map(lambda value: jnp.where(known, value, value), values)


def _in_chunks(values: jax.Array, n_samples: int, n_in: int, timing: Timing) -> jax.Array:
    """Split the last axis, n_in channels or n_in * n_delays taps, into chunks of channels: (chunk, ..., part).

    The last chunk is padded with silent channels.
    """
    count = max(1, -(-n_samples * n_in // (timing.cells or CHUNK_CELLS)))
    size = -(-n_in // count)
    count = -(-n_in // size)
    per_channel = values.shape[-1] // n_in
    padding = [(0, 0)] * (values.ndim - 1) + [(0, (count * size - n_in) * per_channel)]
    return jnp.moveaxis(
        jnp.pad(values, padding).reshape(*values.shape[:-1], count, size * per_channel), -2, 0
    )


@lru_cache(maxsize=4)
def _phases(steps: int, rows: int) -> np.ndarray:
    """Cosine and minus sine of all frequencies at the first ``rows`` steps, (2 * frequency, time)."""
    angle = 2 * np.pi * (np.outer(np.arange(steps // 2 + 1), np.arange(rows)) % steps) / steps
    return np.concatenate([np.cos(angle), -np.sin(angle)]).astype(np.float32)


def _spike_spectrum(spikes: jax.Array, timing: Timing) -> jax.Array:
    """Spectrum over time, complex64 (frequency, sample, n_in); a product is faster here than an FFT."""
    rows, n_samples, n_in = spikes.shape
    phases = jnp.asarray(_phases(timing.steps, rows))
    flat = spikes.astype(jnp.float32).reshape(rows, -1)
    real, imaginary = jnp.split(jnp.matmul(phases, flat, precision=HIGHEST), 2)
    return jax.lax.complex(real, imaginary).reshape(-1, n_samples, n_in)


def _kernel_spectrum(taps: jax.Array, lags: jax.Array, timing: Timing) -> jax.Array:
    """Spectrum of the delay kernels, complex64 (frequency, channel, n_out)."""
    n_out, channels = lags.shape[0], lags.shape[1] // timing.n_delays
    rows = jnp.arange(n_out * channels, dtype=jnp.int32)[:, None] * timing.steps
    places = (rows + lags.reshape(n_out * channels, -1)).reshape(-1)
    kernel = jnp.zeros(n_out * channels * timing.steps, jnp.float32).at[places].add(taps.reshape(-1))
    return jnp.fft.rfft(kernel.reshape(n_out, channels, timing.steps)).transpose(2, 1, 0)


def _read_taps(spectrum: jax.Array, lags: jax.Array, timing: Timing) -> jax.Array:
    """Correlation of spikes and current gradient at every tap's delay, shape of ``lags``."""
    correlation = jnp.fft.irfft(spectrum.transpose(2, 1, 0), n=timing.steps)
    n_out, channels, _ = correlation.shape
    taps = jnp.take_along_axis(correlation, lags.reshape(n_out, channels, -1), axis=2)
    largest = jnp.max(jnp.abs(correlation), axis=2, keepdims=True)
    return jnp.where(jnp.abs(taps) < NOISE_FLOOR * largest, 0, taps).reshape(lags.shape)
