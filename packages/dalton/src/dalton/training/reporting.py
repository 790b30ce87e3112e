"""Plain-text reports: one line per epoch, the table at the end, the content of a run directory, a sweep's table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalton.training.evaluation import Evaluation
from dalton.training.runs import OpenedRun

Record = Mapping[str, Any]


def percent(value: float | None) -> str:
    """A share in percent with two decimals, or a dash."""
    return "-" if value is None else f"{100 * value:.2f} %"


def epoch_line(record: Record, epochs: int) -> str:
    """One line about an epoch."""
    parts = [
        f"epoch {record['epoch']:>{len(str(epochs))}d}/{epochs}",
        f"loss {record['train_loss']:.4g}",
        f"train {percent(record['train_accuracy'])}{'*' if record['train_accuracy_leaks'] else ''}",
        *(
            [f"validation {percent(record['validation_accuracy'])}"]
            if record["validation_accuracy"] is not None
            else []
        ),
        f"test {percent(record['test_accuracy'])}",
        f"{record['seconds']:.1f} s",
        f"{record['peak_memory_mb']:.0f} MB",
    ]
    return "  ".join(parts)


def summary_lines(summary: Record) -> list[str]:
    """The result of a finished run, one value per line."""
    samples = [summary[f"{split}_samples"] for split in ("train", "validation", "test")]
    lines = [
        f"data set             {summary['dataset']} ({' / '.join(map(str, samples))})",
        f"network              {summary['network']}",
        f"method               {summary['method']}, {summary['setting']}, {summary['steps']} time-steps"
        + (f", burn-in {summary['burn_in']}" if summary["burn_in"] else ""),
        f"epochs               {summary['epochs']}",
    ]
    star = "*" if summary["train_accuracy_leaks"] else ""
    lines.append(f"training accuracy    {percent(summary['train_accuracy'])}{star}")
    if summary["validation_accuracy"] is not None:
        lines.append(f"validation accuracy  {percent(summary['validation_accuracy'])}")
    lines.append(f"test accuracy        {percent(summary['test_accuracy'])}")
    by = summary["selected_by"]
    lines.append(
        f"selected epoch       {summary['selected_epoch']} (best on {by}): "
        f"test {percent(summary['selected_test_accuracy'])}"
    )
    rates = "  ".join(f"{layer} {rate:.3f}" for layer, rate in (summary["firing_rates"] or {}).items())
    lines.append(f"firing rates         {rates}")
    lines.append(
        f"seconds              {summary['seconds']:.1f} on {summary['device']}, engine {summary['engine']}, "
        f"peak {summary['peak_memory_mb'] or 0:.0f} MB"
    )
    if star:
        lines.append("* measured while the weights were being fitted to these labels; not a fair accuracy")
    return lines


def describe(run: OpenedRun) -> list[str]:
    """Options, epochs and result of a run directory."""
    epochs = [epoch_line(record, run.config.epochs) for record in run.stored.records]
    result = [] if run.stored.summary is None else ["", *summary_lines(run.stored.summary)]
    return [*run.stored.describe(), "", *epochs, *result]


def evaluation_lines(path: Path, split: str, which: str, found: Evaluation) -> list[str]:
    """Accuracy and confusion matrix of a run's network."""
    count = int(max(found.labels.max(), found.predictions.max())) + 1
    return [
        f"{path}: {split} accuracy {percent(found.accuracy)} of {len(found.labels)} samples ({which} epoch)",
        "true class (row) against prediction (column):",
        *(
            f"{number:>4d}: " + " ".join(f"{value:>5d}" for value in row)
            for number, row in enumerate(found.confusion(count).tolist())
        ),
    ]


def evaluation_table(split: str, which: str, found: Mapping[Path, Evaluation]) -> str:
    """CSV table with one line per run."""
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("run", "split", "which", "samples", "accuracy"))
    rows.writerows((path, split, which, len(one.labels), one.accuracy) for path, one in found.items())
    return table.getvalue()


def results_table(rows: Sequence[Record]) -> list[str]:
    """Markdown table of ledger rows: the runs and their results."""
    columns = (
        "claim",
        "dataset",
        "scale",
        "arch",
        "method",
        "setting",
        "tau_cur",
        "gain",
        "bias",
        "seed",
        "epochs",
    )
    head = [*columns, "test", "selected test"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [_cell(row[name]) for name in columns]
        cells += [percent(row["test_accuracy"]), percent(row["selected_test_accuracy"])]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _cell(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else "none" if value is None else str(value)


def overview() -> list[str]:
    """The available choices, and where the program runs."""
    from reprokit.run.pretrained import pretrained_lines

    from dalton.config import CHOICES
    from dalton.data.loading import IMAGE_NAMES
    from dalton.data.sources import NAMES
    from dalton.model.architectures import ARCHITECTURES, architecture
    from dalton.names import ALIASES, DATASET_NAMES

    lines = [f"{name:14s} {', '.join(allowed)}" for name, allowed in CHOICES.items()]
    lines += [f"{alias:18s} is {method}, {setting}" for alias, (method, setting) in ALIASES.items()]
    for name in ARCHITECTURES:
        arch = architecture(name)
        conv = " - ".join(
            f"{c.channels},k{c.kernel}" + (f",[{c.dropout:g}]" if c.dropout else "") for c in arch.conv
        )
        lines.append(f"{name:14s} {conv} | {', '.join(map(str, arch.dense))}")
    lines.append(f"images         {', '.join(IMAGE_NAMES)}, or a path")
    lines.append(f"events         {', '.join(NAMES)}, or a path")
    lines.append(f"original names {', '.join(DATASET_NAMES)}")
    return [*lines, *pretrained_lines("dalton")]
