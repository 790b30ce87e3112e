r"""Pure JAX engine: delays as phase factors, convolution over time as a product of spectra.

The current is a convolution over time of the spikes with a sparse kernel (n_delays taps per connection),

.. math::

    \hat I_{f,b,o} = \sum_i \hat X_{f,b,i}\, \hat K_{f,i,o}, \qquad
    K_{\tau,i,o} = \sum_k W_{o,(i,k)}\,[D_{o,(i,k)} = \tau]

and the gradient with respect to a weight is the correlation read at its delay. The rectified integrator is
run step by step on the small current array. A batch is worked through in chunks so that no more than about
100 MB are needed whatever its size; the spectra of the spikes are computed twice rather than kept where a
separate backward pass needs them.

``DEV-4``: spectra carry rounding noise of about 1e-7 of the largest value. Currents below `NOISE_FLOOR` of
the largest current of an output, and gradients below that share of the largest correlation of a connection,
count as zero; potentials within `TIE_TOLERANCE` of the maximum count as equal to it. So silent outputs, exact
ties and weights without influence keep the gradient they have in exact arithmetic.
"""

from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from denram.neuron import current_gradient, membrane
from denram.readout import sample_losses
from denram.spec import Profile

NOISE_FLOOR = 2.0**-20
TIE_TOLERANCE = 5e-7
CHUNK_CELLS = 8192  # samples * channels worked on at a time; about 30 MB for 350 steps


class Timing(NamedTuple):
    """What the compiled program depends on besides array shapes.

    Attributes:
        steps: time steps in all, input and tail.
        bias_steps: steps during which the bias current flows.
        leak: membrane decay per step.
        profile: which loss (DEV-2).
    """

    steps: int
    bias_steps: int
    leak: float
    profile: Profile


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
    kernel = _kernel_spectrum(weights, lags, spikes.shape[2], timing)
    chunks, _ = _chunks(spikes)
    parts = jax.lax.map(
        lambda chunk: _chunk_currents(_spike_spectrum(chunk, timing), kernel, weights, timing), chunks
    )
    return jnp.moveaxis(parts, 0, 1).reshape(timing.steps, -1, weights.shape[0])[:, : spikes.shape[1]]


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def scores(weights: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing) -> jax.Array:
    """Scores, float32 of shape (sample, n_out); differentiable in ``weights`` also inside ``jax.jit``."""
    return jnp.max(membrane(currents(weights, lags, spikes, timing), timing.leak), axis=0)


def _scores_forward(
    weights: jax.Array, lags: jax.Array, spikes: jax.Array, timing: Timing
) -> tuple[jax.Array, tuple[jax.Array, jax.Array, jax.Array]]:
    drive = currents(weights, lags, spikes, timing)
    potential = membrane(drive, timing.leak)
    slope = current_gradient(drive, potential, timing.leak, TIE_TOLERANCE)
    return jnp.max(potential, axis=0), (lags, spikes, slope)


