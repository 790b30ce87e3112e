"""The figure of the study: accuracy against the number of spikes, one for each network with such a curve."""

from collections.abc import Sequence
from pathlib import Path

from reprokit.plots import save_figure
from reprokit.run.ledger import Row

from sbs.plots import spikes_curve
from sbs.reproduce.robustness import ROBUSTNESS, draw_robustness
from sbs.reproduce.spike_curves import draw_curves, is_variant, line_of


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Draw ``spikes-<network>-<scale>`` as .png, .pdf and .csv, with ``-seed<n>`` if there are several seeds.

    A longer training of the network has the name of its claim, without ``sbs-``.

    Args:
        rows: Rows of the ledger, of one study.
        folder: Folder of the figures.

    Returns:
        The files written.
    """
    written: list[Path] = []
    for scale in dict.fromkeys(row["scale"] for row in rows if row["claim"] == ROBUSTNESS):
        written += draw_robustness(
            [row for row in rows if row["scale"] == scale], folder / f"robustness-{scale}"
        )
    rows = [row for row in rows if row["claim"] != ROBUSTNESS]
    for scale in dict.fromkeys(row["scale"] for row in rows):
        names = [row["network"] for row in rows if row["scale"] == scale]
        for base in dict.fromkeys(names):
            found = [row for row in rows if row["scale"] == scale]
            written += draw_curves(found, base, folder / f"spike-curves-{base}-{scale}")
    curves: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        if not is_variant(row["network"]):
            curves.setdefault((line_of(row), row["scale"], row["seed"]), []).append(row)
    for (network, scale, seed), points in curves.items():
        if len(points) < 2:
            continue
        points.sort(key=lambda row: row["number_of_spikes"])
        counts = [row["number_of_spikes"] for row in points]
        title = f"{network}, {points[0]['dataset']}, {points[0]['test_images']} test images"
        seeds = {other for name, of, other in curves if (name, of) == (network, scale)}
        name = f"spikes-{network}-{scale}{f'-seed{seed}' if len(seeds) > 1 else ''}"
        figure = spikes_curve(counts, [row["test_accuracy"] for row in points], title)
        table = [{"spikes": row["number_of_spikes"], "accuracy": row["test_accuracy"]} for row in points]
        written += save_figure(figure, folder / name, table=table)
    return written
