"""What the paper leaves open, read in several ways: a run for each, and which gives which published column.

The paper's MNIST table leaves open the target of the BDFA feedback (the text: the label; the original program:
label and output), the rate and the output of the BFA feedback network, and whether FA and DFA start at zero, as in the
original program. Everything else is as in the table of the plan.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reprokit.plots import colour, new_figure, save_figure, style

from bdfa.config import TrainConfig
from bdfa.reproduce.groups import Group, parse_net
from bdfa.reproduce.results import planned_epochs

PART = "readings"
PUBLISHED = {  # test error, %: arXiv 1702.07097v4, MNIST
    "1x400": {"fa": 3.75, "dfa": 3.75, "bfa": 2.90, "bdfa": 3.24},
    "1x800": {"fa": 4.49, "dfa": 4.49, "bfa": 3.14, "bdfa": 3.43},
    "2x400": {"fa": 4.25, "dfa": 3.70, "bfa": 2.89, "bdfa": 3.28},
    "2x800": {"fa": 4.53, "dfa": 4.21, "bfa": 2.92, "bdfa": 3.40},
    "3x400": {"fa": 5.46, "dfa": 3.62, "bfa": 2.84, "bdfa": 3.33},
    "3x800": {"fa": 5.48, "dfa": 4.30, "bfa": 2.95, "bdfa": 3.37},
}
TOLERANCE = 0.5  # points
SLOW = 1e-5  # a tenth of the weights' rate, which is that of the table
SLOWER, SLOWEST = 1e-6, 1e-8
NARROW = 0.05  # 1/√400, where the output weights that V_1 stands for start; V_1 itself starts in ±1/√10
TABLE = {  # how the plan's table reads it
    "fa": "zero weights",
    "dfa": "zero weights",
    "bfa": "feedback rate 1e-4, identity",
    "bdfa": "target centred",
}


@dataclass(frozen=True)
class Reading:
    """One way to read the paper.

    Attributes:
        name: Name of the run in the ledger, after ``reading-``.
        rule: Rule whose published column it is compared with.
        words: What differs from the table, in words.
        changes: The options of it.
    """

    name: str
    rule: str
    words: str
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def claim(self) -> str:
        """Name of the experiment in the ledger."""
        return f"reading-{self.name}"


READINGS = (
    Reading("bdfa-onehot", "bdfa", "target the label", {"fb_target": "onehot"}),
    Reading("bdfa-code", "bdfa", "target of the program", {"fb_target": "code"}),
    Reading("bfa-slow", "bfa", "feedback rate 1e-5, identity", {"fb_lr": SLOW}),
    Reading("bfa-slower", "bfa", "feedback rate 1e-6, identity", {"fb_lr": SLOWER}),
    Reading("bfa-slowest", "bfa", "feedback rate 1e-8, identity", {"fb_lr": SLOWEST}),
    Reading("bfa-narrow", "bfa", "feedback rate 1e-4, starts in ±0.05", {"fb_scale": NARROW}),
    Reading(
        "bfa-narrow-slow", "bfa", "feedback rate 1e-5, starts in ±0.05", {"fb_lr": SLOW, "fb_scale": NARROW}
    ),
    Reading(
        "bfa-narrow-slower",
        "bfa",
        "feedback rate 1e-6, starts in ±0.05",
        {"fb_lr": SLOWER, "fb_scale": NARROW},
    ),
    Reading("bfa-sigmoid", "bfa", "feedback rate 1e-4, sigmoid", {"fb_output": "sigmoid"}),
    Reading(
        "bfa-sigmoid-slow", "bfa", "feedback rate 1e-5, sigmoid", {"fb_lr": SLOW, "fb_output": "sigmoid"}
    ),
    Reading("fa-uniform", "fa", "random weights", {"init": "uniform"}),
    Reading("dfa-uniform", "dfa", "random weights", {"init": "uniform"}),
)


def reading_groups(base: TrainConfig, nets: Sequence[str], seeds: Sequence[int], scale: str) -> list[Group]:
    """Return one group for each network, reading and seed, trained only if ``--only`` names them.

    Args:
        base: Options of the table.
        nets: Networks, depth x width.
        seeds: Seeds; all share the order of samples of the first, as in the table.
        scale: ``paper``, ``reduced``, ``smoke`` or ``own``.
    """
    return [
        Group(
            (
                replace(
                    base, hidden=parse_net(net), rule=reading.rule, seed=seed, order_seed=seeds[0],
                    **reading.changes,
                ),
            ),
            reading.claim, scale, extra=True, part=PART,
        )
        for net in nets
        for reading in READINGS
        for seed in seeds
    ]  # fmt: skip


def compared(rows: Iterable[Mapping[str, Any]], net: str) -> list[dict[str, Any]]:
    """Compare all readings, those of the table too, with the published columns.

    Rows of the table count if there are readings with the same data and number of epochs.

    Args:
        rows: Ledger rows of the readings and the table.
        net: Network whose rows count.

    Returns:
        One row for each reading and number of epochs: rule, reading, run, epochs, seeds, test error in %, and at the
        paper's scale the published error, the difference in points and whether it is within 0.5.
    """
    rows, names = [row for row in rows if row["net"] == net], {reading.claim: reading for reading in READINGS}
    alike = {(row["dataset"], planned_epochs(row)) for row in rows if row["claim"] in names}
    found: dict[tuple[str, str, str, int, str], list[float]] = {}
    for row in rows:
        reading = names.get(row["claim"])
        ours = row["claim"] == "table" and row["rule"] in TABLE
        if reading is None and not (ours and (row["dataset"], planned_epochs(row)) in alike):
            continue
        words = reading.words if reading else TABLE[row["rule"]]
        key = (row["rule"], words, row["claim"], planned_epochs(row), row["scale"])
        found.setdefault(key, []).append(100 * row["test_error"])
    lines = []
    for (rule, words, claim, epochs, scale), errors in found.items():
        error = statistics.mean(errors)
        line = {"rule": rule, "reading": words, "run": claim, "epochs": epochs, "scale": scale}
        line |= {"seeds": len(errors), "test_error": round(error, 4)}
        published = PUBLISHED.get(net, {}).get(rule) if scale == "paper" else None
        difference = None if published is None else round(error - published, 4)
        line |= {"published": published, "difference": difference}
        lines.append(line | {"within": None if difference is None else abs(difference) <= TOLERANCE})
    order = ["table", *names]
    return sorted(
        lines,
        key=lambda line: (list(TABLE).index(line["rule"]), order.index(line["run"]), line["epochs"]),
    )


def readings_table(rows: Iterable[Mapping[str, Any]], net: str) -> str:
    """Return `compared` as a Markdown table, the readings within 0.5 points in words at its end."""
    lines = compared(rows, net)
    text = ["| rule | reading | error, % | published | difference |", "|---|---|---|---|---|"]
    for line in lines:
        last = (
            ("–", "–")
            if line["within"] is None
            else (f"{line['published']:.2f}", f"{line['difference']:+.2f}")
        )
        error = f"{line['test_error']:.2f} ({line['seeds']}×{line['epochs']} ep.)"
        text.append(f"| {line['rule']} | {line['reading']} | {error} | {last[0]} | {last[1]} |")
    for rule in dict.fromkeys(line["rule"] for line in lines if line["within"] is not None):
        within = [line["reading"] for line in lines if line["rule"] == rule and line["within"]]
        text.append(f"\n{rule}: within {TOLERANCE} points: {'; '.join(within) or 'none of these'}")
    return "\n".join(text)


@style()
def plot_readings(rows: Iterable[Mapping[str, Any]], net: str, path: Path) -> list[Path]:
    """Draw the error of every reading next to the published one and its tolerance; draw nothing without readings.

    Args:
        rows: Ledger rows of the readings and the table.
        net: Network whose rows count.
        path: The figure, without its suffix.
    """
    lines = compared(rows, net)
    if all(line["run"] == "table" for line in lines):
        return []
    figure, axes = new_figure(width="page", height=0.6 + 0.25 * len(lines))
    axis = axes[0]
    for place, line in enumerate(reversed(lines)):
        axis.plot(line["test_error"], place, "o", color=colour(line["rule"]))
        if line["published"] is not None:
            low, high = line["published"] - TOLERANCE, line["published"] + TOLERANCE
            axis.plot(
                [low, high], [place, place], color=colour("published"), linewidth=4, alpha=0.5, zorder=0
            )
    words = [f"{line['rule']}: {line['reading']} ({line['epochs']} ep.)" for line in reversed(lines)]
    axis.set_yticks(range(len(lines)), words)
    axis.set(xlabel=f"test error, % (grey: published ± {TOLERANCE})")
    return save_figure(figure, path, table=lines)
