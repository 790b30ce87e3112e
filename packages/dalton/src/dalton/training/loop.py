"""The training loop: epochs, learning rate, evaluation, choice of the best epoch, log, checkpoints, resumption.

A run is a directory: ``config.json`` (what determines its numbers), ``options.json`` (all options, paths included),
``metrics.jsonl`` (one record per epoch), ``checkpoints/`` (weights, Adam's moments, place in the epoch), ``best/``
(weights of the selected epoch), ``summary.json`` once it is finished. Orders, dropout, windows and augmentation are
functions of seed, epoch and batch, so a run killed at any moment and started again ends with the same bits.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reprokit import Checkpoint, RunDirectory, UserError, peak_memory_mb, progress
from reprokit.own_code import check_source, source_file
from torch import Tensor, nn

from dalton.checks import Diverged
from dalton.config import TrainConfig
from dalton.data.samples import Portion, Splits
from dalton.engines.choice import engine_for
from dalton.model.build import architecture_file, build_network, choose_device, load_weights, weights_of
from dalton.model.network import SpikingCNN
from dalton.randomness import stream
from dalton.rules import RULES
from dalton.rules.protocol import LearningRule, load_rule
from dalton.threads import set_threads
from dalton.training.adam import Adam
from dalton.training.cost import inference_cost
from dalton.training.dumps import EpochDump
from dalton.training.evaluation import Evaluation, chosen, evaluate, load_data, share_alike
from dalton.training.runs import BEST, CLASSES, FILES, all_options, run_directory, stored_run, summarise
from dalton.training.step import predict, train_step, trainable


@dataclass
class EpochSums:
    """Sums over the samples of the epoch so far, and the loss of each of its batches.

    Attributes:
        samples: Number of samples.
        right: Samples predicted correctly.
        layers: Loss of each layer, times samples.
        rates: Firing rate of each layer, times samples.
        losses: Total loss of each batch; online: the mean over the time-steps after the burn-in.
        accuracies: Share of right predictions of each batch.
    """

    samples: int = 0
    right: int = 0
    layers: dict[str, float] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    weighted: float = 0.0

    def add(
        self,
        loss: float | Tensor,
        layer_losses: Mapping[str, float],
        rates: Mapping[str, float],
        predictions: Tensor,
        labels: Tensor,
    ) -> None:
        """Add one batch.

        Args:
            loss: Total loss, or (time,) of it.
            layer_losses: By layer.
            rates: Firing rates by layer.
            predictions: (batch,), int64.
            labels: (batch,), int64.
        """
        count = len(labels)
        value = float(torch.as_tensor(loss).double().mean())
        right = int((predictions.cpu() == labels.cpu()).sum())
        self.samples += count
        self.right += right
        self.weighted += count * value
        self.losses.append(value)
        self.accuracies.append(right / count)
        for sums, values in ((self.layers, layer_losses), (self.rates, rates)):
            for layer, number in values.items():
                sums[layer] = sums.get(layer, 0.0) + count * float(number)

    def record(self) -> dict[str, Any]:
        """Means over the samples, and values of each batch."""
        return {
            "train_loss": self.weighted / self.samples,
            "layer_losses": {layer: value / self.samples for layer, value in self.layers.items()},
            "train_accuracy": self.right / self.samples,
            "firing_rates": {layer: value / self.samples for layer, value in self.rates.items()},
            "batch_losses": self.losses,
            "batch_accuracies": self.accuracies,
        }


def _equal(portion: Portion, batch_size: int) -> bool:
    """Return whether all samples of a portion are the same."""
    first, _ = portion.take(
        slice(0, 1)
    )  # an image, or frames of one sample: equal shapes except for the batch
    return all(bool((inputs == first).all()) for inputs, _ in portion.batches(batch_size))


Record = dict[str, Any]
ALIKE = 0.995  # a network is dead from this share of samples with the same class outputs
PATIENCE = 20  # number of batches in which a silent network may wake up
_ADAM, _DUMP = "adam/", "dump/"  # prefixes of arrays in a checkpoint


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished run.

    Attributes:
        path: Run directory.
        summary: Accuracies (shares), losses, firing rates, seconds, data set, sizes.
        network: The trained network after the last epoch; None if the run was already finished.
    """

    path: Path
    summary: Record
    network: SpikingCNN | None = None


