"""How long runs will take, estimated from the seconds of similar runs in the ledgers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.errors import UserError
from reprokit.run.ledger import read_ledger
from reprokit.run.work import Job

# Settings on which a run's time depends: similar runs share them.
LENGTHS = (
    "epochs",
    "nb_epochs",
    "updates",
    "train_size",
    "train_samples",
    "data",
    "dataset",
    "source",
    "dims",
    "hidden",
)
ALIKE = 0.7  # minimum share of equal settings
_NO_MATTER = ("seed", "network_seed", "order_seed", "claim", "scale", "experiment", "data_fingerprint")

Facts = set[tuple[str, str]]


def recorded(package: str, ledger: Path) -> list[tuple[Facts, float]]:
    """Return the settings and seconds of the runs of `package` in a ledger and in the committed ones near it.

    Args:
        package: The package.
        ledger: The ledger of the study.
    """
    files = [ledger]
    for folder in (Path.cwd(), *Path.cwd().parents):
        if (folder / "reproduction" / "claims.toml").is_file():
            files += sorted((folder / "reproduction").glob("*/results.csv"))
            break
    found = []
    for file in files:
        try:
            _, rows = read_ledger(file) if file.exists() else ([], [])
            for row in rows:
                if row.get("package") == package:
                    found.append((facts(json.loads(row["config"])), float(row["seconds"])))
        except (UserError, KeyError, ValueError):
            continue  # a file without relevant rows
    return found


def expected_seconds(job: Job, runs: Iterable[tuple[Facts, float]]) -> float | None:
    """Return the seconds of the longest among the most similar recorded runs; None if none is as long as this one.

    Similar runs have the same data, size and length and share most settings, apart from seeds.

    Args:
        job: The run.
        runs: The result of `recorded`.
    """
    wanted = facts(job.config)
    lengths = {fact for fact in wanted if fact[0] in LENGTHS}
    best, longest = 0.0, None
    for other, seconds in runs:
        if {fact for fact in other if fact[0] in LENGTHS} != lengths:
            continue
        alike = len(wanted & other) / max(1, len(wanted | other))
        if alike > best:
            best, longest = alike, seconds
        elif alike == best and longest is not None:
            longest = max(longest, seconds)
    return longest if best >= ALIKE else None


def facts(values: Any, name: str = "") -> Facts:
    """Return the settings in nested plain values as (name, JSON text), without those that do not affect the time."""
    if isinstance(values, Mapping):
        return {fact for key, value in values.items() for fact in facts(value, str(key))}
    if isinstance(values, list | tuple) and any(isinstance(value, Mapping) for value in values):
        return {fact for value in values for fact in facts(value, name)}
    return set() if name in _NO_MATTER else {(name, json.dumps(values, sort_keys=True, default=str))}


def table(
    jobs: Sequence[Job],
    to_do: Sequence[Job],
    runs: Sequence[tuple[Facts, float]],
    workers: int,
) -> list[str]:
    """Return the lines of ``--dry-run``: each run, whether it is finished, and its expected minutes.

    Args:
        jobs: All selected runs.
        to_do: Those that are not finished.
        runs: The result of `recorded`.
        workers: Number of runs at a time.
    """
    width = max((len(job.label) for job in jobs), default=3)
    lines = [f"{'run':{width}}  {'run id':16}  {'state':8}  minutes"]
    total, unknown = 0.0, 0
    for job in jobs:
        state, minutes = "finished", ""
        if job in to_do:
            seconds = expected_seconds(job, runs)
            total, unknown = total + (seconds or 0), unknown + (seconds is None)
            state, minutes = "to do", "unknown" if seconds is None else f"{seconds / 60:.1f}"
        lines.append(f"{job.label:{width}}  {job.run_id}  {state:8}  {minutes}".rstrip())
    known = len(to_do) - unknown
    about = f", about {total / 60 / workers:.1f} minutes for {known} of them" if known else ""
    at_a_time = f", {workers} at a time" if workers > 1 else ""
    lines.append(f"{len(jobs)} runs, {len(to_do)} to do{at_a_time}{about}")
    return lines
