"""Sweeps over networks, seeds or parameters: one run for every combination of values, several at a time."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from reprokit import UserError, run_id
from reprokit.run.grid import Grid
from reprokit.run.grid_sweep import sweep as run_sweep
from reprokit.run.study import Task
from reprokit.run.workers import WorkerOptions
from reprokit.terminal import say

from nalsm.config import Config, refuse_idle
from nalsm.reproduce.plan import COLUMNS, run_one
from nalsm.training.runs import settled


def combinations(base: Config, vary: Mapping[str, Sequence[Any]]) -> list[Config]:
    """Return `base` with every combination of the values, the last name changing fastest.

    Args:
        base: settings that all runs share.
        vary: values of fields of `Config`, for example {"network_seed": [1, 2], "astrocyte_weight": [0.01, 0.02]}.

    Raises:
        UserError: for a name that is not a setting, no values, or a value that is not allowed.
    """
    return [config for _, config in configs_of(base, Grid(axes=vary, source="--vary"))]


def configs_of(base: Config, grid: Grid) -> list[tuple[str, Config]]:
    """Return the label and configuration of each run of a grid; its seeds are those of the networks.

    Raises:
        UserError: for a field that is not a setting, or a value that is not allowed.
    """
    known = [field.name for field in fields(Config)]
    vary = {name: values for lists in (grid.axes, *grid.zipped) for name, values in lists.items()}
    vary |= {"network_seed": grid.seeds} if grid.seeds else {}
    for name in vary:
        if name not in known:
            raise UserError(f"{name!r} is not a setting of a run; choose from {', '.join(known)}.")
    lost = [name for name in ("dims", "network_seed") if name in vary]
    if lost and (base.network is not None or "network" in vary):
        raise UserError(
            f"{lost[0]} cannot be varied, because the network file determines it; leave out network, or vary that."
        )
    found = grid.configs(base, seed="network_seed")
    return [(base.model if label == "base" else label, settled(config)) for label, config in found]


def parse(words: Sequence[str]) -> dict[str, list[Any]]:
    """Return names and values of `name=value,value,...`, converted to the types of the settings.

    `none` means that the setting is left out, dims are written as in `dims=6x6x6,10x10x10`, and a name that
    occurs twice gets the values of both.

    Raises:
        UserError: for words of another form, or values of the wrong type.
    """
    kinds = {field.name: str(field.type) for field in fields(Config)}
    found: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in kinds:
            raise UserError(
                f"{word!r} does not say what to vary; write a setting and its values, as in network_seed=1,2,3."
            )
        default = getattr(Config, name)
        found.setdefault(name, []).extend(
            default if text.strip().lower() == "none" else _value(kinds[name], text.strip(), word)
            for text in values.split(",")
        )
    return found


def _value(kind: str, text: str, word: str) -> Any:
    choices = {"true": True, "false": False}
    try:
        if "tuple" in kind:
            return tuple(int(part) for part in re.split(r"[x\s]+", text))
        if "bool" in kind:
            return choices[text.lower()]
        if "int" in kind:
            return int(text)
        return float(text) if "float" in kind else text
    except (KeyError, ValueError):
        raise UserError(
            f"{word!r}: {text!r} is not of type {kind.partition(' |')[0]}; give other values."
        ) from None


def sweep(
    base: Config,
    grid: Grid | Mapping[str, Sequence[Any]],
    out: str | Path,
    *,
    options: WorkerOptions | None = None,
    threads: int = 1,
) -> int:
    """Do the runs that OUT/results.csv lacks, in OUT/runs, and print their results.

    Args:
        base: settings that all runs share.
        grid: a grid, or values of fields as for `combinations`.
        out: folder.
        options: which runs are done, where, and how many at a time; None: all, one after the other.
        threads: samples simulated at once in each run.

    Returns:
        0, or 1 if a run failed.

    Raises:
        UserError: see `configs_of`; numbers below 1.
    """
    grid = grid if isinstance(grid, Grid) else Grid(axes=grid, source="--vary")
    found = configs_of(base, grid)
    for line in refuse_idle([config for _, config in found]):
        say(line)
    if threads < 1:
        raise UserError(f"threads is {threads}; it must be 1 or more.")
    about = {"experiment": "sweep", "kernel": False, "scale": "paper"}
    tasks = [Task(about | config.content(), "sweep", "sweep", label) for label, config in found]
    labels = {run_id(task.config): task.label for task in tasks}

    def show(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            factor = row["branching_test"]
            branching = "" if factor is None else f", branching factor {factor:.3f}"
            say(f"{labels[row['run_id']]}: test {100 * row['test_accuracy']:.2f} %{branching}")

    folder = Path(out).absolute()
    work = partial(run_one, runs=folder / "runs", scale="paper", threads=threads)
    return run_sweep(
        tasks, work, package="nalsm", folder=folder, options=options or WorkerOptions(), columns=COLUMNS,
        threads=threads, data=sorted({config.data for _, config in found}), show=show,
    )  # fmt: skip
