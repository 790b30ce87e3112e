"""Which time constant of the synaptic current, with which learning rate: our own study, by which users may choose.

Each method and setting is trained with three learning rates for every time constant; the rate is the one with the
highest accuracy on the validation part, and the test accuracy is used only after that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reprokit.plots import colour, new_figure, save_figure, style

TAU = "tau"  # the part and its claim
TAUS = (None, 1e-3, 5e-3, 1e-2, 2e-2)  # s; None: no filter
PAIRS = (("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "online"))
RATES = {"bptt": (3e-3, 1e-3, 3e-4), "online": (1e-3, 3e-4, 1e-4)}
_DASHES = {"bptt": "-", "online": "--"}
Row = Mapping[str, Any]


def tau_name(tau: float | None) -> str:
    """Return ``none`` or the time constant in milliseconds."""
    return "none" if tau is None else f"{1000 * tau:g} ms"


def best_rates(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one line for each time constant, method and setting: the rate that is best on the validation part.

    Of equal accuracies on the validation part the larger rate is taken.

    Args:
        rows: Rows of the ledger; those of other parts are left out.

    Returns:
        Lines with ``tau_cur`` in s, ``method``, ``setting``, ``lr``, ``validation_accuracy``, ``test_accuracy`` (both
        of the last epoch, as shares) and ``rates``, the number of rates it was chosen from.
    """
    groups: dict[tuple[float, str, str], list[Row]] = {}
    for row in rows:
        if row["claim"] == TAU:
            groups.setdefault((row["tau_cur"] or 0.0, row["method"], row["setting"]), []).append(row)
    lines = []
    for (tau, method, setting), found in sorted(groups.items()):
        best = max(found, key=lambda row: (row["validation_accuracy"], row["config"]["lr"]))
        line = {"tau_cur": tau or None, "method": method, "setting": setting, "lr": best["config"]["lr"]}
        line |= {name: best[name] for name in ("validation_accuracy", "test_accuracy")}
        lines.append(line | {"rates": len(found)})
    return lines


def tau_lines(rows: Sequence[Row]) -> list[str]:
    """Return a Markdown table of `best_rates`: test accuracy and the rate, time constants across."""
    best = best_rates(rows)
    taus = list(dict.fromkeys(line["tau_cur"] for line in best))
    lines = [f"| tau_cur | {' | '.join(map(tau_name, taus))} |", "|---|" + "---|" * len(taus)]
    for method, setting in dict.fromkeys((line["method"], line["setting"]) for line in best):
        cells = {
            line["tau_cur"]: f"{100 * line['test_accuracy']:.1f} % (lr {line['lr']:g})"
            for line in best
            if (line["method"], line["setting"]) == (method, setting)
        }
        lines.append(f"| {method} {setting} | {' | '.join(cells.get(tau, '–') for tau in taus)} |")
    return lines


@style()
def plot_tau(rows: Sequence[Row], path: Path) -> list[Path]:
    """Draw test accuracy and chosen rate against the time constant, and write all rates to a file next to it.

    Args:
        rows: Rows of the ledger.
        path: The figure, without its suffix.

    Returns:
        The files; none without rows of this part.
    """
    best = best_rates(rows)
    if not best:
        return []
    taus = list(dict.fromkeys(line["tau_cur"] for line in best))
    figure, (accuracies, rates) = new_figure(1, 2, width="page", height=2.4)
    for method, setting in dict.fromkeys((line["method"], line["setting"]) for line in best):
        points = [line for line in best if (line["method"], line["setting"]) == (method, setting)]
        places = [taus.index(line["tau_cur"]) for line in points]
        look = {"marker": ".", "color": colour(method), "linestyle": _DASHES[setting]}
        accuracies.plot(
            places, [100 * line["test_accuracy"] for line in points], label=f"{method} {setting}", **look
        )
        rates.plot(places, [line["lr"] for line in points], **look)
    for panel in (accuracies, rates):
        panel.set_xticks(range(len(taus)), [tau_name(tau) for tau in taus])
        panel.set_xlabel("time constant of the current")
        panel.grid(axis="y", linewidth=0.5, color="0.9")
    accuracies.set_ylabel("test accuracy (%)")
    accuracies.legend(loc="lower left")
    tried = sorted({row["config"]["lr"] for row in rows if row["claim"] == TAU})
    rates.set(yscale="log", ylabel="learning rate chosen")
    rates.set_yticks(tried, [f"{rate:g}" for rate in tried])
    rates.minorticks_off()
    chosen = {(line["tau_cur"], line["method"], line["setting"], line["lr"]) for line in best}
    table = []
    for row in rows:
        if row["claim"] == TAU:
            key = (row["tau_cur"], row["method"], row["setting"], row["config"]["lr"])
            line = dict(zip(("tau_cur", "method", "setting", "lr"), key, strict=True))
            line |= {name: row[name] for name in ("validation_accuracy", "test_accuracy")}
            table.append(line | {"chosen": key in chosen})
    return save_figure(figure, path, table=table)
