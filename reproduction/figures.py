"""Draw every figure of reproduction/ again, from committed ledgers and tables alone.

python reproduction/figures.py [WORD ...]     # the figures whose path contains a word; none: all

`X reproduce` draws the same figures right after its runs, some of them from run directories; here they come from the
`.csv` that is written next to each, so a change of style needs no training. Two figures are drawn only here: the
table of feedback alignment against the published one, and the accuracies of DALTON's rules.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from reprokit import load_claims
from reprokit.cli.running import run as guarded_run
from reprokit.plots import colour, new_figure, note, save_figure, style
from reprokit.run.study import current
from reprokit.terminal import say

ROOT = Path(__file__).resolve().parent
Row = Mapping[str, Any]
RULES = ("bp", "fa", "dfa", "bfa", "bdfa")
METHODS = (
    ("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "online"),
)  # fmt: skip


def table_of(file: Path) -> list[dict[str, str]]:
    """The rows of a .csv file, as text."""
    csv.field_size_limit(10_000_000)
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def newest(rows: Iterable[Row], *keys: str) -> list[Row]:
    """Of several rows with the same values of `keys`, the last one."""
    return list({tuple(row[key] for key in keys): row for row in rows}.values())


def bdfa_errors(name: str, title: str) -> list[Path]:
    """Error curves of an experiment, from the table next to the figure."""
    from bdfa.reproduce.figures import plot_errors

    path = ROOT / "bdfa" / f"errors-{name}"
    lines: dict[str, list[Row]] = {}
    for row in table_of(path.with_suffix(".csv")):
        numbers = {key: float(row[key]) for key in ("train_error", "test_error")}
        lines.setdefault(row["network"], []).append({"epoch": int(row["epoch"]), **numbers})
    curves = [
        (label, label.removeprefix("reading-").split("-")[0], records) for label, records in lines.items()
    ]
    return plot_errors(curves, path, title, "mnist")


def bdfa_readings() -> list[Path]:
    """Errors of what the table leaves open, read in several ways, beside the published ones."""
    from bdfa.reproduce.readings import plot_readings
    from bdfa.reproduce.results import open_ledger

    rows = current(open_ledger(ROOT / "bdfa" / "results.csv").rows())
    return plot_readings(rows, "2x400", ROOT / "bdfa" / "readings")


def bdfa_angles() -> list[Path]:
    """Angles of the study, from the table next to the figure."""
    from bdfa.reproduce.figures import plot_angles

    rules: dict[str, list[Row]] = {}
    for row in table_of(ROOT / "bdfa" / "angles.csv"):
        numbers = {"step": int(row["step"]), "gradient_angle": float(row["gradient_angle"])}
        rules.setdefault(row["rule"], []).append({**row, **numbers})
    return plot_angles(list(rules.items()), ROOT / "bdfa" / "angles")


def _draw_errors(
    axes: Axes, net: str, epochs: int, rows: Sequence[Row], published: Mapping[tuple[str, str], float]
) -> list[dict[str, Any]]:
    """Draw the errors of a network beside the published ones; returns them as a table."""
    table, most = [], 0
    for place, rule in enumerate(RULES):
        errors = [100 * float(row["test_error"]) for row in rows if row["rule"] == rule]
        most = max(most, len(errors))
        axes.plot(
            [place - 0.3, place + 0.3], 2 * [published[net, rule]], color=colour("published"), linewidth=2.5
        )
        axes.plot([place] * len(errors), errors, "o", color=colour(rule), markersize=4)
        line = {"net": net, "epochs": epochs, "rule": rule, "published": published[net, rule]}
        table += [{**line, "test_error": round(error, 4)} for error in errors]
    scale = "" if epochs == 300 else " (reduced)"
    axes.set(title=f"{net}, {epochs} epochs{scale}", xticks=range(len(RULES)), xticklabels=RULES)
    note(axes, f"mnist; points: {most} seed{'s' if most > 1 else ''}")
    axes.grid(axis="y", linewidth=0.5, color="0.9")
    return table


@style()
def bdfa_table() -> list[Path]:
    """Test errors of the paper's protocol against its table: a row of panels for each number of epochs."""
    published = {
        (claim.where["net"], claim.where["rule"]): claim.value
        for claim in load_claims(ROOT / "claims.toml")
        if claim.package == "bdfa" and claim.where.get("claim") == "table" and claim.dataset == "mnist"
    }
    rows = [
        {**row, "planned": json.loads(row["config"])["epochs"]}
        for row in table_of(ROOT / "bdfa" / "results.csv")
        if (row["claim"], row["dataset"]) == ("table", "mnist")
    ]
    groups: dict[int, dict[str, list[Row]]] = {}
    for row in newest(sorted(rows, key=lambda row: -row["planned"]), "net", "rule", "planned", "seed"):
        groups.setdefault(row["planned"], {}).setdefault(row["net"], []).append(row)
    columns = max(map(len, groups.values()))
    figure, panels = new_figure(len(groups), columns, width="page", height=2.2 * len(groups), sharey="row")
    table = []
    for line, (epochs, nets) in enumerate(groups.items()):
        here = panels[line * columns : (line + 1) * columns]
        for axes, net in zip(here, sorted(nets), strict=False):
            table += _draw_errors(axes, net, epochs, nets[net], published)
        here[0].set(ylabel="test error (%)", ylim=(0, None))
        for axes in here[len(nets) :]:
            axes.set_axis_off()
    corner = panels[-1]
    corner.plot([], [], color=colour("published"), linewidth=2.5, label="published, 300 epochs")
    corner.plot([], [], "o", color="0.2", markersize=4, label="ours")
    corner.legend(loc="center")
    return save_figure(figure, ROOT / "bdfa" / "errors-table", table=table)