def train(
    config: TrainConfig,
    on_epoch: Callable[[Record], object] | None = None,
    *,
    data: Splits | None = None,
    on_data: Callable[[Splits], object] | None = None,
    resume: bool = True,
    force: bool = False,
) -> TrainResult:
    """Train one network, or resume or return the run of the same configuration.

        dalton.train(dalton.TrainConfig(method="tfr", epochs=5), data=dalton.data.splits_of(train, test))

    Args:
        config: All options.
        on_epoch: Called with the record of each finished epoch.
        data: The data set, from `dalton.data`; the run takes its name. None: the one that ``config.dataset`` names.
        on_data: Called with the data set before training.
        resume: Whether an existing run may continue or be returned.
        force: Whether to delete an existing run first.

    Raises:
        UserError: For unusable data, network or options, a damaged or other run in the folder, a diverged training, or
            a GPU without enough memory.
    """
    set_threads(config.threads)
    # Everything that can be refused is refused before the directory is created.
    device = choose_device(config.device)
    if data is None:
        data = load_data(config)
    else:
        data = chosen(config, data)
        config = _named(config, data)
    for portion in (data.train, data.test):
        config.resolved_burn_in(portion.steps)
    rule = rule_of(config)
    net = build_network(config, data.input_shape, data.classes).to(device)
    engine_for(config.engine_name, net)
    if on_data is not None:
        on_data(data)
    if config.too_fast:
        warnings.warn(
            f"--lr is {config.lr:g} for dalton online with --tau-cur {config.tau_cur:g}: it learns less and "
            "may lose accuracy, because the long filter amplifies every time-step's update; use --lr 1e-4",
            stacklevel=2,
        )
    path = run_directory(config)
    if (path / "config.json").exists() and not force:
        there = stored_run(path).config  # damage is refused before anything is written
        if config.own_rule and there.get("method") == config.method:
            check_source(config.method, "--rule", there.get("rule_source"), path)
    with RunDirectory(
        path, config.content(), options=all_options(config), resume=resume, force=force, files=FILES
    ) as run:
        network = architecture_file(config.arch)  # the configuration has only its name
        files = {} if network is None else {"network": network}
        if config.own_rule:
            files["rule"] = source_file(config.method, "--rule")
        run.identify(data.identity, source=config.dataset, files=files)
        if run.finished:
            return TrainResult(path, run.summary())
        run.write_text(CLASSES, json.dumps(data.class_names) + "\n")
        return _Loop(config, data, net, rule, run, on_epoch).run()


def rule_of(config: TrainConfig) -> LearningRule:
    """Return the rule of a configuration: its name, or the object that the user's own module makes.

    Raises:
        UserError: It cannot be imported, is not a rule or not defined for the setting or loss, or its file
            changed since the configuration was made.
    """
    if not config.own_rule:
        return RULES[config.method]
    check_source(config.method, "--rule", config.rule_source)
    rule = load_rule(config.method)
    for option, value, allowed in (
        ("setting", config.setting, rule.settings),
        ("loss", config.loss, rule.losses),
    ):
        if value not in allowed:
            raise UserError(
                f"--{option} is {value}, but rule {rule.name!r} has {', '.join(allowed)}; choose one of these."
            )
    return rule


def _named(config: TrainConfig, data: Splits) -> TrainConfig:
    """Name a run after the given data."""
    if config.dataset not in (TrainConfig().dataset, data.name):
        raise UserError(
            f"dataset is {config.dataset!r}, but data named {data.name!r} are given; leave one of them out."
        )
    return replace(config, dataset=data.name)


