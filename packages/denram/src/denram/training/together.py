"""Training networks of one size together, each into its own run directory, as one program on a GPU.

A run is the same as one trained alone with the FFT engine: the same run id, files, log and checkpoints, so either
command continues what the other began. Its numbers are equal to rounding (`denram.engines.together`); accuracies
differ only where two scores of a sample are equal to rounding. Runs that end early stay in the program with empty
batches until half of it is idle; then a smaller one is compiled.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from reprokit import RunDirectory, UserError

from denram.config import TrainConfig
from denram.data.loading import DataSet
from denram.engines.network import computing_on
from denram.engines.together import Batches, Resident, timing_of
from denram.randomness import initial_key
from denram.rules.adam import learning_rate
from denram.rules.noise_aware import PassResult
from denram.rules.together import LOST, Pass, evaluate_passes, train_passes
from denram.training import reporting
from denram.training.loop import TrainedRun, begin, data_of, finish, identity, note_epoch, run_directory
from denram.training.runs import read_seconds
from denram.training.trainer import Trainer, make_trainer

OWN = (  # what may differ between networks that are trained together
    *("seed", "noise_std", "lr", "nb_epochs", "patience", "validation", "r_mu", "r_std", "w_scale"),
    *("distribution", "out"),
)


@dataclass
class Member:
    """One run of a group.

    Args:
        trainer: Its state.
        run: Its directory.
        fault: Why it was given up; empty if it was not.
    """

    trainer: Trainer
    run: RunDirectory
    fault: str = ""

    @property
    def active(self) -> bool:
        """Whether an epoch is left."""
        return not (self.fault or self.trainer.finished)


def train_together(
    configs: Sequence[TrainConfig],
    data: DataSet | None = None,
    *,
    say: Callable[[str], object] = lambda _: None,
) -> list[TrainedRun]:
    """Train several networks of one size in one program, or continue with them.

    Worthwhile on a GPU, which one network leaves idle; on a CPU the event engine, one run at a time, is faster.

    Args:
        configs: Settings, equal but for seed, noise, rates, epochs, statistics of the initial draws, and `out`.
        data: Binned data if already loaded; otherwise those that the first configuration names.
        say: Called with the lines of the report.

    Returns:
        The finished runs in the order of `configs`.

    Raises:
        UserError: Settings that differ in anything else or extend the paper's network, another engine than fft,
            data that do not fit, a directory that holds another run; or, when all others are finished, the runs that
            diverged.
    """
    _check(configs)
    first = configs[0]
    if data is None:
        data = data_of(first)
    with computing_on(first.device), ExitStack() as stack:
        members, runs = [], []
        for config in configs:
            trainer, parameters = make_trainer(config, data)
            if trainer.network.engine != "fft":
                raise UserError(
                    f"engine is {config.engine!r}, which is {trainer.network.engine!r} here, and networks are trained "
                    "together by the FFT engine; give engine 'fft', or train them one by one."
                )
            resolved = identity(config, data)
            run = stack.enter_context(run_directory(config, data, resolved))
            runs.append((run, resolved))
            if not run.finished:
                begin(trainer, run, data, parameters.delays, say)
                members.append(Member(trainer, run))
        _train(members, data, say)
        for member in members:
            try:
                if not member.fault:
                    finish(member.trainer, member.run, data)
            except UserError as error:  # no epoch was good enough; the other runs are
                member.fault = str(error)
        faults = [f"{member.run.path}: {member.fault}" for member in members if member.fault]
        if faults:
            raise UserError("; ".join(faults))
        return [
            TrainedRun(run.path, resolved, run.summary(), read_seconds(run.path)) for run, resolved in runs
        ]


def _check(configs: Sequence[TrainConfig]) -> None:
    if not configs:
        raise UserError("configs is empty; give at least one configuration.")
    first = asdict(configs[0])
    for config in configs:
        if not isinstance(config, TrainConfig):
            raise UserError(
                f"config is a {type(config).__name__}; give denram.TrainConfig(seed=1), for example."
            )
        if config.stacked:
            raise UserError(
                "train_delays, layers and recurrent are trained one network at a time; use denram.train for them."
            )
        other = [name for name, value in asdict(config).items() if value != first[name] and name not in OWN]
        if other:
            raise UserError(
                f"networks trained together differ in {', '.join(other)}; they may differ in {', '.join(OWN)}, so "
                "train these in groups or one by one."
            )


def _train(members: Sequence[Member], data: DataSet, say: Callable[[str], object]) -> None:
    """Train all members to their ends, and test them."""
    if not members:
        return
    parts = Resident.of(data.train), Resident.of(data.test)
    group = None
    say(reporting.EPOCH_HEADER)
    while active := [member for member in members if member.active]:
        if group is None or len(active) <= len(group.members) // 2:
            group = Group(active, *parts)
        for member, record, duration in group.epoch():
            note_epoch(member.trainer, member.run, record)
            say(f"{reporting.epoch_line(record, duration)} | {member.trainer.config.name}")
    sound = [member for member in members if not member.fault]
    if sound:
        Group(sound, *parts).test()


class Group:
    """The runs of one compiled program.

    Args:
        members: The runs.
        train: Training samples, of which some validate, on the device.
        test: Test samples on the device.
    """

    def __init__(self, members: Sequence[Member], train: Resident, test: Resident) -> None:
        self.members, self.train, self.held_out = list(members), train, test
        self.trainers = [member.trainer for member in members]
        self.config = self.trainers[0].config
        networks = [trainer.network for trainer in self.trainers]
        self.timing = timing_of(networks)
        self.lags = jnp.stack([jnp.asarray(network.lines.lags) for network in networks])
        self.noise = np.array([trainer.config.noise_std for trainer in self.trainers], np.float32)
        self._shapes: dict[str, Batches] = {}

    def epoch(self) -> list[tuple[Member, dict[str, Any], float]]:
        """Train and validate all active members once.

        Returns:
            For each of them its record and its share of the seconds.
        """
        started = time.perf_counter()
        active = [r for r, member in enumerate(self.members) if member.active]
        plans = {r: self.trainers[r].order.epoch(self.trainers[r].epoch) for r in active}
        epochs = np.array([trainer.epoch for trainer in self.trainers], np.int32)
        rates = np.array([learning_rate(t.epoch, t.config.lr) for t in self.trainers], np.float32)
        learners, trained = train_passes(
            [trainer.learner for trainer in self.trainers], self.lags, self.noise, rates, epochs, self.train,
            self._batches("train", {r: plan[0] for r, plan in plans.items()}), self.timing,
        )  # fmt: skip
        for r in active:
            finite = bool(np.isfinite(learners[r].weights).all())  # the last update may have ruined them
            fault = trained.fault(r, self.config.faithful) if finite else LOST
            self.members[r].fault = _sentence(self.trainers[r], fault)
        for r in (active := [r for r in active if not self.members[r].fault]):
            self.trainers[r].learner = learners[r]
        keys, validated = self._evaluate(
            "validation",
            {r: plans[r][1] for r in active},
            [trainer.learner.weights for trainer in self.trainers],
            [trainer.learner.key for trainer in self.trainers],
            self.train,
        )
        results: dict[int, tuple[PassResult, PassResult]] = {}
        for r in active:
            self.trainers[r].learner = self.trainers[r].learner._replace(key=keys[r])
            results[r] = self._mean(trained, r), self._mean(validated, r)
        best = [r for r in active if self.trainers[r].select(*results[r])]
        tested = self._test_faithful(best) if self.config.faithful else {}
        share = (time.perf_counter() - started) / max(len(active), 1)
        found = []
        for r in active:
            self.trainers[r].seconds += share
            record = self.trainers[r].close_epoch(*results[r], r in best, tested.get(r))
            found.append((self.members[r], record, share))
        return found

    def test(self) -> None:
        """Test the best weights of all members as `Trainer.test` does."""
        chosen = [r for r, trainer in enumerate(self.trainers) if trainer.selection.epoch >= 0]
        if self.config.faithful:
            for r, accuracy in self._test_faithful(chosen).items():
                self.trainers[r].tested = np.array([accuracy])
            return
        weights = [trainer.best_weights for trainer in self.trainers]
        draws = self.config.devices if self.noise.any() else 1
        plans = {r: self.trainers[r].order.test_pass() for r in chosen}
        found = [
            self._evaluate("test", plans, weights, [initial_key(device)] * len(weights), self.held_out)[1]
            for device in range(draws)
        ]
        for r in chosen:
            used = found if self.noise[r] else found[:1]
            accuracies = np.array([self._mean(result, r).accuracy for result in used])
            self.trainers[r].tested = np.resize(accuracies, self.config.devices)

    def _test_faithful(self, chosen: Sequence[int]) -> dict[int, float]:
        """Test accuracy of some members' best weights, as `Trainer.test_faithful`; advances their orders."""
        if not chosen:
            return {}
        plans = {r: self.trainers[r].order.test_pass() for r in chosen}
        weights = [trainer.best_weights for trainer in self.trainers]
        tested = self._evaluate("test", plans, weights, [initial_key(0)] * len(weights), self.held_out)[1]
        return {r: self._mean(tested, r).accuracy for r in chosen}

    def _evaluate(
        self,
        name: str,
        plans: dict[int, list[np.ndarray]],
        weights: Sequence[Any],
        keys: Sequence[np.ndarray],
        data: Resident,
    ) -> tuple[np.ndarray, Pass]:
        batches = self._batches(name, plans)
        return evaluate_passes(
            weights, keys, self.lags, self.noise, data, batches, self.timing, fresh=self.config.faithful
        )

    def _batches(self, name: str, plans: dict[int, list[np.ndarray]]) -> Batches:
        """The batches of a pass; all passes of a kind have the shape of the first."""
        passes = [plans.get(r, []) for r in range(len(self.members))]
        found = Batches.of(passes, self._shapes.get(name))
        return self._shapes.setdefault(name, found) if name not in self._shapes else found

    def _mean(self, result: Pass, network: int) -> PassResult:
        return result.mean(network, weighted=not self.config.faithful)


def _sentence(trainer: Trainer, fault: str) -> str:
    """What is wrong with a run and what to do, as `noise_aware.train_pass` says it; empty if nothing is."""
    where, rate = f"epoch {trainer.epoch}", f"(--lr, now {trainer.config.lr:g})"
    if fault == LOST:
        return (
            f"{where}: the loss, its gradient or a weight is not finite, so training has diverged; lower the learning "
            f"rate {rate}"
        )
    if fault:
        return (
            f"{where}: every output stayed silent for every sample (all scores are 0), so nothing is learned; lower "
            f"the learning rate {rate} or raise --w-scale"
        )
    return ""
