"""Many runs into one ledger: finished ones are skipped, killed ones continue, on any executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from reprokit import Job, SweepReport, UserError, run_id, run_jobs
from reprokit.config import rebuild
from reprokit.run.stored import stored_identity
from reprokit.run.sweep import Function
from reprokit.terminal import say as print_line

from dalton.config import TrainConfig
from dalton.training.reporting import epoch_line
from dalton.training.runs import ledger_row, open_ledger, run_directory


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
        """What the row's run id is made of."""
        return {**self.config.content(), "claim": self.claim, "scale": self.scale}

    @property
    def label(self) -> str:
        """What reports call it."""
        config = self.config
        tau = "none" if config.tau_cur is None else f"{1000 * config.tau_cur:g} ms"
        data = Path(config.dataset).stem
        return (
            f"{self.claim}: {data} {config.arch} {config.method} {config.setting}, tau {tau}, gain {config.gain:g}, "
            f"bias {config.bias:g}, seed {config.seed}"
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

    Each is its own run: it draws from streams of its own seed, not from what the run before it left of one
    stream (DEV-24), and therefore gives the same numbers alone and in any sweep.

    Args:
        base: All other options.
        tau_cur: Time constants of the synaptic current in s; None: no filter.
        gain: Encoder gains.
        bias: Encoder biases.
        methods: Methods, the original's names included; none: the base's.
        seeds: Seeds; none: the base's.

    Raises:
        UserError: An empty list, a repeated value, or a value out of its range.
    """
    lists: dict[str, Sequence[Any]] = {
        "methods": methods or (base.method,), "seeds": seeds or (base.seed,), "tau-cur": tau_cur, "gain": gain,
        "bias": bias,
    }  # fmt: skip
    for name, values in lists.items():
        if not values or len(set(values)) < len(values):
            raise UserError(f"--{name} is {list(values)}; give at least one value, each once.")
    # a method's name may bring its setting along, so the base's own is kept only for plain names
    return [
        replace(base, method=method, seed=seed, tau_cur=tau, gain=alpha, bias=beta)
        for method, seed, tau, alpha, beta in product(*lists.values())
    ]


def run_tasks(
    tasks: Sequence[Task],
    ledger: Path,
    runs: Path,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    say: Callable[[str], object] = print_line,
) -> SweepReport:
    """Do the runs that the ledger lacks and add their rows.

    Args:
        tasks: The runs, best first.
        ledger: The CSV file.
        runs: Folder of the run directories; a killed run continues from its checkpoint there.
        workers: Processes.
        executor: Any ``concurrent.futures`` executor, instead of own processes.
        say: Takes the progress lines.

    Returns:
        What was done, skipped and failed.
    """
    jobs = [Job(task.identity, task.label) for task in tasks]
    work = work_of(tasks, runs)
    return run_jobs(jobs, work, ledger=open_ledger(ledger), workers=workers, executor=executor, say=say)


def work_of(tasks: Sequence[Task], runs: Path) -> Function:
    """Return what does a task's run, given its identity; it can travel to any process of this machine.

    Args:
        tasks: The tasks it will be asked for.
        runs: Folder of the run directories.
    """
    return partial(_run, options={run_id(task.identity): _placed(task.config, runs) for task in tasks})


def _placed(config: TrainConfig, runs: Path) -> dict[str, Any]:
    """Options as JSON holds them, with the run's directory, all paths absolute."""
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
