"""State of a run between epochs: one epoch of training, the final test, and the content of a checkpoint."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np
from reprokit import UserError, progress

from denram.config import TrainConfig
from denram.data.loading import DataSet
from denram.data.splits import Order, make_order
from denram.engines.network import DelayNetwork
from denram.model.parameters import Parameters, initialise
from denram.randomness import initial_key
from denram.rules.adam import AdamState, initial_state, learning_rate
from denram.rules.noise_aware import (
    Learner,
    PassResult,
    device_accuracies,
    device_pass,
    noisy_pass,
    train_pass,
)

FIRST_BEST = 1e-5  # the original's initial value
LEAST_GAIN = 0.01


@dataclass
class Selection:
    """Selection of the epoch whose weights are kept, and of the end of training.

    `faithful` (DEV-16): a new best must beat the last one by 1 % of it, and every other epoch counts against
    the patience, even with a small improvement. `fixed`: any improvement of the validation accuracy is a new best.

    Args:
        faithful: Whether to use the original's rule.
        patience: Epochs without a new best after which training stops.
        best: Validation accuracy of the best epoch.
        epoch: The best epoch, -1 before there is one.
        train_acc: Training accuracy of the best epoch.
        waited: Epochs since the best one.
    """

    faithful: bool
    patience: int
    best: float = -1.0
    epoch: int = -1
    train_acc: float = 0.0
    waited: int = 0

    def __post_init__(self) -> None:
        """Start the faithful rule at the original's initial value."""
        if self.faithful and self.epoch < 0:
            self.best = FIRST_BEST

    def offer(self, epoch: int, validation_accuracy: float, train_accuracy: float) -> bool:
        """Tell whether this epoch is a new best, and remember it if so."""
        gain = validation_accuracy - self.best
        if gain > 0 and (not self.faithful or gain / self.best >= LEAST_GAIN):
            self.best, self.epoch, self.train_acc, self.waited = validation_accuracy, epoch, train_accuracy, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the patience is exhausted."""
        return self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """All fields, JSON-able."""
        return asdict(self)


@dataclass
class Trainer:
    """One run in progress.

    Args:
        config: Its settings.
        data: The data set.
        network: Network with its fixed delays.
        order: Split and batches.
        learner: Weights, optimiser, noise stream.
        best_weights: Weights of the best epoch so far, float32.
        selection: Best epoch and patience.
        epoch: Next epoch to train.
        seconds: Wall time so far, summed over all parts of a resumed run.
        tested: Result of `test` if it was computed together with other networks.
    """

    config: TrainConfig
    data: DataSet
    network: DelayNetwork
    order: Order
    learner: Learner
    best_weights: np.ndarray
    selection: Selection
    epoch: int = 0
    seconds: float = 0.0
    tested: np.ndarray | None = None

    @property
    def finished(self) -> bool:
        """Whether no epoch is left."""
        return self.epoch >= self.config.nb_epochs or self.selection.exhausted

    def run_epoch(self) -> dict[str, Any]:
        """Train and validate once; returns the record for the log."""
        started, config, samples = time.perf_counter(), self.config, self.data.train
        train_batches, validation_batches = self.order.epoch(self.epoch)
        self.learner, trained = train_pass(
            self.network,
            self.learner,
            samples,
            progress(train_batches, description=f"epoch {self.epoch}"),
            epoch=self.epoch,
            noise_std=config.noise_std,
            base_rate=config.lr,
        )
        validate = noisy_pass if config.faithful else device_pass
        key, validated = validate(
            self.network,
            self.learner.weights,
            self.learner.key,
            samples,
            validation_batches,
            config.noise_std,
        )
        self.learner = self.learner._replace(key=key)
        duration = time.perf_counter() - started
        new_best = self.select(trained, validated)
        tested = None
        if new_best and config.faithful:  # `fixed` uses the test set only once, at the end
            tested = self.test_faithful().accuracy
        record = self.close_epoch(trained, validated, new_best, tested)
        self.seconds += time.perf_counter() - started
        return record | {"duration": duration}

    def select(self, trained: PassResult, validated: PassResult) -> bool:
        """Keep the weights if this epoch is a new best; tells whether it is."""
        new_best = self.selection.offer(self.epoch, validated.accuracy, trained.accuracy)
        if new_best:
            self.best_weights = np.array(self.learner.weights)
        return new_best

    def close_epoch(
        self, trained: PassResult, validated: PassResult, new_best: bool, tested: float | None
    ) -> dict[str, Any]:
        """Record of the epoch for the log; the next epoch begins."""
        record = {
            "epoch": self.epoch,
            "train_loss": trained.loss,
            "train_acc": trained.accuracy,
            "val_loss": validated.loss,
            "val_acc": validated.accuracy,
            "test_acc": tested,
            "new_best": new_best,
            "learning_rate": learning_rate(self.epoch, self.config.lr),
        }
        self.epoch += 1
        return record

    def test_faithful(self) -> PassResult:
        """Test the best weights as the original does: full batches, with a draw of seed 0 for each (DEV-15)."""
        batches = self.order.test_pass()
        return noisy_pass(
            self.network, self.best_weights, initial_key(0), self.data.test, batches, self.config.noise_std
        )[1]

    def test(self) -> np.ndarray:
        """Test accuracy of the best weights: one value (faithful) or one for each device (fixed)."""
        if self.tested is not None:
            return self.tested
        if self.config.faithful:
            return np.array([self.test_faithful().accuracy])
        return device_accuracies(
            self.network,
            self.best_weights,
            self.data.test,
            self.order.test_pass(),
            noise_std=self.config.noise_std,
            devices=self.config.devices,
        )

    def summary(self) -> dict[str, Any]:
        """Final numbers of the run."""
        return summary_of(self, int(self.best_weights.size))

    def best_arrays(self) -> dict[str, np.ndarray]:
        """Arrays of the best epoch for the run directory, by name."""
        return {"weights": self.best_weights}

    def checkpoint(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Everything that the next epoch depends on, as arrays and JSON-able values."""
        weights, adam, key = self.learner
        arrays = {"weights": weights, "adam_first": adam.first, "adam_second": adam.second, "key": key}
        arrays["best_weights"] = self.best_weights
        state = {"adam_count": adam.count, "order": self.order.state(), "selection": self.selection.state()}
        return {name: np.asarray(array) for name, array in arrays.items()}, state | {"seconds": self.seconds}

    def restore(self, step: int, arrays: dict[str, np.ndarray], state: dict[str, Any]) -> None:
        """Restore what `checkpoint` returned after `step` epochs."""
        adam = AdamState(
            jnp.asarray(arrays["adam_first"]), jnp.asarray(arrays["adam_second"]), state["adam_count"]
        )
        self.learner = Learner(arrays["weights"], adam, arrays["key"])
        self.best_weights = arrays["best_weights"]
        self.order.restore(state["order"])
        self.selection = Selection(**state["selection"])
        self.epoch, self.seconds = step, state["seconds"]


