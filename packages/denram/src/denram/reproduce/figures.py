"""Figure 4d from the ledger: the points, the table of expected and measured results, and the figure."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprokit import UserError
from reprokit.plots import colour, new_figure, note, save_figure, style
from reprokit.run.study import Scale

from denram.config import NETWORKS
from denram.spec import Profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOISE_LEVELS = (0.0, 0.05, 0.1, 0.15, 0.2)  # of the figure
TOLERANCE = 1.5  # marker size relative to the curve
FIGURE = "fig4d_D1andD2"
LABELS = {"D1": "D1, 700 channels", "D2": "D2, 256 channels"}
LINES: dict[str, dict[str, Any]] = {  # of the two networks, ours and the published ones
    "D1": {"linestyle": "-", "marker": "o"},
    "D2": {"linestyle": "--", "marker": "s", "markerfacecolor": "white"},
}
ASIDE = 0.25  # % of noise, by which curves are moved so that their bars do not hide one another

Key = tuple[str, float]  # network, noise level


@dataclass(frozen=True)
class Point:
    """One point of the curve.

    Args:
        mean: Mean test accuracy over seeds, percent.
        spread: Standard deviation over seeds (ddof 1), percent; None for one seed.
        seeds: The seeds.
    """

    mean: float
    spread: float | None
    seeds: tuple[int, ...]


def points(rows: Sequence[Mapping[str, Any]]) -> dict[Key, Point]:
    """Group rows by network (identified by ``n_in``) and noise level."""
    names = {sizes["n_in"]: name for name, sizes in NETWORKS.items()}
    groups: dict[Key, dict[int, float]] = {}
    for row in rows:
        if int(row["n_in"]) in names:
            key = (names[int(row["n_in"])], round(float(row["noise_std"]), 6))
            groups.setdefault(key, {})[int(row["seed"])] = 100 * float(row["test_acc"])
    return {
        key: Point(
            statistics.mean(by_seed.values()),
            statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None,
            tuple(by_seed),
        )
        for key, by_seed in groups.items()
    }


def read_expected(file: Path) -> dict[Key, Point]:
    """The published points: a CSV file with n_in, noise_std, seed, test_acc (as a share) for each run.

    Raises:
        UserError: If the file lacks a column or contains something that is not a number.
    """
    try:
        with file.open(newline="") as stream:
            return points(list(csv.DictReader(stream)))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{file} is not a table of expected results ({error}); restore it from the repository."
        ) from error


def verdict(expected: Point | None, measured: Point | None, judged: bool) -> str:
    """Ok (within 1.5 points), near (within 3), fail; or why there is no verdict."""
    if measured is None:
        return "not run"
    if not judged or expected is None:
        return "not judged"
    if set(measured.seeds) != set(expected.seeds):
        return "seeds missing"
    difference = abs(measured.mean - expected.mean)
    return "ok" if difference <= TOLERANCE else "near" if difference <= 2 * TOLERANCE else "fail"


def table(
    expected: Mapping[Key, Point],
    measured: Mapping[Key, Point],
    dataset: str,
    scale: Scale,
    profile: Profile,
    levels: Sequence[float] = NOISE_LEVELS,
) -> tuple[list[str], list[str]]:
    """Expected and measured results, one line per point.

    Only the published protocol on the published data is judged: SHD, scale ``paper``, profile ``faithful``.

    Returns:
        The lines to print, and the verdict of every point.
    """
    judged = (dataset, scale, profile) == ("shd", "paper", "faithful")
    lines = [
        f"Fig. 4d on {dataset}, scale {scale}, profile {profile}: test accuracy [%], mean ± sd over seeds",
        "network | noise | published (SHD) | measured       | seeds | difference | verdict",
    ]
    verdicts = []
    for name in NETWORKS:
        for noise in levels:
            published, ours = expected.get((name, noise)), measured.get((name, noise))
            verdicts.append(verdict(published, ours, judged))
            gap = f"{ours.mean - published.mean:+.2f}" if judged and ours and published else "-"
            lines.append(
                f"{name:<7} | {100 * noise:3.0f} % | {_cell(published):<15} | {_cell(ours):<14} | "
                f"{len(ours.seeds) if ours else 0:<5} | {gap:<10} | {verdicts[-1]}"
            )
    if not judged:
        lines.append(
            "The published numbers hold for SHD, scale paper, profile faithful: "
            "these results are not compared with them."
        )
    return lines, verdicts


@style()
def draw(
    expected: Mapping[Key, Point],
    measured: Mapping[Key, Point],
    out: Path,
    dataset: str,
    scale: Scale,
    profile: Profile,
) -> list[Path]:
    """Draw both networks with the published curves behind ours, as PNG, PDF and SVG; the axis covers the data.

    Returns:
        The files, ``out/fig4d_D1andD2.png``, ``.pdf``, ``.svg`` and, with the points, ``.csv``.
    """
    figure, (axes,) = new_figure(height=2.9)
    for name, aside in (("D1", -ASIDE), ("D2", ASIDE)):
        _curve(
            axes, name, expected, aside, color=colour("published"), label=f"{name} published (SHD)", zorder=1
        )
        _curve(axes, name, measured, aside, color=colour("denram"), label=LABELS[name], zorder=2)
    axes.set(xlabel="noise on the weights (% of the largest)", ylabel="test accuracy (%)")
    axes.set_xticks([100 * noise for noise in NOISE_LEVELS])
    axes.margins(y=0.08)
    axes.grid(axis="y", linewidth=0.5, color="0.9")
    axes.set_axisbelow(True)
    axes.legend(loc="lower left")
    ours = f"ours: {dataset}, scale {scale}, profile {profile}"
    published = (dataset, scale, profile) == ("shd", "paper", "faithful")
    note(axes, "" if published else ours, "bars: 1 SD over seeds")
    shown = {"published": expected, "measured": measured}
    numbers = [
        {"curve": curve, "network": name, "noise_std": noise, "mean": point.mean, "sd": point.spread}
        for curve, found in shown.items()
        for (name, noise), point in found.items()
    ]
    files = [path for kind in ("png", "pdf") for path in save_figure(figure, out / f"{FIGURE}.{kind}")]
    return files + save_figure(figure, out / f"{FIGURE}.svg", table=numbers)


def _curve(axes: Axes, name: str, found: Mapping[Key, Point], aside: float, **style: Any) -> None:
    levels = [noise for noise in NOISE_LEVELS if (name, noise) in found]
    if levels:
        chosen = [found[name, noise] for noise in levels]
        axes.errorbar(
            [100 * noise + aside for noise in levels],
            [point.mean for point in chosen],
            yerr=[point.spread or 0.0 for point in chosen],
            capsize=2,
            elinewidth=0.8,
            **LINES[name],
            **style,
        )


def _cell(point: Point | None) -> str:
    if point is None:
        return "-"
    return f"{point.mean:.2f}" + (f" ± {point.spread:.2f}" if point.spread is not None else "")
