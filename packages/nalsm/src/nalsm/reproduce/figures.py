"""Table and figures of the reproduced experiments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reprokit.plots import colour, new_figure, save_figure, style

Row = Mapping[str, Any]
SWEEPS = {
    "astrocyte_weight": ("models", "astrocyte-weight"),
    "astrocyte_weight-n-mnist": ("n-mnist", "n-mnist-astrocyte-weight"),
}  # of w_a: name of the figure, experiments of its rows


def newest(rows: Sequence[Row], *keys: str) -> list[Row]:
    """Return the last of several rows of one network and the same `keys`: a network measured again counts once."""
    return list({(row["seed"], *(row[key] for key in keys)): row for row in rows}.values())


def table(rows: Sequence[Row]) -> list[str]:
    """Return mean and spread over networks of every model, size and setting."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        name = row["model"] if row["config"].get("recurrence", True) else f"{row['model']}, no recurrence"
        groups[(row["dataset"], name, row["neurons"], row["weight"], row["astrocyte_weight"])].append(row)
    lines = [
        f"{'data':14s} {'model':22s} {'neurons':>7s} {'|w|':>5s} {'w_a':>7s} {'n':>2s} {'test %':>13s} branching"
    ]
    for (dataset, model, neurons, weight, astrocyte), members in sorted(groups.items(), key=str):
        members = newest(members, "experiment", "model")
        accuracy = 100.0 * np.array([m["test_accuracy"] for m in members])
        spread = f" ± {accuracy.std(ddof=1):.2f}" if len(accuracy) > 1 else ""
        branching = [m["branching_test"] for m in members if m["branching_test"] is not None]
        factor = f"{np.mean(branching):9.3f}" if branching else " " * 9
        w = f"{weight:5g}" if weight is not None else " " * 5
        w_a = f"{astrocyte:7g}" if astrocyte is not None else " " * 7
        lines.append(
            f"{dataset:14s} {model:22s} {neurons:7d} {w} {w_a} {len(members):2d} "
            f"{accuracy.mean():6.2f}{spread:7s} {factor}"
        )
    return lines


def draw(rows: Sequence[Row], out: Path) -> list[Path]:
    """Draw branching factor and accuracy against w_a, on images and on N-MNIST.

    Args:
        rows: of the ledger.
        out: folder of the figures.

    Returns:
        Files written; none for a sweep of fewer than three values.
    """
    return [file for name in SWEEPS for file in _draw_sweep(rows, out / name)]


@style()
def _draw_sweep(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw branching factor and accuracy against w_a, one above the other, if at least three values were run.

    Lines join the means over networks, bars are one standard deviation, and each network has a small point.
    """
    sweep = [
        row
        for row in rows
        if row["model"] == "nalsm"
        and row["neurons"] == 1000
        and row["branching_test"] is not None
        and row["experiment"] in SWEEPS[path.name]
    ]
    # one data set and scale: that with the most values of w_a
    kinds: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sweep:
        kinds[row["dataset"], row["scale"]].append(row)
    sweep = max(kinds.values(), key=lambda some: len({row["astrocyte_weight"] for row in some}), default=[])
    sweep = newest(sweep, "astrocyte_weight")
    values = sorted({row["astrocyte_weight"] for row in sweep})
    if len(values) < 3:
        return []
    panels = (("branching_test", 1.0, "branching factor"), ("test_accuracy", 100.0, "test accuracy (%)"))
    figure, axes = new_figure(2, height=3.4, sharex=True)
    numbers: list[dict[str, Any]] = [{"astrocyte_weight": value} for value in values]
    for axis, (column, factor, label) in zip(axes, panels, strict=True):
        found = [
            factor * np.array([row[column] for row in sweep if row["astrocyte_weight"] == w]) for w in values
        ]
        mean = [float(some.mean()) for some in found]
        spread = [float(some.std(ddof=1)) if len(some) > 1 else 0.0 for some in found]
        axis.errorbar(values, mean, yerr=spread, fmt="o-", color=colour("nalsm"), capsize=2)
        for value, some in zip(values, found, strict=True):
            axis.plot([value] * len(some), some, ".", color="0.5", markersize=2, zorder=3)
        axis.set(xscale="log", ylabel=label)
        axis.grid(axis="y", linewidth=0.5, color="0.9")
        for row, m, sd, some in zip(numbers, mean, spread, found, strict=True):
            row |= {label: m, f"SD of {label}": sd, "networks": len(some)}
    first = sweep[0]
    most = max(row["networks"] for row in numbers)
    scale = "" if first["scale"] == "paper" else f", scale {first['scale']}"
    said = f"bars: 1 SD over networks, 1 to {most} a value"
    if most == 1:
        said = f"one network, {first['test_samples']} test samples"
    said = f"{first['dataset']}{scale}, 1000 neurons; {said}"
    axes[0].set_title(said, fontsize=6, color="0.35", loc="right")
    axes[1].set_xlabel("astrocyte weight $w_a$")
    return save_figure(figure, path, table=numbers)
