r"""Several networks of one size in one program: `jax.vmap` over networks of the FFT engine, for GPUs.

The networks (seeds, noise levels) have their own weights, delays and batches and share the data set, which stays on the
device as bytes; a batch is a row of sample indices. Everything is an argument of one compiled program: no step waits
for the host or for another network. `denram.rules.together` puts noise and optimiser around it and runs whole passes.

Why this form: at every step R networks of B samples are R times as many rows in the same matrix products and
transforms, so a GPU that one network leaves idle is filled, and the number of kernels does not grow with R. The
membrane combines stretches of time (`denram.model.neuron`) instead of starting kernels for each of 350 steps. Batches
of unequal length are padded; padding has no part in losses and gradients.

Memory, estimated: samples * steps_in * n_in bytes for the data (1.1 GB for both parts of SHD with 700 channels); per
network 12 bytes * n_out * n_in * steps for kernels and correlations (60 MB for 700 channels, 20 outputs, 350 steps),
and about 4 GB for all together in the transforms (`fft.ACCELERATOR_CELLS`).

A network's numbers are those of the same network alone with the FFT engine to float32 rounding: XLA may choose another
order of summation for other shapes, and delay lines are as long as the longest of all networks, which moves rounding
in the transforms. Draws have the same bits on one device, and are equal to rounding on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from reprokit import UserError

from denram.data.binning import Samples
from denram.engines import fft
from denram.engines.network import Array, DelayNetwork, platform
from denram.model.readout import sample_losses

SLICE = 512  # samples unpacked at a time on the way to the device


class Resident(NamedTuple):
    """Samples on the device.

    Attributes:
        spikes: 0 and 1, uint8, shape (sample, time, channel).
        labels: int32, shape (sample,).
    """

    spikes: jax.Array
    labels: jax.Array

    @classmethod
    def of(cls, samples: Samples) -> Resident:
        """Unpack the events of samples and move them to the device."""
        events = samples.events
        grid = np.empty((len(events), events.steps_in, events.n_in), np.uint8)
        for first in range(0, len(events), SLICE):
            chosen = np.arange(first, min(first + SLICE, len(events)))
            grid[chosen] = events.take(chosen).dense().transpose(1, 0, 2)
        return cls(jnp.asarray(grid), jnp.asarray(np.asarray(samples.labels), jnp.int32))


class Batches(NamedTuple):
    """The batches of one pass of every network, padded to one shape.

    Attributes:
        samples: sample indices, int32, shape (network, batch, row); padding is 0.
        sizes: samples of each batch, int32, shape (network, batch); 0: the network has no such batch.
    """

    samples: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, passes: Sequence[Sequence[np.ndarray]], like: Batches | None = None) -> Batches:
        """Pad the batches of some networks.

        Args:
            passes: For each network its batches, sample indices of shape (row,); none: it takes no part.
            like: Batches whose shape to take, so that no program is compiled again; None: the smallest shape.
        """
        found = [batch for batches in passes for batch in batches]
        shape = (
            (
                len(passes),
                max((len(batches) for batches in passes), default=0),
                max(map(len, found), default=0),
            )
            if like is None
            else like.samples.shape
        )
        samples, sizes = np.zeros(shape, np.int32), np.zeros(shape[:2], np.int32)
        for r, batches in enumerate(passes):
            for n, batch in enumerate(batches):
                samples[r, n, : len(batch)], sizes[r, n] = batch, len(batch)
        return cls(samples, sizes)


class BatchResult(NamedTuple):
    """One batch of one network.

    Attributes:
        loss: mean loss of the batch's samples, float32.
        accuracy: share of correctly classified samples, float32.
        top: largest score, float32; 0 where every output is silent.
    """

    loss: Array
    accuracy: Array
    top: Array


def timing_of(networks: Sequence[DelayNetwork]) -> fft.Timing:
    """The one program that computes all networks; their delay lines get the length of the longest.

    Raises:
        UserError: Networks of other sizes, constants or profiles, or whose bias flows until the end of lines of
            unequal lengths.
    """
    first, lines = networks[0].spec, [network.lines for network in networks]
    for network in networks:
        spec = network.spec
        for name in ("n_in", "n_delays", "n_out", "steps_in", "leak", "profile"):
            if getattr(spec, name) != getattr(first, name):
                raise UserError(
                    f"{name} is {getattr(spec, name)!r} in one network and {getattr(first, name)!r} in another; "
                    "networks computed together must have the same sizes, constants and profile."
                )
    if len({line.bias_steps for line in lines}) > 1:
        raise UserError(
            "bias_in_tail is True and the longest delays differ; compute these networks one by one."
        )
    timing = fft.Timing(
        first.n_delays, max(line.steps for line in lines), lines[0].bias_steps, first.leak, first.profile
    )
    return timing if platform() == "cpu" else fft.for_accelerator(timing, len(networks))


def evaluated(
    weights: jax.Array, lags: jax.Array, data: Resident, rows: jax.Array, size: jax.Array, timing: fft.Timing
) -> BatchResult:
    """One batch of one network, without a gradient; arguments as in `differentiated`."""
    score = fft.scores(weights, lags, data.spikes[rows].transpose(1, 0, 2), timing)
    return judged(score, data.labels[rows], size, timing)[1]


def differentiated(
    weights: jax.Array, lags: jax.Array, data: Resident, rows: jax.Array, size: jax.Array, timing: fft.Timing
) -> tuple[BatchResult, jax.Array]:
    """One batch of one network, and the gradient of its mean loss, shape of the weights.

    Args:
        weights: as applied, float32, shape (n_out, n_in * n_delays + 1).
        lags: delays in steps, int32, shape (n_out, n_in * n_delays).
        data: samples on the device.
        rows: sample indices, int32, shape (row,).
        size: how many of the rows count, int32 scalar; the others are padding.
        timing: sizes and constants.
    """
    spikes, labels = data.spikes[rows].transpose(1, 0, 2), data.labels[rows]
    score, slopes = fft.scores_and_slopes(weights, lags, spikes, timing)
    judge = partial(judged, labels=labels, size=size, timing=timing)
    (_, result), upstream = jax.value_and_grad(judge, has_aux=True)(score)
    return result, fft.weight_gradient(slopes * upstream, lags, spikes, timing)


def judged(
    score: jax.Array, labels: jax.Array, size: jax.Array, timing: fft.Timing
) -> tuple[jax.Array, BatchResult]:
    """Mean loss of the first `size` rows of scores (row, n_out), and all that is reported of them."""
    counts = jnp.arange(len(labels), dtype=jnp.int32) < size
    used = jnp.where(counts[:, None], score, 0)  # padding cannot overflow
    share = counts / jnp.maximum(size, 1).astype(jnp.float32)
    loss = jnp.sum(sample_losses(used, labels, timing.profile) * share)
    right = (jnp.argmax(used, axis=1).astype(labels.dtype) == labels) & counts
    accuracy = jnp.sum(right, dtype=jnp.float32) / jnp.maximum(size, 1).astype(jnp.float32)
    return loss, BatchResult(loss, accuracy, jnp.max(used))
