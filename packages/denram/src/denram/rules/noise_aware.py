r"""The paper's rule: learning with weights under read noise.

.. math:: \tilde W = W + \sigma \max|W|\, \varepsilon, \quad \varepsilon \sim \mathcal N(0, 1), \qquad
    W \leftarrow \mathrm{Adam}\big(W,\; \partial L / \partial \tilde W\big)

One amplitude for the whole matrix, bias included; exact zeros stay zero. Every mini-batch draws new noise, and
the gradient with respect to :math:`\tilde W` is used for :math:`W` unchanged (straight-through). Networks are tested
under the same noise: one draw is one device.

Source: D'Agostino et al. 2024 and the original program (EIS-Hub/DenRAM).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from reprokit import UserError

from denram.data.binning import Samples
from denram.data.events import EventBatch
from denram.engines.network import DelayNetwork, LossAndGradient, loss_and_accuracy
from denram.layer.noisy import disturbed
from denram.randomness import initial_key, next_normals, split_key
from denram.rules.adam import AdamState, update
from denram.spec import NetworkSpec, Profile

Weights = np.ndarray | jax.Array


class Learner(NamedTuple):
    """The state that training changes.

    Attributes:
        weights: Clean weights, float32 `(n_out, n_in * n_delays + 1)`.
        adam: State of the optimiser.
        key: State of the noise stream, uint32 `(2,)`.
    """

    weights: Weights
    adam: AdamState
    key: np.ndarray


class Scores(Protocol):
    """What is needed from a network that is only evaluated."""

    @property
    def spec(self) -> NetworkSpec:
        """Its sizes and profile."""
        ...

    def scores(self, weights: Any, events: EventBatch) -> np.ndarray:
        """Scores of spikes, float32 (sample, n_out)."""
        ...


class PassResult(NamedTuple):
    """Mean loss and accuracy of a pass."""

    loss: float
    accuracy: float


def noisy_weights(weights: Weights, epsilon: Weights, noise_std: float | jax.Array) -> Weights:
    """Weights as read once from the devices; under `jax.grad` the gradient is straight-through.

    Args:
        weights: clean weights, float32, shape (n_out, n_in * n_delays + 1).
        epsilon: standard normal draws, same shape.
        noise_std: noise amplitude relative to the largest absolute weight; 0 returns the weights unchanged.

    Returns:
        Noisy weights, same shape and dtype; a JAX array if ``weights`` is one, otherwise a NumPy array.

    Raises:
        UserError: noise_std below 0 or not finite, or shapes that differ.
    """
    if not isinstance(noise_std, Tracer):
        check_noise_std(float(noise_std))
    if np.shape(weights) != np.shape(epsilon):
        raise UserError(
            f"epsilon has shape {np.shape(epsilon)}; it must have the weights' {np.shape(weights)}."
        )
    if isinstance(weights, jax.Array):
        return disturbed(weights, jnp.asarray(epsilon), noise_std)
    amplitude = np.max(np.abs(weights)) * np.float32(noise_std)
    return np.where(weights != 0, weights + np.asarray(epsilon, weights.dtype) * amplitude, weights)


def check_noise_std(noise_std: float) -> None:
    """Raise `UserError` unless the amplitude is a finite number of at least 0."""
    if not (np.isfinite(noise_std) and noise_std >= 0):
        raise UserError(
            f"noise_std is {noise_std!r}; it must be a finite number of at least 0 (0.1 means 10 %)."
        )


def perturbed(weights: Any, key: np.ndarray, noise_std: float) -> tuple[Any, np.ndarray]:
    """Weights with the next noise of a stream, and the advanced stream (even if the noise is 0).

    If there are several matrices by name, each has noise relative to its own largest weight.
    """
    if isinstance(weights, Mapping):
        found = {}
        for name in sorted(weights):
            found[name], key = perturbed(weights[name], key, noise_std)
        return found, key
    if noise_std == 0:
        return weights, split_key(key)[0]
    key, normals = next_normals(key, np.shape(weights))
    return noisy_weights(jnp.asarray(weights), normals, noise_std), key


def train_pass(
    network: DelayNetwork,
    learner: Learner,
    samples: Samples,
    batches: Iterable[np.ndarray],
    *,
    epoch: int,
    noise_std: float,
    base_rate: float,
) -> tuple[Learner, PassResult]:
    """Update the weights once for each batch, with fresh noise in each (straight-through gradient).

    Args:
        network: The network.
        learner: Weights, optimiser and noise stream before the pass.
        samples: All training samples.
        batches: Sample indices of each batch.
        epoch: Index of the epoch, from 0.
        noise_std: Noise amplitude relative to the largest absolute weight.
        base_rate: Learning rate of the first epochs.

    Returns:
        The learner after the pass, and loss and accuracy as `average` defines them.

    Raises:
        UserError: A loss or gradient that is not finite, or outputs that are all silent in the whole pass.
    """
    weights, adam, key = learner
    results, sizes, alive = [], [], False
    for batch in batches:
        noisy, key = perturbed(weights, key, noise_std)
        out = network.loss_and_gradient(noisy, samples.events.take(batch), samples.labels[batch])
        _check_step(out, epoch, base_rate, network.spec.profile)
        alive = alive or bool(np.any(np.asarray(out.scores) > 0))
        weights, adam = update(
            weights, out.gradient, adam, epoch=epoch, profile=network.spec.profile, base_rate=base_rate
        )
        results.append(PassResult(out.loss, out.accuracy))
        sizes.append(len(batch))
    if sizes and not alive:
        raise UserError(
            f"epoch {epoch}: every output stayed silent for every sample (all scores are 0), so nothing is learned; "
            f"lower the learning rate (--lr, now {base_rate:g}), raise --w-scale, or check how many spikes are kept."
        )
    return Learner(weights, adam, key), average(results, _shares(network, sizes))


def _check_step(out: LossAndGradient, epoch: int, base_rate: float, profile: Profile) -> None:
    """Stop before the weights are ruined; the unguarded logarithm of `faithful` may be infinite (DEV-2)."""
    allowed = not np.isnan(out.loss) if profile == "faithful" else np.isfinite(out.loss)
    if not (allowed and np.all(np.isfinite(np.asarray(out.gradient)))):
        raise UserError(
            f"epoch {epoch}: the loss is {out.loss:g} or its gradient is not finite, so training has diverged; "
            f"lower the learning rate (--lr, now {base_rate:g}) and train again in another folder."
        )


def noisy_pass(
    network: DelayNetwork,
    weights: Weights,
    key: np.ndarray,
    samples: Samples,
    batches: Iterable[np.ndarray],
    noise_std: float,
) -> tuple[np.ndarray, PassResult]:
    """Evaluate with a fresh noise draw for each batch, as the original validates and tests.

    Args:
        network: The network.
        weights: Clean weights.
        key: State of the noise stream.
        samples: The samples that the batches index.
        batches: Sample indices of each batch.
        noise_std: Noise amplitude.

    Returns:
        The noise stream after the pass, and loss and accuracy.
    """
    results, sizes = [], []
    for batch in batches:
        noisy, key = perturbed(weights, key, noise_std)
        results.append(_evaluate(network, noisy, samples, batch))
        sizes.append(len(batch))
    return key, average(results, _shares(network, sizes))


def device_pass(
    network: Scores,
    weights: Any,
    key: np.ndarray,
    samples: Samples,
    batches: Iterable[np.ndarray],
    noise_std: float,
) -> tuple[np.ndarray, PassResult]:
    """Evaluate one device: a single noise draw for all batches; arguments and result as in `noisy_pass`.

    Stacked networks with their weights by name are accepted.
    """
    noisy, key = perturbed(weights, key, noise_std)
    noisy = jax.tree.map(np.asarray, noisy)
    batches = list(batches)
    results = [_evaluate(network, noisy, samples, batch) for batch in batches]
    return key, average(results, [len(batch) for batch in batches])


def device_accuracies(
    network: Scores,
    weights: Any,
    samples: Samples,
    batches: Sequence[np.ndarray],
    *,
    noise_std: float,
    devices: int,
) -> np.ndarray:
    """Accuracy of `devices` noisy copies of a network, float64 `(devices,)`.

    Device d draws its noise from the key of seed d, so devices are the same for every run of one size.
    Without noise all devices are equal and one is computed.
    """
    draws = 1 if noise_std == 0 else devices
    found = [
        device_pass(network, weights, initial_key(device), samples, batches, noise_std)[1].accuracy
        for device in range(draws)
    ]
    return np.resize(np.array(found), devices)


def average(results: Sequence[PassResult], sizes: Sequence[int] | None = None) -> PassResult:
    """Mean over batches, weighted by size if sizes are given."""
    loss, accuracy = np.average(np.array(results, np.float64).reshape(-1, 2), axis=0, weights=sizes)
    return PassResult(float(loss), float(accuracy))


def _shares(network: DelayNetwork, sizes: Sequence[int]) -> Sequence[int] | None:
    """Weights of batches in a mean: equal in `faithful`, by size in `fixed`."""
    return None if network.spec.profile == "faithful" else sizes


def _evaluate(network: Scores, weights: Any, samples: Samples, batch: np.ndarray) -> PassResult:
    scores = network.scores(weights, samples.events.take(batch))
    return PassResult(*loss_and_accuracy(scores, samples.labels[batch], network.spec))
