"""Many runs in one ledger: finished ones are skipped, killed ones continue, on any executor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import Job, SweepReport, run_id
from reprokit.config import rebuild
from reprokit.run.grid import Grid
from reprokit.run.stored import stored_identity
from reprokit.run.work import Function
from reprokit.run.workers import WorkerOptions, hand_out, on_gpu, select
from reprokit.terminal import say as print_line

from dalton.config import TrainConfig
from dalton.reproduce.tau import TAU
from dalton.training.reporting import epoch_line
from dalton.training.runs import PACKAGE, ledger_row, open_ledger, run_directory


@dataclass(frozen=True)
class Task:
    """One run and the ledger row it makes.

    Attributes:
        config: Its options.
        claim: Experiment it belongs to.
        scale: ``paper``, ``reduced`` or ``smoke``.
    """

    config: TrainConfig
    claim: str
    scale: str

    @property
    def identity(self) -> dict[str, Any]:
        """The configuration from which the row's run id is computed."""
        return {**self.config.content(), "claim": self.claim, "scale": self.scale}

    @property
    def label(self) -> str:
        """Its name in reports."""
        config = self.config
        tau = "none" if config.tau_cur is None else f"{1000 * config.tau_cur:g} ms"
        data = Path(config.dataset).stem
        rate = f", lr {config.lr:g}" if self.claim == TAU else ""
        return (
            f"{self.claim}: {data} {config.arch} {config.method} {config.setting}, tau {tau}, gain {config.gain:g}, "
            f"bias {config.bias:g}{rate}, seed {config.seed}"
        )


def combinations(
    base: TrainConfig,
    *,
    tau_cur: Sequence[float | None],
    gain: Sequence[float],
    bias: Sequence[float],
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[TrainConfig]:
    """Every combination of the swept options, in the original's order of loops: tau_cur, gain, bias innermost.

    Each run is independent: its random streams come from its own seed, not from a stream shared with earlier
    runs (DEV-24), so it gives the same numbers alone and in any sweep.

    Args:
        base: All other options.
        tau_cur: Time constants of the synaptic current in s; None: no filter.
        gain: Encoder gains.
        bias: Encoder biases.
        methods: Methods, the original's names included; none: the base's.
        seeds: Seeds; none: the base's.

    Raises:
        UserError: An empty list, a repeated value, or a value out of range.
    """
    lists: dict[str, Sequence[Any]] = {
        "method": methods or (base.method,), "seed": seeds or (base.seed,), "tau_cur": tau_cur, "gain": gain,
        "bias": bias,
    }  # fmt: skip
    # a method's name may imply its setting, so the base's setting is kept only for plain names
    return [config for _, config in Grid(axes=lists, source="the lists of dalton sweep").configs(base)]


def run_tasks(
    tasks: Sequence[Task],
    ledger: Path,
    runs: Path,
    *,
    options: WorkerOptions | None = None,
    executor: Executor | None = None,
) -> SweepReport:
    """Do the runs that the ledger lacks and add their rows.

    Args:
        tasks: The runs, most important first.
        ledger: The CSV file.
        runs: Folder of the run directories; a killed run continues from its checkpoint there.
        options: Which runs are done, where, and how many at a time; None: all, one after the other.
        executor: Any ``concurrent.futures`` executor, instead of what the options say.

    Returns:
        What was done, skipped and failed.
    """
    options = options or WorkerOptions()
    options.check()
    wanted = select(list(tasks), lambda task: (task.label,), options.only, options.skip)
    jobs = [Job(task.identity, task.label, gpu=on_gpu(task.config.device)) for task in wanted]
    places = {
        path for task in tasks for path in (task.config.dataset, task.config.subset, task.config.init_weights)
    }
    return hand_out(
        jobs, work_of(tasks, runs.absolute()), ledger=open_ledger(ledger), options=options, package=PACKAGE,
        threads=tasks[0].config.threads if tasks else 1, data=sorted(filter(None, places), key=str),
        executor=executor,
    )  # fmt: skip


def work_of(tasks: Sequence[Task], runs: Path) -> Function:
    """Return a function that does a task's run, given its identity; it can be sent to any process of this machine.

    Args:
        tasks: The tasks that may be requested.
        runs: Folder of the run directories.
    """
    return partial(_run, options={run_id(task.identity): _placed(task.config, runs) for task in tasks})


def _placed(config: TrainConfig, runs: Path) -> dict[str, Any]:
    """Options in JSON form with the run's directory, all paths absolute."""
    placed = asdict(replace(config, out=run_directory(replace(config, out=None), runs)))
    if Path(config.dataset).exists():
        placed["dataset"] = Path(config.dataset)
    return {
        name: str(value.absolute()) if isinstance(value, Path) else value for name, value in placed.items()
    }


def _run(identity: Mapping[str, Any], *, options: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Do one run, or finish it, and return its ledger row; importable by name for worker processes."""
    from dalton.training.loop import train

    config = rebuild(TrainConfig, options[run_id(identity)], "options of the task")
    claim, scale = str(identity["claim"]), str(identity["scale"])
    name = f"{config.arch} {config.method} {config.setting}"
    result = train(config, lambda record: print_line(f"  {name}  {epoch_line(record, config.epochs)}"))
    data = stored_identity(config.out) if config.out else None
    return ledger_row(config, result.summary, identity, claim=claim, scale=scale, data=data)
