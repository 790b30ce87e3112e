"""Training in a run directory that can be killed at any moment.

Order of one epoch: train pass, validation pass, selection (weights of a new best are written at once), log
record, checkpoint. A killed run continues from its last checkpoint and drops later log records, so the same
command ends with the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from reprokit import RunDirectory, UserError, read_run, run_id
from reprokit.types import CHANNELS

from denram.config import TrainConfig
from denram.data.loading import DataSet, absolute, load_data
from denram.engines.network import DelayNetwork, computing_on
from denram.training import reporting
from denram.training.cost import inference_cost
from denram.training.runs import DELAYS, SOURCE, TIMING, WEIGHTS, read_seconds
from denram.training.trainer import Trainer, make_trainer

if TYPE_CHECKING:
    from denram.training.stack_trainer import StackTrainer


@dataclass(frozen=True)
class TrainedRun:
    """A finished run.

    Args:
        path: Its directory.
        config: Its full configuration with everything automatic resolved.
        summary: Final numbers, see `Trainer.summary`.
        seconds: Wall time, summed over all its parts.
    """

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]
    seconds: float


def train(
    config: TrainConfig, data: DataSet | None = None, *, say: Callable[[str], object] = lambda _: None
) -> TrainedRun:
    """Train one network, or continue with it, or report it if it is finished.

    Args:
        config: Settings; `config.out` is the run directory (None: ``runs/<name>-<run id>``).
        data: Binned data if already loaded; otherwise `config.data` is loaded.
        say: Called with the lines of the report.

    Returns:
        The finished run.

    Raises:
        UserError: If data and settings do not fit, or the directory holds another run.
    """
    if data is None:
        data = data_of(config)
    with computing_on(config.device):
        trainer, delays = _trainer(config, data)
        resolved = identity(config, data)
        with run_directory(config, data, resolved) as run:
            if not run.finished:
                begin(trainer, run, data, delays, say)
                say(reporting.EPOCH_HEADER)
                while not trainer.finished:
                    record = trainer.run_epoch()
                    duration = record.pop("duration")
                    note_epoch(trainer, run, record)
                    if record["new_best"] or record["epoch"] % 10 == 0 or not trainer.config.faithful:
                        say(reporting.epoch_line(record, duration))
                finish(trainer, run, data)
            result = TrainedRun(run.path, resolved, run.summary(), read_seconds(run.path))
    for line in reporting.final_table(result.summary, resolved):
        say(line)
    say(f"run: {result.path}")
    return result


def data_of(config: TrainConfig) -> DataSet:
    """Load the data that a configuration names."""
    return load_data(
        config.data,
        config.binning,
        channels=config.channels,
        time_unit=config.time_unit,
        start=config.start,
        allow_loss=config.allow_loss,
        levels=config.levels,
        classes=config.n_out,
    )


def run_directory(config: TrainConfig, data: DataSet, resolved: dict[str, Any]) -> RunDirectory:
    """Open the directory of a run, whose `identity` is given, and record or compare its data.

    Raises:
        UserError: If the directory holds another run, or one of other data.
    """
    run = RunDirectory(
        config.out or Path("runs") / f"{config.name}-{run_id(resolved)}",
        resolved,
        options={"package": "denram", **asdict(config), "data": absolute(config.data)},
        resume=config.resume,
        force=config.force,
        files=(WEIGHTS, DELAYS, TIMING, SOURCE),
    )
    try:
        run.identify(data.identity, source=config.data)
    except BaseException:
        run.close()
        raise
    return run


def _trainer(config: TrainConfig, data: DataSet) -> tuple[Trainer | StackTrainer, np.ndarray]:
    """The trainer of a run, and the initial delays of its readout."""
    if config.stacked:
        from denram.training.stack_trainer import (
            make_stack_trainer,
        )  # with optax, which most runs do not need

        trainer = make_stack_trainer(config, data)
        return trainer, trainer.best["delays"]
    trainer, parameters = make_trainer(config, data)
    return trainer, parameters.delays


def _keep_delays(run: RunDirectory, delays: np.ndarray) -> None:
    """Write the delays, or refuse to continue if they are not those that the weights were trained for."""
    if (run.path / DELAYS).exists():
        there = read_run(run.path, package="denram").array(DELAYS, shape=delays.shape, dtype=delays.dtype)
        if not np.array_equal(there, delays):
            raise UserError(
                f"{run.path / DELAYS} holds other delays than this configuration draws here; "
                "restore the file or train again in another folder."
            )
    run.write_array(DELAYS, delays)


def _keep_best(trainer: Trainer | StackTrainer, run: RunDirectory) -> None:
    """Write the result of the best epoch; the readout's weights come last, because they mark the rest as complete."""
    for name, array in sorted(trainer.best_arrays().items(), key=lambda found: f"{found[0]}.npy" == WEIGHTS):
        run.write_array(f"{name}.npy", array)


def begin(
    trainer: Trainer | StackTrainer,
    run: RunDirectory,
    data: DataSet,
    delays: np.ndarray,
    say: Callable[[str], object],
) -> None:
    """Write or compare the delays, continue from the newest checkpoint, and say what is trained."""
    if not trainer.config.train_delays:
        _keep_delays(run, delays)
        run.identify(files={"delays": run.path / DELAYS})
    for line in reporting.opening(run.config, run.path, delays):
        say(line)
    say(reporting.kept(data, delays, trainer.config.max_delay))
    latest = run.continue_from("epoch", first=0)
    if latest is not None:
        trainer.restore(latest.step, latest.arrays, latest.state)
        say(f"resuming after epoch {trainer.epoch - 1}")
    if trainer.selection.epoch >= 0:
        _keep_best(trainer, run)


def note_epoch(trainer: Trainer | StackTrainer, run: RunDirectory, record: dict[str, Any]) -> None:
    """Write what an epoch changed: the weights of a new best, the log, a checkpoint."""
    if record["new_best"]:
        _keep_best(trainer, run)
    run.log(record)
    run.checkpoints().save(trainer.epoch, *trainer.checkpoint())


def finish(trainer: Trainer | StackTrainer, run: RunDirectory, data: DataSet) -> None:
    """Test the best weights and mark the run as finished."""
    run.write_text(TIMING, json.dumps({"seconds": trainer.seconds}) + "\n")
    summary = trainer.summary()
    run.finish(summary | inference_cost(trainer.config, data, int(summary["n_parameters"])).summary())


def identity(config: TrainConfig, data: DataSet) -> dict[str, Any]:
    """The run's full configuration with everything automatic resolved, from which its id is computed.

    The data are named and fingerprinted, not located, so a run keeps its id when they move.
    """
    spec = config.network(data.classes)
    network = DelayNetwork(np.zeros((spec.n_out, spec.n_synapses), np.float32), spec, engine=config.engine)
    channels = {} if data.channels == CHANNELS else {"channels": data.channels}
    return (
        config.content()
        | channels
        | {
            "package": "denram",
            "data": data.name,
            "data_fingerprint": data.fingerprint,
            "n_out": spec.n_out,
            "engine": "fft" if config.stacked else network.engine_used,
        }
    )