def _scores_backward(
    timing: Timing, kept: tuple[jax.Array, jax.Array, jax.Array], upstream: jax.Array
) -> tuple[jax.Array, None, None]:
    lags, spikes, slope = kept
    gradient = slope * upstream
    chunks, size = _chunks(spikes)
    padded = jnp.pad(gradient, ((0, 0), (0, chunks.shape[0] * size - spikes.shape[1]), (0, 0)))
    per_chunk = jnp.moveaxis(padded.reshape(timing.steps, chunks.shape[0], size, -1), 1, 0)

    def add(total: jax.Array, chunk: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + _kernel_gradient(_spike_spectrum(chunk[0], timing), chunk[1], timing), None

    start = jnp.zeros((_frequencies(timing), spikes.shape[2], lags.shape[0]), jnp.complex64)
    total, _ = jax.lax.scan(add, start, (chunks, per_chunk))
    return _read_taps(total, lags, jnp.sum(gradient[: timing.bias_steps], axis=(0, 1)), timing), None, None


scores.defvjp(_scores_forward, _scores_backward)


@partial(jax.jit, static_argnames="timing")
def loss_and_gradient(
    weights: jax.Array, lags: jax.Array, spikes: jax.Array, labels: jax.Array, timing: Timing
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Mean loss, accuracy, gradient of the mean loss, and scores: forward and backward in one pass.

    Args:
        weights: as in `currents`.
        lags: as in `currents`.
        spikes: as in `currents`.
        labels: int32, shape (sample,).
        timing: sizes and constants.
    """
    n_samples = spikes.shape[1]
    kernel = _kernel_spectrum(weights, lags, spikes.shape[2], timing)
    chunks, size = _chunks(spikes)
    extra = chunks.shape[0] * size - n_samples
    chunk_labels = jnp.pad(labels, (0, extra)).reshape(-1, size)
    share = jnp.pad(jnp.full(n_samples, 1 / n_samples, jnp.float32), (0, extra)).reshape(-1, size)

    def add(
        total: tuple[jax.Array, jax.Array], chunk: tuple[jax.Array, jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        chunk_spikes, label, weight = chunk
        spectrum = _spike_spectrum(chunk_spikes, timing)
        drive = _chunk_currents(spectrum, kernel, weights, timing)
        potential = membrane(drive, timing.leak)
        score = jnp.max(potential, axis=0)
        losses = sample_losses(score, label, timing.profile)
        upstream = (jax.nn.softmax(score) - jax.nn.one_hot(label, score.shape[1])) * weight[:, None]
        gradient = current_gradient(drive, potential, timing.leak, TIE_TOLERANCE) * upstream
        bias = jnp.sum(gradient[: timing.bias_steps], axis=(0, 1))
        return (total[0] + _kernel_gradient(spectrum, gradient, timing), total[1] + bias), (score, losses)

    start = (
        jnp.zeros((_frequencies(timing), spikes.shape[2], lags.shape[0]), jnp.complex64),
        jnp.zeros(lags.shape[0], jnp.float32),
    )
    (taps, bias), (score, losses) = jax.lax.scan(add, start, (chunks, chunk_labels, share))
    score = score.reshape(-1, lags.shape[0])[:n_samples]
    accuracy = jnp.mean(jnp.argmax(score, axis=1) == labels)
    return jnp.mean(losses.reshape(-1)[:n_samples]), accuracy, _read_taps(taps, lags, bias, timing), score


def _frequencies(timing: Timing) -> int:
    return timing.steps // 2 + 1


def _chunks(spikes: jax.Array) -> tuple[jax.Array, int]:
    """Spikes as (chunk, time, sample of the chunk, n_in), padded with silent samples, and the chunk's size."""
    steps, n_samples, n_in = spikes.shape
    count = max(1, -(-n_samples * n_in // CHUNK_CELLS))
    size = max(1, -(-n_samples // count))
    count = max(1, -(-n_samples // size))
    padded = jnp.pad(spikes, ((0, 0), (0, count * size - n_samples), (0, 0)))
    return jnp.moveaxis(padded.reshape(steps, count, size, n_in), 1, 0), size


@lru_cache(maxsize=4)
def _phases(steps: int, rows: int) -> np.ndarray:
    """Cosine and minus sine of all frequencies at the first ``rows`` steps, (2 * frequency, time)."""
    angle = 2 * np.pi * (np.outer(np.arange(steps // 2 + 1), np.arange(rows)) % steps) / steps
    return np.concatenate([np.cos(angle), -np.sin(angle)]).astype(np.float32)


def _spike_spectrum(spikes: jax.Array, timing: Timing) -> jax.Array:
    """Spectrum over time, complex64 (frequency, sample, n_in); a matrix product is faster here than an FFT."""
    rows, n_samples, n_in = spikes.shape
    phases = jnp.asarray(_phases(timing.steps, rows))
    flat = spikes.astype(jnp.float32).reshape(rows, -1)
    real, imaginary = jnp.split(jnp.matmul(phases, flat, precision=jax.lax.Precision.HIGHEST), 2)
    return jax.lax.complex(real, imaginary).reshape(-1, n_samples, n_in)


def _kernel_spectrum(weights: jax.Array, lags: jax.Array, n_in: int, timing: Timing) -> jax.Array:
    """Spectrum of the delay kernels, complex64 (frequency, n_in, n_out)."""
    n_out = lags.shape[0]
    rows = jnp.arange(n_out * n_in, dtype=jnp.int32)[:, None] * timing.steps
    places = (rows + lags.reshape(n_out * n_in, -1)).reshape(-1)
    kernel = jnp.zeros(n_out * n_in * timing.steps, jnp.float32).at[places].add(weights[:, :-1].reshape(-1))
    return jnp.fft.rfft(kernel.reshape(n_out, n_in, timing.steps)).transpose(2, 1, 0)


def _chunk_currents(spectrum: jax.Array, kernel: jax.Array, weights: jax.Array, timing: Timing) -> jax.Array:
    product = jnp.einsum("fbi,fio->fbo", spectrum, kernel, precision=jax.lax.Precision.HIGHEST)
    drive = jnp.fft.irfft(product.transpose(1, 2, 0), n=timing.steps).transpose(2, 0, 1)
    scale = jnp.maximum(jnp.max(jnp.abs(drive), axis=0), jnp.max(jnp.abs(weights[:, :-1]), axis=1))
    drive = jnp.where(jnp.abs(drive) < NOISE_FLOOR * scale, 0, drive)
    flows = jnp.arange(timing.steps) < timing.bias_steps
    return drive + jnp.where(flows[:, None, None], weights[:, -1], 0)


def _kernel_gradient(spectrum: jax.Array, gradient: jax.Array, timing: Timing) -> jax.Array:
    """Spectrum of the correlation of spikes and current gradient, complex64 (frequency, n_in, n_out)."""
    backward = jnp.fft.rfft(gradient.transpose(1, 2, 0), n=timing.steps).transpose(2, 0, 1)
    return jnp.einsum("fbi,fbo->fio", jnp.conj(spectrum), backward, precision=jax.lax.Precision.HIGHEST)


def _read_taps(spectrum: jax.Array, lags: jax.Array, bias: jax.Array, timing: Timing) -> jax.Array:
    """Gradient of every weight: the correlation at its delay, and the bias in the last column."""
    n_out = lags.shape[0]
    correlation = jnp.fft.irfft(spectrum.transpose(2, 1, 0), n=timing.steps)
    taps = jnp.take_along_axis(correlation, lags.reshape(n_out, correlation.shape[1], -1), axis=2)
    largest = jnp.max(jnp.abs(correlation), axis=2, keepdims=True)
    taps = jnp.where(jnp.abs(taps) < NOISE_FLOOR * largest, 0, taps)
    return jnp.concatenate([taps.reshape(n_out, -1), bias[:, None]], axis=1)
