r"""Currents of a layer with continuous, trainable delays.

A synapse with weight w and delay d (in steps) spreads each input over the whole steps around d,

.. math::

    I_{t,o} = \sum_{i,k} w_{o,(i,k)} \sum_{\tau=0}^{D} g_\sigma(\tau - d_{o,(i,k)})\, x_{t-\tau,i} + b_o, \qquad
    g_\sigma(\tau - d) = \frac{e^{-(\tau - d)^2 / 2\sigma^2}}{\sum_{\tau'=0}^{D} e^{-(\tau' - d)^2 / 2\sigma^2}}

A wide Gaussian makes a delay sensitive to distant inputs; training narrows it, and at :math:`\sigma = 0` the delay is
the nearest whole step, which is the layer with fixed delays.

The taps of all Gaussians are gathered into one kernel per connection, and the convolution is a product of
spectra. Forming the Gaussians in frequency space as well, with one phase per synapse and frequency, took ten
times as long with 82,000 synapses and four times as long with 5,000 (gradients of weights and delays, one CPU core).

Source: Khalfaoui-Hassani, Pellegrini & Masquelier, *Dilated convolution with learnable spacings* (ICLR 2023);
Hammouamri, Khalfaoui-Hassani & Masquelier, *Learning delays in spiking neural networks using dilated convolutions with
learnable spacings* (ICLR 2024), section 3.2.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from reprokit import UserError

from denram.spec import require_whole

HIGHEST = jax.lax.Precision.HIGHEST
WIDTHS = 4  # a Gaussian is truncated this many sigma from its delay: 6e-5 of it is lost
ROUNDING = (
    8  # times machine epsilon: currents below this share of the largest are rounding noise of the spectra
)


def currents(
    weights: jax.Array,
    delays: jax.Array,
    x: jax.Array,
    *,
    max_delay: int,
    sigma: float | jax.Array = 0.0,
    steps: int | None = None,
    bias_steps: int | None = None,
    reach: int | None = None,
) -> jax.Array:
    """Currents of all steps; differentiable in weights, delays and inputs, under jit, vmap and scan.

    Delays outside of 0 to `max_delay` are clipped but still have a gradient. With `sigma` 0 delays have no
    gradient. Currents at the level of the spectra's rounding noise count as 0.

    Args:
        weights: float32 or float64, shape (n_out, n_in * n_delays), or one column more: a bias, last. Column k reads
            channel k // n_delays.
        delays: steps, shape (n_out, n_in * n_delays): one per synapse; or (n_in * n_delays,): axonal, the same
            for all outputs.
        x: inputs of any real dtype, shape (time, ..., n_in).
        max_delay: length of the delay line in steps.
        sigma: standard deviation of the Gaussians in steps; may be traced, so that narrowing it does not compile again.
        steps: steps of current to return; None: those of the input and `max_delay` more, which covers all effects of
            the input.
        bias_steps: steps during which the bias flows; None: those of the input.
        reach: whole steps considered on either side of a delay; None: four sigma, and all steps if sigma is traced.

    Returns:
        dtype of the weights, shape (steps, ..., n_out).

    Raises:
        UserError: Shapes that do not fit, weights that are not floats, a sigma below 0, or steps below 1.
    """
    weights, delays, x = jnp.asarray(weights), jnp.asarray(delays), jnp.asarray(x)
    _check(weights, delays, x, max_delay)
    given = None if isinstance(sigma, Tracer) else float(sigma)
    if given is not None and not (math.isfinite(given) and given >= 0):
        raise UserError(f"sigma is {given!r}; it must be a finite number of steps of at least 0.")
    if reach is None:
        reach = max_delay if given is None else math.ceil(WIDTHS * given)
    steps = len(x) + max_delay if steps is None else steps
    bias_steps = len(x) if bias_steps is None else bias_steps
    for name, value, least in (("steps", steps, 1), ("bias_steps", bias_steps, 0), ("reach", reach, 0)):
        require_whole(name, value, minimum=least)
    return _currents(
        weights,
        delays.astype(weights.dtype),
        x.astype(weights.dtype),
        jnp.asarray(sigma).astype(weights.dtype),
        (int(max_delay), int(steps), int(bias_steps), min(int(reach), int(max_delay))),
    )


def _check(weights: jax.Array, delays: jax.Array, x: jax.Array, max_delay: int) -> None:
    require_whole("max_delay", max_delay, minimum=0)
    if weights.ndim != 2 or not jnp.issubdtype(weights.dtype, jnp.floating):
        raise UserError(
            f"weights is {weights.dtype} of shape {weights.shape}; needed are floats, (n_out, n_in * n_delays [+ 1])."
        )
    if x.ndim < 2 or 0 in x.shape or jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise UserError(f"x is {x.dtype} of shape {x.shape}; needed are real numbers, (time, ..., n_in).")
    n_synapses = delays.shape[-1] if delays.ndim else 0
    if delays.shape not in ((weights.shape[0], n_synapses), (n_synapses,)) or n_synapses == 0:
        raise UserError(
            f"delays has shape {delays.shape}; needed is ({weights.shape[0]}, n_in * n_delays), one per synapse, or "
            "(n_in * n_delays,), the same for all outputs."
        )
    if n_synapses % x.shape[-1]:
        raise UserError(
            f"x has {x.shape[-1]} channels, and the {n_synapses} synapses of an output are not a multiple of them."
        )
    if weights.shape[1] - n_synapses not in (0, 1):
        raise UserError(
            f"weights has {weights.shape[1]} columns; delays makes it {n_synapses}, or {n_synapses + 1} with a bias."
        )


@partial(jax.jit, static_argnums=4)
def _currents(
    weights: jax.Array, delays: jax.Array, x: jax.Array, sigma: jax.Array, sizes: tuple[int, int, int, int]
) -> jax.Array:
    max_delay, steps, bias_steps, reach = sizes
    n_out, n_in, n_synapses = weights.shape[0], x.shape[-1], delays.shape[-1]
    taps = weights[:, :n_synapses]
    length = _fast_length(len(x) + max_delay)
    inputs = x.reshape(len(x), -1, n_in).transpose(1, 2, 0)
    spectrum = jnp.fft.rfft(inputs, n=length).transpose(2, 0, 1)
    delays = delays + jax.lax.stop_gradient(jnp.clip(delays, 0, max_delay) - delays)
    if delays.ndim == 1:
        ones = jnp.ones((n_synapses, 1), weights.dtype)
        lines = jnp.fft.rfft(_kernels(ones, delays[:, None], sigma, max_delay, reach), n=length)
        each = taps.reshape(n_out, n_in, -1).astype(lines.dtype)
        kernel = jnp.einsum("oik,ikf->fio", each, lines.reshape(n_in, -1, lines.shape[-1]), precision=HIGHEST)
    else:
        rows = (n_out * n_in, n_synapses // n_in)
        kernels = _kernels(taps.reshape(rows), delays.reshape(rows), sigma, max_delay, reach)
        kernel = jnp.fft.rfft(kernels, n=length).reshape(n_out, n_in, -1).transpose(2, 1, 0)
    product = jnp.einsum("fbi,fio->fbo", spectrum, kernel, precision=HIGHEST)
    drive = jnp.fft.irfft(product.transpose(1, 2, 0), n=length)[:, :, :steps].transpose(2, 0, 1)
    drive = _without_rounding_noise(drive, jnp.max(jnp.abs(taps), axis=1) * jnp.max(jnp.abs(x)))
    drive = jnp.pad(drive, ((0, steps - len(drive)), (0, 0), (0, 0)))
    if weights.shape[1] > n_synapses:
        drive += jnp.where((jnp.arange(steps) < bias_steps)[:, None, None], weights[:, n_synapses], 0)
    return drive.reshape(steps, *x.shape[1:-1], n_out)


def _kernels(taps: jax.Array, delays: jax.Array, sigma: jax.Array, max_delay: int, reach: int) -> jax.Array:
    """Sum of the Gaussians of each row, shape (row, max_delay + 1), from taps and delays of shape (row, tap)."""
    if 2 * reach + 2 > max_delay:
        lags = jnp.arange(max_delay + 1, dtype=jnp.int32)
        return jnp.einsum("rk,rkl->rl", taps, _gaussian(lags, delays, sigma, max_delay), precision=HIGHEST)
    below = jnp.floor(jax.lax.stop_gradient(delays)).astype(jnp.int32)
    lags = below[..., None] + jnp.arange(-reach, reach + 2, dtype=jnp.int32)
    values = taps[..., None] * _gaussian(lags, delays, sigma, max_delay)
    places = jnp.arange(len(taps), dtype=jnp.int32)[:, None] * (max_delay + 1)
    places = places + jnp.clip(lags, 0, max_delay).reshape(len(taps), -1)
    kernel = jnp.zeros(len(taps) * (max_delay + 1), taps.dtype)
    kernel = kernel.at[places.reshape(-1)].add(values.reshape(-1), mode="promise_in_bounds")
    return kernel.reshape(len(taps), max_delay + 1)


def _gaussian(lags: jax.Array, delays: jax.Array, sigma: jax.Array, max_delay: int) -> jax.Array:
    """G of the module's docstring over the last axis of `lags`; with sigma 0, 1 at the nearest lag and 0 elsewhere."""
    width = jnp.where(sigma > 0, sigma, 1)  # an unused derivative must not be NaN
    distance = (lags.astype(delays.dtype) - delays[..., None]) / width
    exponent = jnp.where((lags >= 0) & (lags <= max_delay), -0.5 * jnp.square(distance), -jnp.inf)
    nearest = lags == jnp.round(jax.lax.stop_gradient(delays)).astype(jnp.int32)[..., None]
    return jnp.where(sigma > 0, jax.nn.softmax(exponent, axis=-1), nearest.astype(delays.dtype))


def _without_rounding_noise(drive: jax.Array, scale: jax.Array) -> jax.Array:
    """Currents with rounding noise set to 0 along the first axis; gradients pass unchanged."""
    floor = ROUNDING * jnp.finfo(drive.dtype).eps * jnp.maximum(jnp.max(jnp.abs(drive), axis=0), scale)
    return drive - jax.lax.stop_gradient(jnp.where(jnp.abs(drive) < floor, drive, 0))


def _fast_length(least: int) -> int:
    """The next even length without a prime factor above 5, for the transforms."""
    length = least + least % 2
    while np.prod([p ** _power(length, p) for p in (2, 3, 5)]) != length:
        length += 2
    return length


def _power(number: int, prime: int) -> int:
    count = 0
    while number % prime == 0:
        number, count = number // prime, count + 1
    return count
