"""Figures of the reproduction: losses of the study together with the recorded ones, accuracies over the epochs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError
from reprokit.plots import colour, new_figure, note, save_figure, scale_note, style

from dalton.reproduce.sweep import Task
from dalton.reproduce.tau import TAU
from dalton.training.runs import OpenedRun, open_run, run_directory

CURVES = "mnist_a1_curves.npz"
_TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "nmnist": "N-MNIST"}
_SHOWN = ("arch", "method", "setting", "seed")  # columns that identify a run in the tables
_DASHES = {"bptt": "-", "online": "--", "rtrl": ":"}


def draw(tasks: Sequence[Task], runs: Path, out: Path, golden: Path | None) -> list[Path]:
    """Draw what the run directories of the tasks allow; nothing without matplotlib.

    Args:
        tasks: The runs of the reproduction.
        runs: Folder of the run directories.
        out: Folder of the figures.
        golden: Folder with the recorded curves, or None.

    Returns:
        The files written.
    """
    if find_spec("matplotlib") is None:
        return []
    found: dict[tuple[str, str], list[OpenedRun]] = {}
    for task in tasks:
        if task.claim == TAU:  # drawn from the rows
            continue
        path = run_directory(replace(task.config, out=None), runs)
        try:
            run = open_run(path)
        except UserError:
            continue
        if run.stored.records:
            found.setdefault((task.claim, task.scale), []).append(run)
    recorded = _recorded(golden)
    files = []
    for (claim, scale), group in found.items():
        suffix = "" if scale == "paper" else f"-{scale}"
        if claim == "study":
            table = _losses(group, recorded if scale == "paper" else {})
            files += save_figure(losses(table), out / f"study-loss{suffix}", table=table)
        else:
            figure = accuracies(group, _TITLES.get(claim, claim), scale)
            files += save_figure(figure, out / f"{claim}-accuracy{suffix}", table=_accuracies(group))
    return files


def if_possible(plot: Callable[..., list[Path]], *arguments: Any) -> list[Path]:
    """Draw a figure; nothing without matplotlib."""
    return plot(*arguments) if find_spec("matplotlib") else []


def _recorded(golden: Path | None) -> dict[str, np.ndarray]:
    """Recorded losses by method and setting: (batch,), online (batch, time)."""
    if golden is None or not (golden / CURVES).is_file():
        return {}
    found = {}
    with np.load(golden / CURVES, allow_pickle=False) as file:
        for method, setting, name in (
            ("surrgd", "bptt", "surrgd_bptt"), ("dalton", "bptt", "dalton_bptt"), ("tfr", "bptt", "tfr_bptt"),
            ("dalton", "online", "dalton_rtrl"), ("tfr", "online", "tfr_rtrl"),
        ):  # fmt: skip
            found[f"{method} {setting}"] = file[f"{name}_loss"]
    return found


@style()
def losses(table: Sequence[Mapping[str, Any]]) -> Any:
    """Loss of each training batch: one panel per method and setting, one line per seed, the original's in grey.

    Args:
        table: The numbers, one row per batch of a run: method, setting, seed, batch, loss, and recorded, which is
            the original's loss or nothing.
    """
    named: dict[str, dict[int, list[Mapping[str, Any]]]] = {}
    for row in table:
        seeds = named.setdefault(f"{row['method']} {row['setting']}", {})
        seeds.setdefault(int(row["seed"]), []).append(row)
    figure, panels = new_figure(1, len(named), width="page", height=1.6, sharey=True)
    shown = {}
    for panel, (name, seeds) in zip(panels, named.items(), strict=True):
        for rows in seeds.values():
            recorded = [float(row["recorded"]) for row in rows if row.get("recorded")]
            if recorded:
                (shown["original"],) = panel.plot(recorded, color=colour("published"), linewidth=2)
            ours = [float(row["loss"]) for row in rows]
            (shown["here"],) = panel.plot(ours, color=colour(name.split()[0]), linewidth=0.8)
        panel.set(title=name, xlabel="batch", yscale="log")
    panels[0].set_ylabel("loss")
    if "original" in shown:
        shown["here"].set_label("here")
        shown["original"].set_label("original")
        figure.legend(handles=list(shown.values()), loc="outside right center")
    return figure


@style()
def accuracies(runs: Sequence[OpenedRun], title: str, scale: str) -> Any:
    """Test accuracy after every epoch: one panel per architecture, one colour per rule, one line per run."""
    archs = list(dict.fromkeys(run.config.arch for run in runs))
    figure, panels = new_figure(1, len(archs), width="page", height=2.4, sharey=True)
    for panel, arch in zip(panels, archs, strict=True):
        for run in runs:
            if run.config.arch != arch:
                continue
            config = run.config
            panel.plot(
                [record["epoch"] for record in run.stored.records],
                [100 * record["test_accuracy"] for record in run.stored.records],
                color=colour(config.method),
                linestyle=_DASHES[config.setting],
                marker=".",
                label=f"{config.method} {config.setting}",
            )
        panel.set(title=f"{title}, {arch}", xlabel="epoch")
        panel.grid(axis="y", linewidth=0.5, color="0.9")
    panels[0].set_ylabel("test accuracy, %")
    data = sorted({(run.stored.summary or {}).get("dataset", run.config.dataset) for run in runs})
    note(panels[0], scale_note(", ".join(data), scale), "one line a run", corner="bottom")
    lines = {str(line.get_label()): line for panel in panels for line in panel.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside right center")
    return figure


def _losses(runs: Sequence[OpenedRun], recorded: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Numbers of :func:`losses`: one row per batch of a run, next to the recorded loss if there is one."""
    table = []
    for run in runs:
        curve = recorded.get(f"{run.config.method} {run.config.setting}", np.empty(0))
        if curve.ndim == 2:  # online: the burn-in steps change nothing and do not count
            curve = curve[:, run.config.burn_in or 0 :].mean(1)
        for number, loss in enumerate(x for record in run.stored.records for x in record["batch_losses"]):
            row = {**{name: getattr(run.config, name) for name in _SHOWN}, "batch": number, "loss": loss}
            table.append(row | {"recorded": float(curve[number]) if number < len(curve) else None})
    return table


def _accuracies(runs: Sequence[OpenedRun]) -> list[dict[str, Any]]:
    """Numbers of :func:`accuracies`: one row per epoch of a run."""
    return [
        {name: getattr(run.config, name) for name in _SHOWN}
        | {name: record[name] for name in ("epoch", "test_accuracy")}
        for run in runs
        for record in run.stored.records
    ]
