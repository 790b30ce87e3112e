"""Several rules, networks and seeds into one ledger, finished rows skipped, seeds trained as one program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reprokit import Job, UserError, run_id, run_jobs
from reprokit.config import nearest, rebuild
from reprokit.terminal import say

from bdfa.config import RULES, TrainConfig
from bdfa.engines.engine import fast_obstacle
from bdfa.reproduce.results import error_table, ledger_row, missing, open_ledger, with_seeds
from bdfa.training.loop import train_together


@dataclass(frozen=True)
class Group:
    """Networks to be trained together and the experiment their rows belong to.

    Attributes:
        configs: Configurations, equal but for rule, seed and feedback.
        claim: Name of the experiment in the ledger.
        scale: ``paper``, ``reduced`` or ``smoke``.
    """

    configs: tuple[TrainConfig, ...]
    claim: str
    scale: str


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
        if rule not in RULES:
            raise UserError(
                f"rule {rule!r} is unknown; choose among {', '.join(RULES)}{nearest(rule, RULES)}."
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


def run_groups(
    groups: Iterable[Group], ledger_path: Path, *, runs: Path, workers: int = 1, threads: int | None = None
) -> bool:
    """Train what the ledger lacks and add the rows.

    Args:
        groups: What is wanted, best first.
        ledger_path: The CSV file.
        runs: Folder of the run directories; a killed run goes on from its checkpoint there.
        workers: Processes.
        threads: CPU threads of each.

    Returns:
        Whether everything is in the ledger now.
    """
    ledger = open_ledger(ledger_path)
    jobs = []
    skipped = 0
    for group in groups:
        waiting = missing(group.configs, ledger)
        skipped += len(group.configs) - len(waiting)
        together = (
            [waiting] if waiting and not fast_obstacle(waiting[0]) else [[config] for config in waiting]
        )
        for configs in together:
            jobs.append(_job(configs, group, ledger_path, runs, threads))
    if skipped:
        say(f"{skipped} rows are in {ledger_path} already and skipped")
    return run_jobs(jobs, _run_group, workers=workers).ok if jobs else True


def _job(configs: Sequence[TrainConfig], group: Group, ledger: Path, runs: Path, threads: int | None) -> Job:
    contents = [config.content() for config in configs]
    first = configs[0]
    label = f"{group.claim} {first.rule} {first.model} {first.hidden} seeds {[c.seed for c in configs]}"
    content = {
        "configs": contents, "claim": group.claim, "scale": group.scale, "ledger": str(ledger), "threads": threads,
        "out": str(runs / run_id({"together": contents})),
    }  # fmt: skip
    return Job(content, label)


def _run_group(job: Mapping[str, Any]) -> None:
    """Train one group and append its rows; importable by name for worker processes."""
    configs = [
        rebuild(TrainConfig, content, "the job", threads=job["threads"], plot=False)
        for content in job["configs"]
    ]
    result = train_together(configs, Path(job["out"]))
    ledger = open_ledger(Path(job["ledger"]))
    rows = ledger.rows()
    for config, summary in zip(configs, result.summaries, strict=True):
        gap = _gap(config, summary, rows)
        ledger.append(ledger_row(config, summary, claim=job["claim"], scale=job["scale"], gap_to_bp=gap))


def _gap(config: TrainConfig, summary: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Test error above that of the same run under back-propagation, where the ledger has it."""
    if config.rule == "bp":
        return 0.0
    wanted = run_id(replace(config, rule="bp").content())
    found = [row["test_error"] for row in rows if row["run_id"] == wanted]
    return summary["test_error"] - found[0] if found else None


def say_table(ledger_path: Path, claim: str | None = None) -> None:
    """Print the error table of a ledger, of one experiment or all."""
    rows = [row for row in open_ledger(ledger_path).rows() if claim is None or row["claim"] == claim]
    say(error_table(rows))