class _Loop:
    """State of a run in progress."""

    def __init__(
        self,
        config: TrainConfig,
        data: Splits,
        net: SpikingCNN,
        rule: LearningRule,
        run: RunDirectory,
        on_epoch: Callable[[Record], object] | None,
    ) -> None:
        self.config, self.data, self.net, self.rule, self.directory = config, data, net, rule, run
        self.on_epoch = on_epoch or (lambda _: None)
        self.burn_in = config.resolved_burn_in(data.train.steps)
        self.test_burn_in = config.resolved_burn_in(data.test.steps)
        self.parameters = trainable(net, rule)
        self.optimizer = self._new_optimizer()
        self.epoch, self.position, self.seconds = (
            0,
            0,
            0.0,
        )  # finished epochs, finished batches of the next one
        self.sums = EpochSums()
        self.dump = EpochDump(net, config.method, config.online) if config.dumps else None
        self.best: tuple[float, int] | None = None  # accuracy, epoch
        self.was_alive = self._alike() <= 0.5  # whether its initial weights can tell samples apart
        self.was_dead = False  # at the end of the previous epoch
        self.clock = time.monotonic()

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return Adam(self.parameters.values(), lr=self.config.lr, fused=True)

    def run(self) -> TrainResult:
        """Train from the newest checkpoint to the end."""
        found = self.directory.continue_from("epoch")
        if found is not None:
            self._restore(found)
            self.was_dead = self.epoch > 0 and self._alike() >= ALIKE
        if self.best is None:
            self._save_best(None)
        while self.epoch < self.config.epochs:
            self._train_epoch()
            self._end_epoch()
        self._tick()
        summary = (
            summarise(
                self.config,
                self.data,
                self.net,
                self.directory.records(),
                self.epoch,
                self.best,
                self.seconds,
            )
            | inference_cost(self.net, self.data.test).summary()
        )
        self.directory.finish(summary)
        return TrainResult(self.directory.path, summary, self.net)

    def _batches(self, epoch: int) -> list[Tensor]:
        # any batch size, a smaller last batch included (DEV-27); recordings under faithful: DEV-23
        shuffle = None if self.config.shuffle else False
        return self.data.train.batch_indices(self.config.batch_size, epoch, shuffle)

    def _train_epoch(self) -> None:
        epoch = self.epoch + 1
        if self.position == 0 and self.config.resolved_optimizer_reset():
            self.optimizer = self._new_optimizer()  # DEV-20
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate(epoch)
        batches = self._batches(epoch)
        every = self.config.checkpoint_batches
        with progress(total=len(batches), description=f"epoch {epoch}/{self.config.epochs}") as bar:
            bar.update(self.position)
            for number in range(self.position, len(batches)):
                self._train_batch(batches[number], epoch, number)
                bar.set_postfix_str(f"loss {self.sums.losses[-1]:.4g}", refresh=False)
                bar.update(1)
                if every and (number + 1) % every == 0 and number + 1 < len(batches):
                    self.position = number + 1
                    self._save()

    def _train_batch(self, index: Tensor, epoch: int, number: int) -> None:
        config, portion = self.config, self.data.train
        inputs, labels = portion.take(index, epoch, number)
        try:
            result = train_step(
                self.rule, self.net, self.optimizer, inputs, labels, steps=portion.static_steps,
                setting=config.setting_name, loss=config.loss_name, burn_in=self.burn_in, engine=config.engine_name,
                generator=stream(config.seed, "dropout", epoch, number), transfer_masks=config.transfer_masks,
                record=self.dump.record if self.dump else (),
            )  # fmt: skip
        except Diverged as error:
            raise UserError(
                f"training diverged in epoch {epoch}, batch {number + 1}: {error.what} with "
                f"--lr {config.rate(epoch):g}; use a smaller --lr."
            ) from error
        # online steps before the end of the burn-in change nothing, so their loss does not count
        loss = result.loss[self.burn_in :] if isinstance(result.loss, Tensor) else result.loss
        self.sums.add(loss, result.layer_losses, result.firing_rates, result.predictions, labels)
        if self.dump:
            self.dump.add(result, labels)

    def _end_epoch(self) -> None:
        self.epoch, self.position = self.epoch + 1, 0
        test = self._evaluate("test")
        held = None if self.data.validation is None else self._evaluate("validation")
        self._check_alive("test" if held is None else "validation", held or test)
        if self.dump:
            self._write_dumps(self.dump)
        self._tick()
        record: Record = {
            "epoch": self.epoch,
            "lr": self.config.rate(self.epoch),
            **self.sums.record(),
            "train_accuracy_leaks": self.config.online,  # DEV-26
            "validation_accuracy": None if held is None else held.accuracy,
            "test_accuracy": test.accuracy,
            "seconds": self.seconds,
            "peak_memory_mb": self._peak_memory(),
        }
        accuracy = (held or test).accuracy  # DEV-21
        if self.best is None or accuracy > self.best[0]:
            self.best = (accuracy, self.epoch)
            self._save_best(accuracy)
        self.directory.log(record)
        self.sums = EpochSums()
        if self.epoch == self.config.epochs or self.epoch % self.config.checkpoint_epochs == 0:
            self._save()
        self.on_epoch(record)

    def _alike(self) -> float:
        """Return the share of the first batch with the same class outputs."""
        inputs, _ = self.data.train.take(self._batches(1)[0], 1, 0)
        outputs = predict(self.net, inputs, self.data.train.static_steps, engine=self.config.engine_name)
        return share_alike(outputs.mean(0))

    def _evaluate(self, split: str) -> Evaluation:
        return evaluate(
            self.net, getattr(self.data, split), batch_size=self.config.batch_size, epoch=self.epoch,
            burn_in=self.test_burn_in, engine=self.config.engine_name,
        )  # fmt: skip

    def _check_alive(self, split: str, found: Evaluation) -> None:
        """Refuse to continue with a network that died: all samples get the same class outputs.

        This is checked at the end of two consecutive epochs or of training, provided that the initial weights
        could tell samples apart, or a layer has been silent for at least `PATIENCE` batches.

        Raises:
            UserError: The message names the epoch, the layers and their activity.
        """
        rates = {layer: rate / self.sums.samples for layer, rate in self.sums.rates.items()}
        silent = [layer for layer, rate in rates.items() if rate == 0]
        waited = self.epoch * len(self.sums.losses) >= PATIENCE
        dead = found.alike >= ALIKE and bool(self.was_alive or (silent and waited))
        before, self.was_dead = self.was_dead, dead
        if not dead or not (before or self.epoch == self.config.epochs):
            return
        if _equal(getattr(self.data, split), self.config.batch_size):
            return
        fire = ", ".join(f"{layer} {100 * rate:.2g} %" for layer, rate in rates.items())
        raise UserError(
            f"training died in epoch {self.epoch}: {100 * found.alike:.3g} % of the {split} samples get the same class "
            f"outputs with --lr {self.config.rate(self.epoch):g} (firing in a time-step: {fire}); use a smaller --lr"
            f"{' or a larger --gain' if silent else ''}."
        )

    def _write_dumps(self, dump: EpochDump) -> None:
        folder, config = self.directory.path, self.config
        dump.write_training(folder, self.epoch)
        dump.write_test(
            folder, self.epoch, self.data.test, config.batch_size, self.test_burn_in, config.engine_name
        )

    def _save_best(self, accuracy: float | None) -> None:
        folder = self.directory.checkpoints(BEST, keep=1)
        folder.save(self.epoch, weights_of(self.net), {"epoch": self.epoch, "accuracy": accuracy})

    def _peak_memory(self) -> float:
        device = self.net.device
        return torch.cuda.max_memory_allocated(device) / 1e6 if device.type == "cuda" else peak_memory_mb()

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.clock
        self.clock = now

    def _save(self) -> None:
        self._tick()
        arrays = weights_of(self.net)
        arrays |= {f"{_ADAM}{k}": array for k, array in moments(self.parameters, self.optimizer).items()}
        if self.dump:
            arrays |= {f"{_DUMP}{name}": array for name, array in self.dump.arrays().items()}
        state = {
            "epoch": self.epoch, "position": self.position, "seconds": self.seconds, "sums": asdict(self.sums),
            "best": self.best,
        }  # fmt: skip
        self.directory.checkpoints().save(self.epoch * len(self._batches(1)) + self.position, arrays, state)

    def _restore(self, found: Checkpoint) -> None:
        state = found.state
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self.seconds, self.sums = float(state["seconds"]), EpochSums(**state["sums"])
        self.best = None if state["best"] is None else (float(state["best"][0]), int(state["best"][1]))
        load_weights(self.net, found.arrays, self.directory.path)
        load_moments(self.parameters, self.optimizer, below(found.arrays, _ADAM))
        if self.dump:
            self.dump.restore(below(found.arrays, _DUMP))


Array = NDArray[Any]


def moments(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Array]:
    """State of each parameter as arrays ``<parameter>/<key>``; Adam has step, exp_avg and exp_avg_sq."""
    return {
        f"{name}/{key}": np.array(torch.as_tensor(value).detach().cpu().numpy())
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_moments(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, arrays: Mapping[str, Array]
) -> None:
    """Restore an optimiser's state from what :func:`moments` returned."""
    for name, parameter in parameters.items():
        own = below(arrays, f"{name}/")
        if own:
            optimizer.state[parameter] = {
                # the counter stays on the CPU, as Adam keeps it
                key: torch.from_numpy(value).to("cpu" if key == "step" else parameter.device)
                for key, value in own.items()
            }


def below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Arrays whose names start with a prefix, under their names without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
