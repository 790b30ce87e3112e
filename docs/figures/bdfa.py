"""Where the error travels in BP, FA, DFA and BFA."""

import itertools

from _boxes import arrow, column
from reprokit.plots import colour, new_figure


def draw():
    """Return the figure."""
    figure, axes = new_figure(1, 5, width="page")
    figure.set_size_inches(5.6, 2.4)  # words stay large enough for a phone
    notes = {
        "bp": "transposed weights", "fa": "random matrices", "dfa": "straight from\nthe output",
        "bfa": "through a network\nthat generates inputs", "bdfa": "straight, by matrices\nthat learn",
    }  # fmt: skip
    for axis, (rule, note) in zip(axes, notes.items(), strict=True):
        points = column(axis, 0, ["x", "$h_1$", "$h_2$", "o"])
        for low, high in itertools.pairwise(points):
            arrow(axis, (low[0] - 0.12, low[1]), (high[0] - 0.12, high[1]), "0.55")
        shift = [(x + 0.14, y) for x, y in points]
        line = "--" if rule in ("fa", "dfa") else "-"
        if rule in ("bp", "fa", "bfa"):
            arrow(axis, shift[3], shift[2], colour(rule), line=line)
            arrow(axis, shift[2], shift[1], colour(rule), line=line)
        else:
            arrow(axis, shift[3], shift[2], colour(rule), bend=-0.5, line=line)
            arrow(axis, shift[3], shift[1], colour(rule), bend=-0.7, line=line)
        axis.set_title(rule.upper(), color=colour(rule))
        axis.text(0, -0.17, note, ha="center", va="top", fontsize=7)
    return figure
