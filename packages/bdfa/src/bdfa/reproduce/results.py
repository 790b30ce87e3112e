"""Ledger rows of finished runs, and the paper-style table made from them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit import DataIdentity, Ledger, run_id, standard_row

from bdfa.config import RULES, TrainConfig, net_name

METRICS: dict[str, type] = {
    "rule": str,
    "net": str,
    "optimiser": str,
    "lr": float,
    "batch_size": int,
    "epochs": int,
    "train_error": float,
    "test_error": float,
    "best_test_error": float,
    "gap_to_bp": float,
    "engine": str,
}


def open_ledger(path: Path) -> Ledger:
    """Open the results ledger of this package."""
    return Ledger.for_results(path, METRICS)


def ledger_row(
    config: TrainConfig,
    summary: Mapping[str, Any],
    *,
    claim: str,
    scale: str,
    data: DataIdentity | None = None,
) -> dict[str, Any]:
    """Ledger row of one network of a finished run, ``gap_to_bp`` still empty.

    Args:
        config: Its configuration.
        summary: Its entry in the run's summary.
        claim: Experiment it belongs to.
        scale: ``paper``, ``reduced`` or ``smoke``.
        data: The run's record of its data set; without it, no row counts as the paper's scale.
    """
    row = standard_row(
        config.content(), package="bdfa", claim=claim, dataset=summary["dataset"], scale=scale,
        seed=config.seed, seconds=summary["seconds"], threads=summary["threads"], device=summary["device"],
        data=data,
    )  # fmt: skip
    return row | {
        "rule": config.rule,
        "net": net_name(config),
        "optimiser": config.optim,
        "lr": config.lr,
        "batch_size": config.batch_size,
        "epochs": summary["epochs"],
        "train_error": summary["train_error"],
        "test_error": summary["test_error"],
        "best_test_error": summary["best_test_error"],
        "gap_to_bp": None,
        "engine": summary["engine"],
    }


def missing(configs: Iterable[TrainConfig], ledger: Ledger) -> list[TrainConfig]:
    """Configurations without a row."""
    return [config for config in configs if not ledger.has(run_id(config.content()))]


def with_seeds(
    config: TrainConfig, rules: Sequence[str], seeds: Sequence[int]
) -> dict[str, list[TrainConfig]]:
    """One group of configurations per rule; the seeds of a group share their batches.

    The sample order is that of the first seed, so that the seeds of a rule can be trained as one batched program;
    weights and feedback differ.
    """
    order = seeds[0]
    return {
        rule: [replace(config, rule=rule, seed=seed, order_seed=order) for seed in seeds]  # type: ignore[arg-type]
        for rule in rules
    }


def planned_epochs(row: Mapping[str, Any]) -> int:
    """Epochs a row's run was to have; one whose training error reaches zero ends before (`epochs`)."""
    return row["config"]["epochs"]


def error_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Markdown table of test errors in percent, networks down and rules across: mean ± deviation (runs, epochs).

    Args:
        rows: Ledger rows.
    """
    cells: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (f"{row['dataset']}, {row['optimiser']} {row['lr']:g}", row["net"], row["rule"])
        cells.setdefault(key, []).append(row)
    given = dict.fromkeys(key[2] for key in cells)
    rules = [*(rule for rule in RULES if rule in given), *(rule for rule in given if rule not in RULES)]
    lines = ["| data, optimiser | net | " + " | ".join(rules) + " |", "|---|---|" + "---|" * len(rules)]
    for data, net in dict.fromkeys(key[:2] for key in cells):
        found = [_cell(cells.get((data, net, rule), [])) for rule in rules]
        lines.append(f"| {data} | {net} | " + " | ".join(found) + " |")
    return "\n".join(lines)


def _cell(rows: Sequence[Mapping[str, Any]]) -> str:
    """Mean, deviation and the runs behind them; rows planned with different numbers of epochs are not mixed."""
    texts = []
    for epochs in sorted({planned_epochs(row) for row in rows}):
        errors = [100 * row["test_error"] for row in rows if planned_epochs(row) == epochs]
        spread = f" ± {statistics.stdev(errors):.2f}" if len(errors) > 1 else ""
        texts.append(f"{statistics.mean(errors):.2f}{spread} ({len(errors)}×{epochs} ep.)")
    return "; ".join(texts) or "–"
