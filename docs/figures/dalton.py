"""Where each layer's error comes from in SurrGD, TFR and DALTON."""

import itertools

from _boxes import arrow, column
from reprokit.plots import colour, new_figure


def draw():
    """Return the figure."""
    figure, axes = new_figure(1, 3, width="page")
    figure.set_size_inches(4.8, 2.5)  # words stay large enough for a phone
    notes = {
        "surrgd": "back through all layers\nand all time-steps", "tfr": "each layer's own\nrandom readout, now",
        "dalton": "the next layer's weights\nas readout, now",
    }  # fmt: skip
    for axis, (rule, note) in zip(axes, notes.items(), strict=True):
        points = column(axis, 0, ["image", "layer 1", "layer 2", "classes"])
        for low, high in itertools.pairwise(points):
            arrow(axis, (low[0] - 0.16, low[1]), (high[0] - 0.16, high[1]), "0.55")
        if rule == "tfr":
            for x, y in points[1:3]:
                frame = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": colour(rule)}
                axis.text(x + 0.62, y, "Y", ha="center", va="center", color=colour(rule), bbox=frame)
                arrow(axis, (x + 0.58, y), (x + 0.1, y), colour(rule))
            arrow(axis, (0.16, points[3][1]), (0.16, points[2][1] + 0.02), "0.85")
        else:
            line = "-" if rule == "surrgd" else "--"
            for high, low in ((points[3], points[2]), (points[2], points[1])):
                arrow(axis, (high[0] + 0.18, high[1]), (low[0] + 0.18, low[1]), colour(rule), line=line)
        axis.set_title({"surrgd": "SurrGD", "tfr": "TFR", "dalton": "DALTON"}[rule], color=colour(rule))
        axis.text(0, -0.17, note, ha="center", va="top", fontsize=8)
    return figure