class HasSelection(Protocol):
    """What `summary_of` needs from a trainer."""

    selection: Selection
    order: Order
    epoch: int

    def test(self) -> np.ndarray:
        """Test accuracies of the best epoch."""
        ...


def summary_of(trainer: HasSelection, n_parameters: int) -> dict[str, Any]:
    """Final numbers of a run with this many trained numbers.

    Raises:
        UserError: No epoch was good enough to be kept.
    """
    selection = trainer.selection
    if selection.epoch < 0:
        raise UserError(
            f"no epoch of this run reached a validation accuracy above {selection.best:g}, so no "
            "weights were kept; train for more epochs, with a higher learning rate or with more data."
        )
    accuracies = trainer.test()
    low, high = np.percentile(accuracies, [5, 95])
    return {
        "best_epoch": selection.epoch,
        "train_acc": selection.train_acc,
        "val_acc": selection.best,
        "test_acc": float(accuracies.mean()),
        "test_acc_p5": float(low),
        "test_acc_p95": float(high),
        "test_draws": len(accuracies),
        "test_samples": sum(len(batch) for batch in trainer.order.test_pass()),
        "epochs": trainer.epoch,
        "stopped_early": selection.exhausted,
        "n_parameters": n_parameters,
    }


def make_trainer(config: TrainConfig, data: DataSet) -> tuple[Trainer, Parameters]:
    """Draw the network of a run and its split; returns the trainer and the initial state of the network."""
    spec = config.network(data.classes)
    parameters = initialise(spec, config.seed)
    network = DelayNetwork(parameters.delays, spec, engine=config.engine, threads=config.threads)
    network.engine = network.engine_used
    order = make_order(
        faithful=config.faithful,
        n_train=len(data.train),
        n_test=len(data.test),
        speakers=data.train.speakers,
        seed=config.seed,
        batch_size=config.batch_size,
        validation=config.validation,
        n_validation=data.n_validation,
    )
    learner = Learner(parameters.weights, initial_state(parameters.weights), parameters.key)
    selection = Selection(config.faithful, config.patience)
    return Trainer(config, data, network, order, learner, parameters.weights, selection), parameters
