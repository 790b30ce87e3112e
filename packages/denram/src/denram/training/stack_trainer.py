r"""Training of stacked networks and learned delays: the same loop as in `trainer.py`, with the gradient from JAX.

Weights follow Adam as usual. Delays follow it at their own rate and are kept within the line. The Gaussian narrows
geometrically during the first three quarters of the epochs,

.. math::
    \sigma_e = \sigma_0 (\sigma_1 / \sigma_0)^{e / (E - 1)}, \qquad \sigma_1 = 1/4, \quad
    E = \lceil 3/4\, epochs \rceil,

and is 0 from then on: the delays are rounded and fixed while the weights converge. Epochs are selected and
networks tested with rounded delays, so the stored network is the one that was measured.

Source of the schedule: Hammouamri et al., ICLR 2024, section 3.2 (they narrow to the same end over the first quarter).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from reprokit import UserError, progress
from reprokit.config import derived_seed

from denram.config import TrainConfig
from denram.data.loading import DataSet
from denram.data.splits import Order, make_order
from denram.engines.network import DelayNetwork
from denram.layer.currents import WIDTHS
from denram.layer.noisy import noisy
from denram.layer.stack import StackNetwork, initial_arrays, scores
from denram.model.readout import sample_losses
from denram.randomness import GENERATOR, legacy_layout
from denram.rules.adam import B1, B2, EPSILON, learning_rate
from denram.rules.noise_aware import PassResult, Scores, device_accuracies, device_pass
from denram.spec import Stack
from denram.training.trainer import Selection, summary_of

NARROWEST = 0.25  # sigma_1, steps
NARROWING = 0.75  # share of the epochs
ADAM = optax.scale_by_adam(B1, B2, EPSILON)


def sigma_of(config: TrainConfig, epoch: int) -> float:
    """Width of the Gaussians in an epoch, in steps."""
    narrowing = math.ceil(NARROWING * config.nb_epochs)
    if not config.train_delays or epoch >= narrowing:
        return 0.0
    end = min(NARROWEST, config.sigma)
    return config.sigma * (end / config.sigma) ** (epoch / max(1, narrowing - 1))


@partial(jax.jit, static_argnames=("stack", "reach", "noise_std"))
def _update(
    arrays: dict[str, jax.Array],
    adam: Any,
    x: jax.Array,
    labels: jax.Array,
    counted: jax.Array,
    key: jax.Array,
    rates: Mapping[str, jax.Array],
    sigma: jax.Array,
    *,
    stack: Stack,
    reach: int,
    noise_std: float,
) -> tuple[dict[str, jax.Array], Any, jax.Array, jax.Array, jax.Array]:
    """One update; returns arrays, state, loss, accuracy and whether all gradients are finite."""

    def loss_of(arrays: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        read = arrays
        if noise_std > 0:
            keys = jax.random.split(key, len(arrays))
            read = {
                name: array if name.startswith("delays") else noisy(array, keys[place], noise_std)
                for place, (name, array) in enumerate(sorted(arrays.items()))
            }
        score = scores(read, x, stack, sigma, reach)
        share = counted / jnp.sum(counted)
        return jnp.sum(share * sample_losses(score, labels, "fixed")), score

    (loss, score), gradient = jax.value_and_grad(loss_of, has_aux=True)(arrays)
    right = (jnp.argmax(score, axis=1).astype(labels.dtype) == labels).astype(jnp.float32)
    finite = jnp.all(jnp.stack([jnp.all(jnp.isfinite(slope)) for slope in jax.tree.leaves(gradient)]))
    direction: Any
    direction, adam = ADAM.update(gradient, adam)
    moved = {
        name: array - rates["delays" if name.startswith("delays") else "weights"] * direction[name]
        for name, array in arrays.items()
    }
    limit = np.float32(stack.whole.max_delay)
    moved = {
        name: jnp.clip(array, np.float32(0), limit) if name.startswith("delays") else array
        for name, array in moved.items()
    }
    return moved, adam, loss, jnp.sum(right * counted) / jnp.sum(counted), finite


@dataclass
class StackTrainer:
    """One run in progress; used like a `Trainer`.

    Args:
        config: Its settings.
        data: The data set.
        stack: Sizes of the network.
        order: Split and batches.
        arrays: Weights and delays by name, float32; learned delays are continuous.
        adam: State of the optimiser, of the same names.
        best: Weights and whole delays of the best epoch so far, by name.
        selection: Best epoch and patience.
        epoch: Next epoch to train.
        seconds: Wall time so far, summed over all parts of a resumed run.
    """

    config: TrainConfig
    data: DataSet
    stack: Stack
    order: Order
    arrays: dict[str, Any]
    adam: Any
    best: dict[str, np.ndarray]
    selection: Selection
    epoch: int = 0
    seconds: float = 0.0

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch >= self.config.nb_epochs or self.selection.exhausted

    def run_epoch(self) -> dict[str, Any]:
        """Train and validate once; returns the record for the log."""
        started, config = time.perf_counter(), self.config
        train_batches, validation_batches = self.order.epoch(self.epoch)
        sigma = sigma_of(config, self.epoch)
        rate = learning_rate(self.epoch, config.lr)
        rates = {"weights": rate, "delays": config.lr_delays * rate / config.lr if sigma > 0 else 0.0}
        if sigma == 0:
            self.arrays = rounded(self.arrays)
        losses, accuracies, sizes = [], [], []
        for place, batch in enumerate(progress(train_batches, description=f"epoch {self.epoch}")):
            loss, accuracy = self._step(batch, place, rates, sigma)
            losses.append(loss)
            accuracies.append(accuracy)
            sizes.append(len(batch))
        whole = rounded(self.arrays)
        validated = self._validate(*network_of(whole, self.stack, config), validation_batches)
        duration = time.perf_counter() - started
        trained = float(np.average(accuracies, weights=sizes))
        new_best = self.selection.offer(self.epoch, validated.accuracy, trained)
        if new_best:
            self.best = whole
        record = {
            "epoch": self.epoch,
            "train_loss": float(np.average(losses, weights=sizes)),
            "train_acc": trained,
            "val_loss": validated.loss,
            "val_acc": validated.accuracy,
            "test_acc": None,
            "new_best": new_best,
            "learning_rate": rate,
        }
        if config.train_delays:
            record["sigma"] = sigma
            if sigma > 0 and sigma_of(config, self.epoch + 1) == 0:  # the cost of rounding
                smeared = StackNetwork(_part(self.arrays, "delays"), self.stack, sigma, self._reach)
                weights = {name: array for name, array in self.arrays.items() if name not in smeared.delays}
                record["val_acc_unrounded"] = self._validate(smeared, weights, validation_batches).accuracy
        self.epoch += 1
        self.seconds += time.perf_counter() - started
        return record | {"duration": duration}

    def _validate(self, network: Scores, weights: Any, batches: Sequence[np.ndarray]) -> PassResult:
        key = np.asarray(jax.random.key_data(self._key("validation", 0)))
        return device_pass(network, weights, key, self.data.train, batches, self.config.noise_std)[1]

    @property
    def _reach(self) -> int:
        return math.ceil(WIDTHS * self.config.sigma) if self.config.train_delays else 0

    def _step(
        self, batch: np.ndarray, place: int, rates: Mapping[str, float], sigma: float
    ) -> tuple[float, float]:
        config, missing = self.config, self.config.batch_size - len(batch)
        samples = self.data.train
        x = np.pad(samples.events.take(batch).dense(), ((0, 0), (0, missing), (0, 0)))
        counted = np.pad(np.ones(len(batch), np.float32), (0, missing))
        with legacy_layout():
            self.arrays, self.adam, loss, accuracy, finite = _update(
                dict(self.arrays),
                self.adam,
                x,
                np.pad(samples.labels[batch], (0, missing)).astype(np.int32),
                counted,
                self._key("training", self.epoch, place),
                {name: np.float32(value) for name, value in rates.items()},
                np.float32(sigma),
                stack=self.stack,
                reach=self._reach,
                noise_std=float(config.noise_std),
            )
        if not (np.isfinite(loss) and finite):
            raise UserError(
                f"epoch {self.epoch}: the loss is {float(loss):g} or its gradient is not finite, so training has "
                f"diverged; lower the learning rate (--lr, now {config.lr:g}) and train again in another folder."
            )
        return float(loss), float(accuracy)

    def _key(self, *purpose: str | int) -> jax.Array:
        """The key for a purpose, independent of earlier draws, so that a resumed run draws the same."""
        return jax.random.key(derived_seed(self.config.seed, *purpose) % 2**32, impl=GENERATOR)

    def test(self) -> np.ndarray:
        """Test accuracy of the best epoch: one value for each device."""
        return device_accuracies(
            *network_of(self.best, self.stack, self.config),
            self.data.test,
            self.order.test_pass(),
            noise_std=self.config.noise_std,
            devices=self.config.devices,
        )

    def summary(self) -> dict[str, Any]:
        """Final numbers of the run."""
        parameters = sum(
            array.size
            for name, array in self.best.items()
            if self.config.train_delays or "delays" not in name
        )
        return summary_of(self, parameters)

    def best_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the best epoch for the run directory, by name."""
        return self.best

    def checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that the next epoch depends on, as arrays and JSON-able values."""
        groups = {"": self.arrays, "best-": self.best, "first-": self.adam.mu, "second-": self.adam.nu}
        arrays = {
            f"{group}{name}": np.asarray(array)
            for group, found in groups.items()
            for name, array in found.items()
        }
        state = {
            "adam_count": int(self.adam.count),
            "selection": self.selection.state(),
            "seconds": self.seconds,
        }
        return arrays, state

    def restore(self, step: int, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Restore what `checkpoint` returned after `step` epochs."""
        names = self.stack.shapes()
        mean, square = ({name: arrays[f"{group}-{name}"] for name in names} for group in ("first", "second"))
        self.adam = optax.ScaleByAdamState(np.int32(state["adam_count"]), mean, square)
        self.arrays = {name: arrays[name] for name in names}
        self.best = {name: arrays[f"best-{name}"] for name in names}
        self.selection = Selection(**state["selection"])
        self.epoch, self.seconds = step, state["seconds"]


