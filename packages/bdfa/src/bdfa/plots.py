"""Figures of runs: error curves, alignment angles, and the class images a BFA feedback network generates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from reprokit import UserError
from reprokit.plots import colour, new_figure, save_figure, style

from bdfa.training.runs import open_run

Record = Mapping[str, Any]
Curve = tuple[str, str, Sequence[Record]]  # label, rule, records of the epochs

MANY = 6  # more curves have their legend beside the axes


def draw_errors(axis: Any, curves: Sequence[Curve]) -> None:
    """Draw test (solid) and training (dotted) error in percent against epochs, one colour per rule.

    Each of several networks of one rule gets its own colour; once the style has no more, test errors are dashed.
    """
    from matplotlib import rcParams

    rules, colours = [rule for _, rule, _ in curves], len(rcParams["axes.prop_cycle"])
    for number, (label, rule, records) in enumerate(curves):
        epochs = [record["epoch"] for record in records]
        line = colour(rule) if len(set(rules)) == len(rules) else f"C{number % colours}"
        look = {"color": line, "marker": "." if len(epochs) < 30 else ""}
        dashes = "-" if number < colours else "--"
        axis.plot(epochs, [100 * r["test_error"] for r in records], dashes, label=label, **look)
        axis.plot(epochs, [100 * r["train_error"] for r in records], linestyle=":", **look)
    axis.set(xlabel="epoch", ylabel="error, % (dotted: training)", yscale="log")
    axis.xaxis.get_major_locator().set_params(integer=True)
    plain_ticks(axis)
    if len(curves) > MANY:
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1.02))
    else:
        axis.legend(loc="upper right")


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis of percentages with 1, 2, 5, 10 instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())


def errors_table(curves: Iterable[Curve]) -> list[dict[str, Any]]:
    """The numbers that `draw_errors` shows, one row per epoch; errors are fractions."""
    return [
        {"network": label, **{name: record[name] for name in ("epoch", "train_error", "test_error")}}
        for label, _, records in curves
        for record in records
    ]


def draw_angles(axis: Any, records: Sequence[Record], title: str) -> None:
    """Draw the angle between the rule's and the true weight gradient of each layer against steps."""
    for layer in dict.fromkeys(record["layer"] for record in records):
        rows = [record for record in records if record["layer"] == layer]
        axis.plot([r["step"] for r in rows], [r["gradient_angle"] for r in rows], label=layer)
    axis.axhline(90, color="grey", linewidth=0.7)
    axis.set(xlabel="step", title=title, ylim=(-2, 100), yticks=(0, 30, 60, 90))


def label_angles(axes: Sequence[Any]) -> None:
    """Say once, beside panels of :func:`draw_angles`, which line is which layer."""
    axes[0].set_ylabel("angle to gradient (°)")
    lines = {
        str(line.get_label()): line for axis in axes for line in axis.lines if line.get_label()[0] != "_"
    }
    axes[0].figure.legend(lines.values(), lines.keys(), loc="outside right center")


@style()
def plot_run(path: Path, out: Path | None = None, kind: str = "png") -> list[Path]:
    """Draw ``errors`` and, where angles were measured, ``angles`` of a run, with the numbers next to them as .csv.

    Args:
        path: Run directory.
        out: Folder of the figures; none: the run directory.
        kind: File format, png, pdf or svg.

    Raises:
        UserError: When the directory holds no run, a damaged one, or no finished epoch yet.
    """
    run = open_run(path)
    epochs, angles = run.records("epoch"), run.records("alignment")
    if not epochs:
        raise UserError(f"{path} has no finished epoch to draw yet; train on.")
    folder = out or path
    curves = [
        (f"{config.rule}, seed {config.seed}", config.rule, [r for r in epochs if r["network"] == index])
        for index, config in enumerate(run.configs)
    ]
    figure, axes = new_figure()
    draw_errors(axes[0], curves)
    files = save_figure(figure, folder / f"errors.{kind}", table=errors_table(curves))
    if angles:
        figure, axes = new_figure()
        draw_angles(axes[0], angles, run.configs[0].rule)
        label_angles(axes)
        files += save_figure(figure, folder / f"angles.{kind}", table=run.angles())
    return files


@style()
def plot_generated(path: Path, file: Path, data_dir: Path | None = None) -> list[Path]:
    """Draw the images a BFA feedback network makes of each class (paper, figure 6).

    Args:
        path: Run directory.
        file: Figure to write, see `save_figure`.
        data_dir: Folder of downloaded data sets; none: that of the run.

    Raises:
        UserError: When the run's rule is not bfa, or the run or its data cannot be read.
    """
    run = open_run(path)
    rule = run.configs[0].rule
    if rule != "bfa":
        raise UserError(f"{path} was trained with rule {rule!r}; only bfa generates images.")
    model, data = run.load(data_dir)
    with torch.no_grad():
        images = model.generate(torch.arange(data.classes))
    shown = data.pipeline.preprocessing.invert(images).cpu().numpy()
    figure, axes = new_figure(1, data.classes, width="page", height=1.0)
    for axis, image, name in zip(axes, shown, data.class_names, strict=False):
        span = image.max() - image.min()
        scaled = (image - image.min()) / (span if span > 0 else 1.0)
        axis.imshow(scaled[0] if len(scaled) != 3 else scaled.transpose(1, 2, 0), cmap="gray")
        axis.set_title(name)
    for axis in axes:
        axis.set_axis_off()
    return save_figure(figure, file)
