"""The heartbeat study from its ledger: the table, and accuracy against noise and against the number of parameters."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprokit.plots import colour, new_figure, note, save_figure, style

from denram.reproduce.figures import NOISE_LEVELS, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURE = "heartbeat"
NETWORKS = ("delays", "no-delays", "recurrent")
TITLES = {
    "208": "within a patient (record 208)",
    "patients": "between patients",
    "ds1-ds2": "DS1 / DS2 as published",
    "toy": "generated ECG",
}
SHOWN = ("208", "patients", "toy")

Key = tuple[str, str, int, float]  # split, network, parameters, noise


def points(rows: Sequence[Mapping[str, Any]]) -> dict[Key, Point]:
    """Mean and standard deviation over seeds, percent, of each split, network, number of parameters and noise."""
    groups: dict[Key, dict[int, float]] = {}
    for row in rows:
        key = (row["split"], row["network"], int(row["n_parameters"]), round(float(row["noise_std"]), 6))
        groups.setdefault(key, {})[int(row["seed"])] = 100 * float(row["test_acc"])
    return {
        key: Point(
            statistics.mean(found.values()),
            statistics.stdev(found.values()) if len(found) > 1 else None,
            tuple(found),
        )
        for key, found in sorted(groups.items())
    }


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per point."""
    lines = ["split     | network   | parameters | noise | test accuracy [%], mean ± sd | seeds"]
    for (split, network, parameters, noise), point in points(rows).items():
        spread = f" ± {point.spread:.2f}" if point.spread is not None else ""
        lines.append(
            f"{split:<9} | {network:<9} | {parameters:<10} | {100 * noise:3.0f} % | "
            f"{point.mean:.2f}{spread:<22} | {len(point.seeds)}"
        )
    return [
        *lines,
        "Both classes count equally. This is our own study: the paper's set-up is not published with its code.",
    ]


@style()
def draw(rows: Sequence[Mapping[str, Any]], out: Path) -> list[Path]:
    """Draw each split: left accuracy against noise, right accuracy against parameters without noise.

    Returns:
        The files, ``out/heartbeat.png``, ``.svg`` and, with the points, ``.csv``.
    """
    found = points(rows)
    splits = [split for split in SHOWN if any(key[0] == split for key in found)]
    figure, panels = new_figure(max(1, len(splits)), 2, width="page", height=2.7 * max(1, len(splits)))
    for number, split in enumerate(splits):
        _against_noise(panels[2 * number], split, found)
        _against_parameters(panels[2 * number + 1], split, found)
    if splits:
        panels[0].legend(loc="lower left", fontsize=7)
        note(panels[1], "bars: 1 SD over seeds", corner="bottom")
    numbers = [
        {"split": s, "network": n, "parameters": p, "noise_std": e, "mean": point.mean, "sd": point.spread}
        for (s, n, p, e), point in found.items()
    ]
    png = save_figure(figure, out / f"{FIGURE}.png")
    return png + save_figure(figure, out / f"{FIGURE}.svg", table=numbers)


def _against_noise(axes: Axes, split: str, found: Mapping[Key, Point]) -> None:
    """Curves of the networks that were trained at more than one noise level."""
    for network in NETWORKS:
        sizes = sorted({key[2] for key in found if key[:2] == (split, network) and key[3] > 0})
        for size in sizes:
            curve = [(key[3], point) for key, point in found.items() if key[:3] == (split, network, size)]
            label = f"{network}, {size} parameters"
            _bars(
                axes,
                [100 * noise for noise, _ in curve],
                [point for _, point in curve],
                colour(network),
                label,
            )
    axes.set_xticks([100 * noise for noise in NOISE_LEVELS])
    axes.set_title(TITLES[split], fontsize=8)
    axes.set_xlabel("noise (% of max|W|)")
    axes.set_ylabel("test accuracy (%)")


def _against_parameters(axes: Axes, split: str, found: Mapping[Key, Point]) -> None:
    for network in NETWORKS:
        curve = [
            (key[2], point) for key, point in found.items() if key[:2] == (split, network) and key[3] == 0
        ]
        _bars(axes, [size for size, _ in curve], [point for _, point in curve], colour(network), network)
    every = sorted({key[2] for key in found if key[0] == split and key[3] == 0})
    sizes = [
        size
        for size, following in zip(every, [*every[1:], None], strict=True)
        if following is None or following > 1.15 * size
    ]
    axes.set_xscale("log")
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set_title("without noise", fontsize=8)
    axes.set_xlabel("parameters")


def _bars(axes: Axes, x: Sequence[float], shown: Sequence[Point], hue: str, label: str) -> None:
    if shown:
        known = all(point.spread is not None for point in shown)
        spread = [point.spread or 0.0 for point in shown] if known else None
        axes.errorbar(
            x, [point.mean for point in shown], yerr=spread, fmt="o-", capsize=3, color=hue, label=label
        )
