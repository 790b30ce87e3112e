"""The training loop: epochs, schedule, evaluation, log, checkpoints, resumption.

A run is a directory: ``config.json``, ``options.json``, ``metrics.jsonl`` (one record per epoch and, when asked
for, per alignment measurement), ``checkpoints/``, ``summary.json`` once it is finished. Sample order, dropout and
augmentation are functions of seed, epoch and step, so a run that is killed at any moment and started again ends
with the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from reprokit import Checkpoint, RunDirectory, UserError, progress, run_id
from reprokit.config import device_name
from reprokit.own_code import check_source
from reprokit.terminal import say
from torch import Tensor

from bdfa.config import TrainConfig
from bdfa.data.loading import Data, augment, epoch_batches, epoch_order, load_data
from bdfa.engines.build import build_criterion, own_files
from bdfa.engines.engine import Engine, load_model_arrays, make_engine, model_arrays, warn_engine
from bdfa.model.forks import set_threads
from bdfa.randomness import stream
from bdfa.rules.alignment import AlignmentMonitor
from bdfa.rules.bdfa import warn_if_harmful
from bdfa.rules.feedback_model import FeedbackModel
from bdfa.training.cost import inference_cost
from bdfa.training.dead import SAMPLES, STEPS, check_alive
from bdfa.training.divergence import check_finite
from bdfa.training.evaluation import evaluate, scores_loss
from bdfa.training.runs import FILES, named, open_run
from bdfa.training.schedule import Schedule, ScheduleState

ALIGNMENT_SAMPLES = 256
Record = dict[str, Any]


@dataclass(frozen=True)
class TrainResult:
    """The result of a finished run.

    Attributes:
        path: Run directory.
        summaries: One per network: final and best errors (fractions), epochs run, seconds, data set, device.
        models: The trained networks; empty when the run had been finished before.
    """

    path: Path
    summaries: list[Record]
    models: list[FeedbackModel] = field(default_factory=list)


def train(
    config: TrainConfig,
    *,
    on_epoch: Callable[[Path], object] | None = None,
    report: Callable[[str], object] | None = None,
    resume: bool = True,
    force: bool = False,
) -> TrainResult:
    """Train one network, or resume or return the run of the same configuration.

    Args:
        config: All options.
        on_epoch: Called with the run directory after every epoch, e.g. to draw its curves.
        report: Receives one line per epoch.
        resume: Whether an existing run may continue.
        force: Whether to delete an existing run and start again.

    Raises:
        UserError: For unusable data, network or options, or a diverged training.
    """
    return train_together([config], on_epoch=on_epoch, report=report, resume=resume, force=force)


def train_together(
    configs: Sequence[TrainConfig],
    out: Path | None = None,
    *,
    on_epoch: Callable[[Path], object] | None = None,
    report: Callable[[str], object] | None = None,
    resume: bool = True,
    force: bool = False,
) -> TrainResult:
    """Train networks of one shape together, as batched products of :class:`FastMLP`.

    Args:
        configs: Equal but for rule, seed and feedback options; several need a common ``order_seed``.
        out: Run directory, default the first configuration's ``out``, else ``runs/bdfa-<run id>``.
        on_epoch: As for :func:`train`.
        report: Receives one line per epoch and network.
        resume: As for :func:`train`.
        force: As for :func:`train`.

    Raises:
        UserError: As for :func:`train`, or when the configurations differ in other options.
    """
    _check_group(configs)
    content = _content(configs)
    options: Record = asdict(configs[0])
    if len(configs) > 1:
        options = {"together": [asdict(config) for config in configs]}
    path = out or place_of(configs)
    if configs[0].threads:
        set_threads(configs[0].threads)
    device = torch.device(device_name(configs[0].device, torch.cuda.device_count()))
    # Everything that can be refused is refused before the directory is created.
    data = load_data(configs[0], device)
    if data.note:
        say(data.note)
    with torch.random.fork_rng(range(torch.cuda.device_count()) if device.type == "cuda" else []):
        engine = make_engine(configs, data.input_shape, data.classes, device)
        warn_engine(configs[0])
        for config in configs:
            if config.rule == "bdfa":
                warn_if_harmful(config.resolved_target(), config.fb_loss, config.optim)
        source = configs[0].resume or configs[0].init_from
        start = None if source is None else open_run(source).checkpoint()
        if start is not None and configs[0].init_from is not None:
            load_model_arrays(engine.models, named(start, "model/"), configs[0].init_from)
            start = None
        if not force and (path / "config.json").exists():
            # a damaged run, or one whose rule changed, is refused before a file of it is touched
            for there, config in zip(open_run(path).configs, configs, strict=False):
                if config.own_rule and there.rule == config.rule:
                    check_source(config.rule, "--rule", there.rule_source, path)
        options = {"package": "bdfa", **options, "out": path}
        with RunDirectory(path, content, options=options, resume=resume, force=force, files=FILES) as run:
            run.identify(data.identity, source=configs[0].dataset, files=own_files(configs[0]))
            if run.finished:
                return TrainResult(path, open_run(path).summaries())
            return _Loop(configs, data, engine, run, on_epoch, report).run(start)


def _content(configs: Sequence[TrainConfig]) -> Record:
    contents = [config.content() for config in configs]
    return contents[0] if len(contents) == 1 else {"together": contents}


def place_of(configs: Sequence[TrainConfig]) -> Path:
    """Run directory of networks that are trained together."""
    return Path(configs[0].out or Path("runs") / f"bdfa-{run_id(_content(configs))}")


def _check_group(configs: Sequence[TrainConfig]) -> None:
    for config in configs:
        if not isinstance(config, TrainConfig):
            raise UserError(
                f"config is a {type(config).__name__}; give bdfa.TrainConfig(rule='bdfa'), for example."
            )
    if not configs:
        raise UserError("configs is empty; give at least one configuration.")
    varying = {"rule", "seed", "fb_scale", "fb_dist", "fb_lr", "fb_target", "fb_alpha", "fb_loss", "fb_order",
               "fb_output", "init", "out"}  # fmt: skip
    first = asdict(configs[0])
    for config in configs[1:]:
        other = [
            name for name, value in asdict(config).items() if value != first[name] and name not in varying
        ]
        if other:
            raise UserError(
                f"networks trained together differ in {', '.join(other)}; train them on their own."
            )
    if len(configs) > 1 and (configs[0].order_seed is None or configs[0].lr_step == "auto"):
        raise UserError("networks trained together need a common order_seed, and lr_step other than auto.")
    if len(configs) > 1 and configs[0].angles_every:
        raise UserError("angles are measured for one network at a time; train it on its own.")


def _line(record: Record, epochs: int) -> str:
    """One line about an epoch of a network."""
    count = f" of {epochs}" if epochs > 0 else ""
    errors = [
        f"{split} error {100 * record[name]:.2f} %"
        for split, name in (
            ("training", "train_error"),
            ("validation", "validation_error"),
            ("test", "test_error"),
        )
        if name in record
    ]
    return (
        f"epoch {record['epoch']}{count}: loss {record['train_loss']:.5g}, {', '.join(errors)} "
        f"({record['seconds']:.0f} s of training)"
    )


class _Loop:
    """State of a run in progress."""

    def __init__(
        self,
        configs: Sequence[TrainConfig],
        data: Data,
        engine: Engine,
        run: RunDirectory,
        on_epoch: Callable[[Path], object] | None,
        report: Callable[[str], object] | None,
    ) -> None:
        self.on_epoch, self.report = on_epoch, report
        self.configs, self.config = list(configs), configs[0]
        self.data, self.engine, self.run_directory = data, engine, run
        self.device = data.train.labels.device
        self.schedule = Schedule(
            self.config.lr, self.config.epochs, self.config.lr_step, last_epoch_skipped=self.config.faithful
        )
        self.states = [self.schedule.begin() for _ in configs]
        self.step, self.position, self.seconds = 0, 0, 0.0
        self.sums = torch.zeros(3, len(configs), dtype=torch.float64, device=self.device)
        self.checkpoints = run.checkpoints()
        self.monitor = self._make_monitor()
        augmented = self.config.augment
        self.resident = (
            None if augmented else engine.resident(data.train, self.config.batch_size, self._add_up)
        )
        self.clock = time.monotonic()

    def _make_monitor(self) -> AlignmentMonitor | None:
        if not self.config.angles_every:
            return None
        model = self.engine.models[0]
        images, labels = self.data.train.take(slice(0, ALIGNMENT_SAMPLES))
        criterion = build_criterion(self.config, model)
        return AlignmentMonitor(model, images, labels, every=self.config.angles_every, criterion=criterion)

    def run(self, start: Checkpoint | None) -> TrainResult:
        """Train from the newest checkpoint, or ``start``, to the end."""
        log = self.run_directory
        found = log.continue_from("step") or start
        if found is None:
            self._observe()
        else:
            self._restore(found)
        bar = progress(total=max(self.config.epochs, 0), description=f"{self.config.rule}")
        bar.update(self.states[0].epoch)
        while not all(state.stopped for state in self.states):
            self._epoch()
            bar.update(1)
        bar.close()
        summaries = [self._summary(index) for index in range(len(self.configs))]
        log.finish({"networks": summaries})
        return TrainResult(log.path, summaries, self.engine.models)

    def _epoch(self) -> None:
        epoch = max(state.epoch for state in self.states) + 1
        rates = {state.rate for state in self.states if not state.stopped}
        self.engine.set_rate(rates.pop())
        batches = epoch_batches(
            epoch_order(self.config, len(self.data.train), epoch).to(self.device),
            self.config.batch_size,
            self.config.drop_last,
        )
        for number in range(self.position, len(batches)):
            self._train_batch(batches[number], epoch, number)
            every = self.config.checkpoint_steps
            if every and self.step % every == 0 and number + 1 < len(batches):
                self.position = number + 1
                self._save()
        self._end_epoch(epoch, sum(len(batch) for batch in batches), len(batches))

    def _train_batch(self, index: Tensor, epoch: int, number: int) -> None:
        if self.resident is not None and len(index) == self.config.batch_size:
            self.step += 1
            self.resident(index)
            self._observe()
            return
        images, labels = self.data.train.take(index)
        if self.config.augment:
            images = augment(images, stream(self.config.seed, "augment", epoch, number))
        self.step += 1
        self._add_up(self.engine.step(images, labels, self.step), labels)
        self._observe()

    def _add_up(self, scores: Tensor, labels: Tensor) -> None:
        """Add a batch to the errors and losses of the epoch; a part of the recorded step on a GPU."""
        loss = scores_loss(scores, labels, self.config.loss, self.engine.models[0].log_probabilities)
        self.sums[0] += (scores.argmax(-1) != labels).sum(-1)
        self.sums[1] += loss * len(labels)
        self.sums[2] += loss

    def _observe(self) -> None:
        if self.monitor is not None:
            for row in self.monitor.observe(self.step):
                self.run_directory.log({"kind": "alignment", **row})

    def _end_epoch(self, epoch: int, samples: int, batches: int) -> None:
        wrong, weighted, unweighted = self.sums.cpu().tolist()
        tests = evaluate(self.engine, self.data.test, self.config, "test", epoch)
        held_out = self.data.validation
        validations = (
            None if held_out is None else evaluate(self.engine, held_out, self.config, "none", epoch)
        )
        records = []
        for index, state in enumerate(self.states):
            if state.stopped:
                continue
            # The original averages over batches, so a small last one counts as much as the others (DEV-25).
            loss = unweighted[index] / batches if self.config.faithful else weighted[index] / samples
            check_finite(self.configs[index], self.engine.models[index], loss, epoch, state.rate)
            if self.step > STEPS:
                check_alive(self.engine.models[index], self._sample(), epoch, state.rate)
            self.states[index] = self.schedule.advance(state, wrong[index] / samples)
            record: Record = {
                "kind": "epoch", "network": index, "step": self.step, "epoch": epoch, "rate": state.rate,
                "train_error": wrong[index] / samples, "train_loss": loss,
                "running_mean": self.states[index].mean,
                "test_error": tests[index][0], "test_loss": tests[index][1],
            }  # fmt: skip
            if validations is not None:
                record |= {
                    "validation_error": validations[index][0],
                    "validation_loss": validations[index][1],
                }
            records.append(record)
        self._tick()
        for record in records:
            record["seconds"] = self.seconds
            self.run_directory.log(record)
            if self.report is not None:
                self.report(_line(record, self.config.epochs))
        self.position = 0
        self.sums.zero_()
        self._save()
        if self.on_epoch is not None:
            self.on_epoch(self.run_directory.path)

    def _sample(self) -> Tensor:
        """Images from the whole training set."""
        count = len(self.data.train)
        index = torch.arange(min(SAMPLES, count), device=self.device) * count // min(SAMPLES, count)
        return self.data.train.take(index)[0]

    def _tick(self) -> None:
        now = time.monotonic()
        self.seconds += now - self.clock
        self.clock = now

    def _save(self) -> None:
        self._tick()
        # Weights first: reading them applies a feedback phase of bfa that is due, which moves its optimiser.
        arrays = {f"model/{name}": value for name, value in model_arrays(self.engine.models).items()}
        tensors, numbers = self.engine.optimiser_state()
        arrays |= {f"optimiser/{name}": value for name, value in tensors.items()}
        arrays["sums"] = self.sums.cpu().numpy().copy()
        state = {
            "optimiser": numbers, "schedule": [asdict(state) for state in self.states],
            "position": self.position, "seconds": self.seconds,
        }  # fmt: skip
        self.checkpoints.save(self.step, arrays, state)

    def _restore(self, found: Checkpoint) -> None:
        try:
            self.step, self.position = found.step, int(found.state["position"])
            self.seconds = float(found.state["seconds"])
            self.states = [ScheduleState(**state) for state in found.state["schedule"]]
            numbers, sums = found.state["optimiser"], found.arrays["sums"]
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{self.checkpoints.directory} holds a checkpoint of another program or version ({error}); train in "
                "another folder."
            ) from error
        if len(self.states) != len(self.configs):
            raise UserError(
                f"the checkpoint has {len(self.states)} networks, this run {len(self.configs)}; train in another "
                "folder."
            )
        load_model_arrays(self.engine.models, named(found, "model/"), self.checkpoints.directory)
        self.engine.load_optimiser_state(named(found, "optimiser/"), numbers)
        self.sums.copy_(torch.from_numpy(sums))  # in place: a recorded step adds to it
        # A run continued with more epochs is no longer stopped by the old limit.
        last = self.schedule.last_epoch
        self.states = [
            replace(state, stopped=False)
            if state.stopped and self.config.resume and (last is None or state.epoch < last)
            else state
            for state in self.states
        ]

    def _summary(self, index: int) -> Record:
        records = [
            record
            for record in self.run_directory.records()
            if record.get("kind") == "epoch" and record["network"] == index
        ]
        last = records[-1] if records else {}
        tests = [record["test_error"] for record in records]
        return {
            "rule": self.configs[index].rule,
            "seed": self.configs[index].seed,
            "epochs": self.states[index].epoch,
            "steps": last.get("step", 0),
            **{key: last.get(key) for key in ("train_error", "train_loss", "test_error", "test_loss")},
            "validation_error": last.get("validation_error"),
            "best_test_error": min(tests, default=None),
            "seconds": self.seconds / len(self.configs),
            "dataset": self.data.name,
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu",
            "threads": torch.get_num_threads(),
            "engine": "fast" if type(self.engine).__name__ == "FastEngine" else "module",
            **inference_cost(self.engine.models[index], self.data.input_shape).summary(),
        }
