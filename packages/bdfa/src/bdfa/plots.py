"""Figures of runs: error curves, alignment angles, and the class images a BFA feedback network generates."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from reprokit import UserError
from reprokit.files import write_file

from bdfa.training.runs import load_run, read_records, run_configs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Record = Mapping[str, Any]


def new_figure(columns: int, width: float = 5.0) -> tuple[Figure, list[Any]]:
    """Return a figure with a row of axes.

    Raises:
        UserError: When matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure as NewFigure
    except ImportError as error:
        raise UserError("figures need matplotlib; install it with pip install matplotlib.") from error
    figure = NewFigure(figsize=(width * columns, 3.6), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def save_figure(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG in one piece."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return write_file(path, buffer.getvalue())


def draw_errors(axis: Any, runs: Iterable[tuple[str, Sequence[Record]]]) -> None:
    """Draw test (solid) and training (dotted) error in percent against epochs."""
    for number, (label, records) in enumerate(runs):
        epochs = [record["epoch"] for record in records]
        style = {"color": f"C{number % 10}", "marker": "." if len(epochs) < 30 else ""}
        axis.plot(epochs, [100 * r["test_error"] for r in records], label=label, **style)
        axis.plot(epochs, [100 * r["train_error"] for r in records], linestyle=":", **style)
    axis.set(xlabel="epoch", ylabel="error, % (dotted: training)", yscale="log")
    axis.legend(fontsize=7)


def draw_angles(axis: Any, records: Sequence[Record], title: str) -> None:
    """Draw the angle between the rule's and the true weight gradient of each layer against steps."""
    for layer in dict.fromkeys(record["layer"] for record in records):
        rows = [record for record in records if record["layer"] == layer]
        axis.plot([r["step"] for r in rows], [r["gradient_angle"] for r in rows], label=layer)
    axis.axhline(90, color="grey", linewidth=0.7)
    axis.set(xlabel="step", ylabel="angle to the true gradient, °", title=title, ylim=(-2, 100))
    axis.legend(fontsize=7)


def plot_run(run: Path) -> list[Path]:
    """Draw ``errors.png`` and, where angles were measured, ``angles.png`` of a run directory.

    Raises:
        UserError: When the directory holds no run, or no finished epoch yet.
    """
    configs, epochs = run_configs(run), read_records(run, "epoch")
    if not epochs:
        raise UserError(f"{run} has no finished epoch to draw yet.")
    figure, axes = new_figure(1)
    names = [f"{c.rule}, seed {c.seed}" for c in configs]
    draw_errors(axes[0], [(n, [r for r in epochs if r["network"] == i]) for i, n in enumerate(names)])
    paths = [save_figure(figure, run / "errors.png")]
    angles = read_records(run, "alignment")
    if angles:
        figure, axes = new_figure(1)
        draw_angles(axes[0], angles, configs[0].rule)
        paths.append(save_figure(figure, run / "angles.png"))
    return paths


def plot_generated(run: Path, path: Path, data_dir: Path | None = None) -> Path:
    """Draw the images a BFA feedback network makes of each class (paper, figure 6).

    Args:
        run: Run directory.
        path: PNG file to write.
        data_dir: Folder of downloaded data sets, as in training.

    Raises:
        UserError: When the run's rule is not bfa.
    """
    config, model, data = load_run(run, data_dir)
    if config.rule != "bfa":
        raise UserError(f"{run} was trained with rule {config.rule!r}; only bfa generates images.")
    with torch.no_grad():
        images = model.generate(torch.arange(data.classes))
    shown = data.pipeline.preprocessing.invert(images).cpu().numpy()
    figure, axes = new_figure(data.classes, width=0.9)
    figure.set_size_inches(0.9 * data.classes, 1.2)
    for axis, image, name in zip(axes, shown, data.class_names, strict=False):
        span = image.max() - image.min()
        scaled = (image - image.min()) / (span if span > 0 else 1.0)
        axis.imshow(scaled[0] if len(scaled) != 3 else scaled.transpose(1, 2, 0), cmap="gray")
        axis.set_title(name, fontsize=7)
        axis.set_axis_off()
    return save_figure(figure, path)
