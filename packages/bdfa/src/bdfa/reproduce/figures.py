"""Figures of a reproduction: error curves of every experiment, angles and generated images of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit import run_id

from bdfa.config import net_name
from bdfa.plots import draw_angles, draw_errors, new_figure, plot_generated, save_figure
from bdfa.reproduce.groups import Group
from bdfa.training.runs import read_records

Record = Mapping[str, Any]


def plot_results(groups: Sequence[Group], runs: Path, out: Path, scale: str) -> list[Path]:
    """Draw the figures of a reproduction from the run directories that are there.

    Error curves per experiment and network; angles and generated images of the study. File names carry the scale
    unless it is ``paper``.
    """
    suffix = "" if scale == "paper" else f"-{scale}"
    curves: dict[str, list[tuple[str, Sequence[Record]]]] = {}
    angles: list[tuple[str, Sequence[Record]]] = []
    paths: list[Path] = []
    for group in groups:
        run = runs / run_id({"together": [config.content() for config in group.configs]})
        if not (run / "summary.json").exists():
            continue
        first = group.configs[0]
        epochs = [record for record in read_records(run, "epoch") if record["network"] == 0]
        curves.setdefault(f"{group.claim}-{net_name(first)}", []).append((first.rule, epochs))
        measured = read_records(run, "alignment")
        if measured and first.rule != "bp":
            angles.append((first.rule, measured))
        if group.claim == "study" and first.rule == "bfa":
            paths.append(plot_generated(run, out / f"generated{suffix}.png"))
    for name, lines in curves.items():
        figure, axes = new_figure(1)
        axes[0].set_title(name)
        draw_errors(axes[0], lines)
        paths.append(save_figure(figure, out / f"errors-{name}{suffix}.png"))
    if angles:
        figure, axes = new_figure(len(angles), width=3.6)
        for axis, (rule, records) in zip(axes, angles, strict=True):
            draw_angles(axis, records, rule)
        paths.append(save_figure(figure, out / f"angles{suffix}.png"))
    return paths
