"""Figures of the reproduction: losses of the study beside the recorded ones, accuracies over the epochs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError
from reprokit.files.atomic import atomic_write

from dalton.reproduce.sweep import Task
from dalton.training.runs import OpenedRun, open_run, run_directory

CURVES = "mnist_a1_curves.npz"
_COLOURS = {"surrgd": "tab:blue", "dalton": "tab:red", "tfr": "tab:green"}
_TITLES = {"mnist": "MNIST", "cifar10": "CIFAR-10", "nmnist": "N-MNIST"}
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
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return []
    found: dict[tuple[str, str], list[OpenedRun]] = {}
    for task in tasks:
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
            figure = losses(group, recorded if scale == "paper" else {})
            files.append(_save(figure, out / f"study-loss{suffix}.png"))
        else:
            files.append(
                _save(accuracies(group, _TITLES.get(claim, claim)), out / f"{claim}-accuracy{suffix}.png")
            )
    return files


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


def losses(runs: Sequence[OpenedRun], recorded: dict[str, np.ndarray]) -> Any:
    """Loss of each training batch, a panel a method, the original's in grey."""
    figure, panels = _figure(len(runs))
    for panel, run in zip(panels, runs, strict=True):
        config = run.config
        name = f"{config.method} {config.setting}"
        ours = np.concatenate([record["batch_losses"] for record in run.stored.records])
        if name in recorded:
            curve = recorded[name]
            if curve.ndim == 2:  # online: the steps of the burn-in change nothing and do not count
                curve = curve[:, config.burn_in or 0 :].mean(1)
            panel.plot(curve, color="0.6", linewidth=2, label="original")
        panel.plot(ours, color=_COLOURS[config.method], linewidth=0.8, label="here")
        panel.set(title=name, xlabel="batch", yscale="log")
        panel.legend(frameon=False)
    panels[0].set_ylabel("loss")
    return figure


def accuracies(runs: Sequence[OpenedRun], title: str) -> Any:
    """Test accuracy after every epoch, a panel an architecture."""
    archs = list(dict.fromkeys(run.config.arch for run in runs))
    figure, panels = _figure(len(archs))
    for panel, arch in zip(panels, archs, strict=True):
        for run in runs:
            if run.config.arch != arch:
                continue
            config = run.config
            panel.plot(
                [record["epoch"] for record in run.stored.records],
                [100 * record["test_accuracy"] for record in run.stored.records],
                color=_COLOURS[config.method],
                linestyle=_DASHES[config.setting],
                marker=".",
                label=f"{config.method} {config.setting}",
            )
        panel.set(title=f"{title}, {arch}", xlabel="epoch")
        panel.grid(axis="y", linewidth=0.5, color="0.9")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy, %")
    lines = {line.get_label(): line for panel in panels for line in panel.lines}
    figure.legend(lines.values(), lines.keys(), loc="outside right center", frameon=False)
    return figure


def _figure(columns: int) -> tuple[Any, list[Any]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * columns + 1.4, 3.0), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns, sharey=True)))


def _save(figure: Any, path: Path) -> Path:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, buffer.getvalue())
    return path
