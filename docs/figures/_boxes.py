"""Small drawings of networks: boxes on a vertical line, and arrows between them."""


def column(axis, x, labels, *, width=0.5, height=0.12, gap=0.22, colours=None):
    """Draw boxes from the bottom up and return their centres."""
    centres = []
    for number, label in enumerate(labels):
        y = number * gap
        face = (colours or {}).get(label, "white")
        box = axis.text(
            x, y, label, ha="center", va="center",
            bbox={"boxstyle": "round,pad=0.35", "facecolor": face, "edgecolor": "0.3"},
        )  # fmt: skip
        del box
        centres.append((x, y))
    axis.set(xlim=(x - 1, x + 1), ylim=(-0.18, (len(labels) - 1) * gap + 0.2))
    axis.axis("off")
    del width, height
    return centres


def arrow(axis, start, end, colour, *, bend=0.0, style="-|>", line="-"):
    """Draw an arrow between two points."""
    axis.annotate(
        "", end, start,
        arrowprops={"arrowstyle": style, "color": colour, "linestyle": line, "linewidth": 1.4,
                    "connectionstyle": f"arc3,rad={bend}", "shrinkA": 11, "shrinkB": 11},
    )  # fmt: skip
