"""Several rules, networks and seeds in one ledger: finished rows are skipped, seeds are trained as one program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import Ledger, UserError, run_id
from reprokit.config import nearest, rebuild
from reprokit.own_code import is_import_path
from reprokit.run.stored import stored_identity
from reprokit.run.study import Task, current
from reprokit.run.sweep import NotYet
from reprokit.run.workers import WorkerOptions, hand_out, select
from reprokit.terminal import say

from bdfa.config import RULES, TrainConfig, net_name
from bdfa.engines.engine import fast_obstacle
from bdfa.reproduce.results import error_table, ledger_row, missing, open_ledger, with_seeds
from bdfa.training.loop import train_together

_NOT_FOR_BP = ("fb_scale", "fb_dist", "fb_lr", "fb_target", "fb_alpha", "fb_loss", "fb_order", "init")


@dataclass(frozen=True)
class Group:
    """Networks to be trained together and the experiment their rows belong to.

    Attributes:
        configs: Configurations, equal but for rule, seed and feedback.
        claim: Name of the experiment in the ledger.
        scale: ``paper``, ``reduced`` or ``smoke``.
        extra: Whether it is trained only when ``--only`` names it.
        part: Part of the study, for ``--only``; none: the experiment.
    """

    configs: tuple[TrainConfig, ...]
    claim: str
    scale: str
    extra: bool = False
    part: str = ""

    @property
    def label(self) -> str:
        """Its name in reports, e.g. ``table bp 2x400 seeds 1 2 3``."""
        first, seeds = self.configs[0], [str(config.seed) for config in self.configs]
        return f"{self.claim} {first.rule} {net_name(first)} seed{'s'[: len(seeds) - 1]} {' '.join(seeds)}"


def parse_net(text: str) -> tuple[int, ...]:
    """Read the widths of a perceptron: ``2x800`` or ``400-200``.

    Raises:
        UserError: For anything else.
    """
    depth, times, width = text.partition("x")
    parts = [width] * int(depth) if times and depth.isdigit() else text.split("-")
    if not parts or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UserError(
            f"net {text!r} is not understood; write depth x width as 2x800, or widths as 400-200."
        )
    return tuple(int(part) for part in parts)


def grid(
    base: TrainConfig, rules: Sequence[str], nets: Sequence[str], seeds: Sequence[int], claim: str, scale: str
) -> list[Group]:
    """Groups of a table: every net with every rule, all seeds of a cell in one group.

    Raises:
        UserError: For an unknown rule or net, or no or repeated seeds.
    """
    for rule in rules:
        if rule not in RULES and not is_import_path(rule):
            raise UserError(
                f"rule {rule!r} is unknown; choose one of {', '.join(RULES)}{nearest(rule, RULES)}."
            )
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError(f"seeds are {list(seeds)}; give at least one, each once.")
    groups = []
    for net in nets:
        for configs in with_seeds(
            replace(base, hidden=parse_net(net)), list(dict.fromkeys(rules)), seeds
        ).values():
            groups.append(Group(tuple(configs), claim, scale))
    return groups


def run_folder(configs: Sequence[TrainConfig], runs: Path) -> Path:
    """Run directory of networks trained together, below the folder of all."""
    return runs / run_id({"together": [config.content() for config in configs]})


def tasks(groups: Iterable[Group], ledger: Ledger) -> list[Task]:
    """What to train together: the networks of a group that the ledger lacks, and those it has.

    Args:
        groups: What to train, most important first.
        ledger: The existing rows.

    Returns:
        Tasks for `train_group`; networks without a fast engine, or whose angles are measured, get one task each.
    """
    found = []
    for group in groups:
        waiting = missing(group.configs, ledger)
        parts = [waiting, [config for config in group.configs if config not in waiting]]
        if fast_obstacle(group.configs[0]) or group.configs[0].angles_every:
            parts = [[config] for config in group.configs]
        found += [task_of(replace(group, configs=tuple(configs))) for configs in parts if configs]
    return found


def task_of(group: Group) -> Task:
    """Return the task of training a group together."""
    contents = [config.content() for config in group.configs]
    content = {"configs": contents, "claim": group.claim, "scale": group.scale}
    rows = tuple(run_id(each) for each in contents)
    return Task(content, group.claim, group.part or group.claim, group.label, rows, group.extra)


def train_group(
    job: Mapping[str, Any],
    *,
    runs: Path,
    threads: int | None,
    data_dir: Path | None,
    cache_dir: Path | None = None,
    device: str = "auto",
) -> list[dict[str, Any]]:
    """Train one task and return its rows, all but ``gap_to_bp``; importable by name for worker processes.

    Args:
        job: A task's configuration.
        runs: Folder of the run directories, absolute.
        threads: CPU threads; none: torch's own choice.
        data_dir: Folder of downloaded data sets, absolute.
        cache_dir: Folder of the fitted statistics, absolute.
        device: auto, cpu or cuda:K.
    """
    running = {
        "threads": threads,
        "data_dir": data_dir,
        "cache_dir": cache_dir,
        "plot": False,
        "device": device,
    }
    configs = [
        rebuild(TrainConfig, {"revision": 1, **content}, "the job", **running) for content in job["configs"]
    ]
    folder = run_folder(configs, runs)
    result = train_together(configs, folder)
    data = stored_identity(folder)
    return [
        ledger_row(config, summary, claim=job["claim"], scale=job["scale"], data=data)
        for config, summary in zip(configs, result.summaries, strict=True)
    ]


def with_gap(ledger: Ledger, planned: Iterable[Task]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that adds ``gap_to_bp`` to a row: its test error minus that of the same run under bp.

    The run under back-propagation is looked up in the ledger, with the feedback options of the row and, as they do
    nothing under bp, without them; without such a run, the gap is None. If that run is planned, the row waits for it,
    so that the gap does not depend on the order in which runs end.

    Args:
        ledger: The existing rows.
        planned: The tasks of this call.

    Raises:
        NotYet: By the returned function, while the run under back-propagation is still planned.
    """
    coming = {row for task in planned for row in task.rows}

    def complete(row: dict[str, Any]) -> dict[str, Any]:
        if row["rule"] == "bp":
            return {**row, "gap_to_bp": 0.0}
        wanted = _under_bp(row["config"])
        found = [other["test_error"] for other in ledger.rows() if other["run_id"] in wanted]
        done = {**row, "gap_to_bp": row["test_error"] - found[-1] if found else None}
        if not found and coming & wanted:
            raise NotYet(done)
        return done

    return complete