def dalton_losses() -> list[Path]:
    """Losses of the study next to the recorded ones, from the table next to the figure."""
    from dalton.reproduce.figures import losses

    path = ROOT / "dalton" / "study-loss"
    table = table_of(path.with_suffix(".csv"))
    return save_figure(losses(table), path, table=table)


@style()
def dalton_accuracies() -> list[Path]:
    """Test accuracies after ten epochs, a panel for each data set and architecture, one colour a rule."""
    rows = [
        row
        for row in table_of(ROOT / "dalton" / "results.csv")
        if row["claim"] in ("mnist", "cifar10") and int(row["epochs"]) == 10
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in newest(rows, "dataset", "arch", "method", "setting", "seed"):
        groups.setdefault((row["dataset"], row["arch"]), []).append(row)
    groups = dict(sorted(groups.items(), key=lambda item: (item[0][0] != "mnist", item[0])))
    figure, panels = new_figure(1, len(groups), width="page", height=2.2)
    table = []
    for axes, ((dataset, arch), found) in zip(panels, groups.items(), strict=True):
        seeds = sorted(Counter((row["method"], row["setting"]) for row in found).values())
        for row in found:
            share, count = float(row["selected_test_accuracy"]), int(row["test_samples"])
            error = 100 * np.sqrt(share * (1 - share) / count)
            place = METHODS.index((row["method"], row["setting"]))
            face = colour(row["method"]) if row["setting"] == "bptt" else "white"
            axes.errorbar(
                place, 100 * share, yerr=error, fmt="o", color=colour(row["method"]), markerfacecolor=face,
                markersize=4, capsize=2,
            )  # fmt: skip
            names = ("dataset", "scale", "arch", "method", "setting", "seed", "test_samples")
            table.append(
                {key: row[key] for key in names} | {"test_accuracy": share, "standard_error": error / 100}
            )
        reduced = ", reduced" if found[0]["scale"] == "reduced" else ""
        axes.set_title(f"{dataset}{reduced}, {arch}")
        axes.set_xticks(
            range(len(METHODS)), [f"{method}\n{setting}" for method, setting in METHODS], fontsize=6
        )
        axes.set_xlim(-0.5, len(METHODS) - 0.5)
        axes.margins(y=0.25)
        axes.grid(axis="y", linewidth=0.5, color="0.9")
        span = f"{seeds[0]} to {seeds[-1]}" if seeds[0] < seeds[-1] else f"{seeds[0]}"
        note(axes, f"{span} seed{'s' if seeds[-1] > 1 else ''}; bars: standard", "error of the test images")
    panels[0].set_ylabel("test accuracy (%)")
    return save_figure(figure, ROOT / "dalton" / "accuracy", table=table)


def dalton_tau() -> list[Path]:
    """Accuracy and learning rate against the time constant of the synaptic current."""
    from dalton.reproduce.plan import METRICS
    from dalton.reproduce.tau import plot_tau
    from reprokit import Ledger

    rows = Ledger.for_results(ROOT / "dalton" / "results.csv", METRICS).rows()
    return plot_tau(rows, ROOT / "dalton" / "tau")


@style()
def dalton_memory() -> list[Path]:
    """Peak memory of a training step against time-steps: one colour a rule, one dash a setting."""
    rows = newest(table_of(ROOT / "dalton" / "memory.csv"), "arch", "method", "setting", "engine", "steps")
    dashes = {"bptt": "-", "online": "--", "rtrl": ":"}
    figure, (axes,) = new_figure(width="page", height=3.0)
    for method, setting, engine in dict.fromkeys((r["method"], r["setting"], r["engine"]) for r in rows):
        line = [r for r in rows if (r["method"], r["setting"], r["engine"]) == (method, setting, engine)]
        name = f"{method} {setting}" + (", autograd" if engine == "autograd" else "")
        axes.plot(
            [int(r["steps"]) for r in line],
            [float(r["peak_mb"]) for r in line],
            color=colour(method),
            linestyle=dashes[setting],
            marker="s" if engine == "autograd" else "o",
            label=name,
        )
    steps = sorted({int(row["steps"]) for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="time-steps", ylim=(1, None))
    axes.set_ylabel("peak memory of a training step (MB)")
    axes.set_xticks(steps, [str(n) for n in steps])
    axes.minorticks_off()
    axes.grid(axis="y", linewidth=0.5, color="0.9")
    axes.set_title(f"{rows[0]['arch']}, images of MNIST's size, batch 50, one thread")
    counts = sorted({int(row["processes"]) for row in rows if row["engine"] != "autograd"})
    note(axes, f"medians of {', '.join(map(str, counts))} processes; autograd: one", corner="bottom")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    table = [
        {key: row[key] for key in ("arch", "method", "setting", "engine", "steps", "peak_mb")} for row in rows
    ]
    return save_figure(figure, ROOT / "dalton" / "memory-against-steps", table=table)


def denram_fig4d() -> list[Path]:
    """Fig. 4d of DenRAM."""
    from denram.reproduce.figures import draw, points, read_expected

    rows = table_of(ROOT / "fig4d" / "results.csv")
    expected = read_expected(ROOT / "fig4d" / "expected.csv")
    return draw(expected, points(rows), ROOT / "fig4d", rows[-1]["dataset"], "paper", "faithful")


def denram_heartbeat() -> list[Path]:
    """The study of heartbeats."""
    from denram.reproduce.heartbeat_figure import draw

    return draw(table_of(ROOT / "heartbeat" / "results.csv"), ROOT / "heartbeat")


def denram_delays() -> list[Path]:
    """The study of delays that learn."""
    from denram.reproduce.delays import draw

    return draw(table_of(ROOT / "delays" / "results.csv"), ROOT / "delays")


def nalsm_weight() -> list[Path]:
    """Branching factor and accuracy against the astrocyte's weight, on MNIST and on a part of N-MNIST."""
    from nalsm.reproduce.figures import draw
    from nalsm.reproduce.plan import COLUMNS
    from reprokit import Ledger

    return draw(Ledger.for_results(ROOT / "nalsm" / "results.csv", COLUMNS).rows(), ROOT / "nalsm")


def sbs_spikes() -> list[Path]:
    """Accuracy against the number of spikes."""
    from reprokit import Ledger
    from sbs.reproduce.figures import draw
    from sbs.reproduce.plan import COLUMNS
    from sbs.reproduce.robustness import ROBUSTNESS

    rows = Ledger.for_results(ROOT / "sbs" / "results.csv", COLUMNS).rows()
    rows = [row for row in rows if row["claim"] != ROBUSTNESS]  # that figure is the next one
    keys = ("network", "profile", "updates", "loss", "scale", "seed", "number_of_spikes")
    return draw(newest(rows, *keys), ROOT / "sbs")


def sbs_robustness() -> list[Path]:
    """Accuracy under noise and with lost spikes, beside a plain network."""
    from reprokit import Ledger
    from sbs.reproduce.plan import COLUMNS
    from sbs.reproduce.robustness import draw_robustness

    rows = Ledger.for_results(ROOT / "sbs" / "results.csv", COLUMNS).rows()
    return draw_robustness(rows, ROOT / "sbs" / "robustness-reduced")


FIGURES: dict[str, Callable[[], list[Path]]] = {
    "bdfa/errors-study-2x800": partial(bdfa_errors, "study-2x800", "study: 2x800, 3 epochs"),
    "bdfa/errors-beyond-residual": partial(bdfa_errors, "beyond-residual", "residual network"),
    "bdfa/errors-beyond-small_conv": partial(bdfa_errors, "beyond-small_conv", "small convolutional network"),
    "bdfa/errors-readings-2x400": partial(bdfa_errors, "readings-2x400", "readings-2x400"),
    "bdfa/readings": bdfa_readings,
    "bdfa/errors-table": bdfa_table,
    "bdfa/angles": bdfa_angles,
    "dalton/study-loss": dalton_losses,
    "dalton/accuracy": dalton_accuracies,
    "dalton/memory-against-steps": dalton_memory,
    "dalton/tau": dalton_tau,
    "fig4d/fig4d_D1andD2": denram_fig4d,
    "heartbeat/heartbeat": denram_heartbeat,
    "delays/delays": denram_delays,
    "nalsm/astrocyte_weight": nalsm_weight,
    "sbs/robustness-reduced": sbs_robustness,
    "sbs/spikes-mnist-v2-paper": sbs_spikes,
}


def main(words: Sequence[str]) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(
        description="Draw the figures of reproduction/ again, from committed tables."
    )
    parser.add_argument("words", nargs="*", help="figures whose path contains one of these; none: all")
    given = parser.parse_args(words).words
    for name, draw in FIGURES.items():
        if not given or any(word in name for word in given):
            for file in draw():
                say(str(file.relative_to(ROOT.parent)))
    return 0


if __name__ == "__main__":
    sys.exit(guarded_run(lambda: main(sys.argv[1:])))
