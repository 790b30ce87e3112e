"""Figures of a reproduction: error curves of every experiment, angles and generated images of the study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.plots import new_figure, save_figure, scale_note, style

from bdfa.config import net_name
from bdfa.plots import MANY, Curve, draw_angles, draw_errors, errors_table, label_angles, plot_generated
from bdfa.reproduce.groups import Group, run_folder
from bdfa.training.runs import open_run

Record = Mapping[str, Any]


@style()
def plot_results(groups: Sequence[Group], runs: Path, out: Path, scale: str) -> list[Path]:
    """Draw the figures of a reproduction from the run directories found, finished ones only.

    File names carry the scale unless it is ``paper``.

    Args:
        groups: What was trained together.
        runs: Folder of the run directories.
        out: Folder of the figures.
        scale: ``smoke``, ``reduced`` or ``paper``.
    """
    suffix = "" if scale == "paper" else f"-{scale}"
    curves: dict[str, list[Curve]] = {}
    datasets: dict[str, set[str]] = {}
    angles: list[tuple[str, Sequence[Record]]] = []
    paths: list[Path] = []
    for group in groups:
        folder = run_folder(group.configs, runs)
        if not (folder / "summary.json").exists():
            continue
        run, first = open_run(folder), group.configs[0]
        epochs = [record for record in run.records("epoch") if record["network"] == 0]
        label = group.claim if group.part else first.rule
        name = f"{group.part or group.claim}-{net_name(first)}"
        curves.setdefault(name, []).append((label, first.rule, epochs))
        datasets.setdefault(name, set()).add(run.summaries()[0]["dataset"])
        measured = run.angles()
        if measured and first.rule != "bp":
            angles.append((first.rule, measured))
        if group.claim == "study" and first.rule == "bfa":
            paths += plot_generated(folder, out / f"generated{suffix}")
    for name, lines in curves.items():
        data = scale_note(", ".join(sorted(datasets[name])), scale)
        paths += plot_errors(lines, out / f"errors-{name}{suffix}", name, data)
    if angles:
        paths += plot_angles(angles, out / f"angles{suffix}")
    return paths


@style()
def plot_errors(lines: Sequence[Curve], path: Path, title: str, data: str) -> list[Path]:
    """Draw error curves, one network a line, and write them with their numbers.

    Args:
        lines: The curves.
        path: Figure without its suffix.
        title: What was trained.
        data: What the figure says of its data.
    """
    figure, axes = new_figure(width="page", height=3.0) if len(lines) > MANY else new_figure()
    axes[0].set_title(f"{title}, {data}, one seed")
    draw_errors(axes[0], lines)
    return save_figure(figure, path, table=errors_table(lines))


@style()
def plot_angles(angles: Sequence[tuple[str, Sequence[Record]]], path: Path) -> list[Path]:
    """Draw the angles of several rules, a panel for each, and write them with their numbers.

    Args:
        angles: Rule, and its records.
        path: Figure without its suffix.
    """
    figure, axes = new_figure(1, len(angles), width="page", height=2.0, sharey=True)
    for axis, (rule, records) in zip(axes, angles, strict=True):
        draw_angles(axis, records, rule)
    label_angles(axes)
    return save_figure(
        figure, path, table=[{"rule": rule, **record} for rule, records in angles for record in records]
    )