def rounded(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """NumPy arrays with all delays in whole steps."""
    return {
        name: np.rint(array) if name.startswith("delays") else np.array(array)
        for name, array in arrays.items()
    }


def network_of(
    arrays: Mapping[str, np.ndarray], stack: Stack, config: TrainConfig
) -> tuple[DelayNetwork | StackNetwork, Any]:
    """A network and its weights; for one layer, a plain `DelayNetwork`."""
    if stack.layers == 1:
        network = DelayNetwork(arrays["delays"], stack.whole, engine="auto", threads=config.threads)
        return network, np.asarray(arrays["weights"])
    delays = _part(arrays, "delays")
    return StackNetwork(delays, stack), {name: arrays[name] for name in arrays if name not in delays}


def _part(arrays: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {name: array for name, array in arrays.items() if name.startswith(kind)}


def make_stack_trainer(config: TrainConfig, data: DataSet) -> StackTrainer:
    """Draw the network of a run and its split."""
    stack = config.stack(data.classes)
    arrays = initial_arrays(stack, config.seed)
    order = make_order(
        faithful=False,
        n_train=len(data.train),
        n_test=len(data.test),
        speakers=data.train.speakers,
        seed=config.seed,
        batch_size=config.batch_size,
        validation=config.validation,
        n_validation=data.n_validation,
    )
    selection = Selection(faithful=False, patience=config.patience)
    return StackTrainer(config, data, stack, order, arrays, ADAM.init(arrays), arrays, selection)