def _under_bp(config: Mapping[str, Any]) -> set[str]:
    """Run ids of the same run under back-propagation, with the options that do nothing there and without."""
    usual = TrainConfig().content()
    plain = {**config, "rule": "bp", **{name: usual[name] for name in _NOT_FOR_BP if name in config}}
    plain.pop("fb_output", None)
    return {run_id({**config, "rule": "bp"}), run_id(plain)}


def run_groups(
    groups: Iterable[Group],
    ledger_path: Path,
    *,
    runs: Path,
    options: WorkerOptions | None = None,
    threads: int | None = None,
    data_dir: Path | None = None,
    cache_dir: Path | None = None,
) -> bool:
    """Train what the ledger lacks and add the rows.

    Args:
        groups: What to train, most important first.
        ledger_path: The CSV file.
        runs: Folder of the run directories; a killed run continues from its checkpoint there.
        options: Which are trained, where, and how many at a time; None: all, one after the other.
        threads: CPU threads of each.
        data_dir: Folder of downloaded data sets.
        cache_dir: Folder of the fitted statistics.

    Returns:
        Whether everything is in the ledger now.
    """
    ledger = open_ledger(ledger_path)
    work = partial(
        train_group, runs=runs.absolute(), threads=threads, data_dir=data_dir and data_dir.absolute(),
        cache_dir=cache_dir and cache_dir.absolute(),
    )  # fmt: skip
    options = options or WorkerOptions()
    options.check()
    found = list(groups)
    wanted = select(tasks(found, ledger), lambda task: (task.label,), options.only, options.skip)
    return hand_out(
        [task.job for task in wanted], work, ledger=ledger, options=options, package="bdfa", threads=threads,
        data=[data_dir, *{group.configs[0].dataset for group in found}], complete=with_gap(ledger, wanted),
    ).ok  # fmt: skip


def say_table(ledger_path: Path, claim: str | None = None) -> None:
    """Print the error table of a ledger, of one experiment or all."""
    found = current(open_ledger(ledger_path).rows())
    rows = [row for row in found if claim is None or row["claim"] == claim]
    say(error_table(rows))
