"""Table and figure of the reproduced experiments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from reprokit.plots import colour, new_figure, save_figure, style

Row = Mapping[str, Any]


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


@style()
def draw(rows: Sequence[Row], out: Path) -> list[Path]:
    """Draw branching factor and accuracy against w_a, if at least three values were run."""
    sweep = sorted(
        (r["astrocyte_weight"], r["branching_test"], r["test_accuracy"], r["dataset"])
        for r in rows
        if r["model"] == "nalsm"
        and r["neurons"] == 1000
        and r["branching_test"] is not None
        and r["experiment"] in ("models", "astrocyte-weight")
    )
    values = sorted({s[0] for s in sweep})
    if len(values) < 3:
        return []
    figure, (left,) = new_figure()
    right = left.twinx()
    right.spines.right.set_visible(True)
    numbers = {}
    for axis, column, shade, factor in ((left, 1, colour("nalsm"), 1.0), (right, 2, colour("test"), 100.0)):
        numbers[column] = [factor * np.mean([s[column] for s in sweep if s[0] == v]) for v in values]
        axis.plot(values, numbers[column], "o-", color=shade)
        axis.tick_params(axis="y", colors=shade)
    left.set(xscale="log", xlabel="astrocyte weight $w_a$", title=f"NALSM, 1000 neurons, {sweep[0][3]}")
    left.set_ylabel("branching factor", color=colour("nalsm"))
    right.set_ylabel("test accuracy (%)", color=colour("test"))
    table = [
        {"astrocyte_weight": w, "branching factor": b, "test accuracy (%)": a}
        for w, b, a in zip(values, numbers[1], numbers[2], strict=True)
    ]
    return save_figure(figure, out / "astrocyte_weight", table=table)
