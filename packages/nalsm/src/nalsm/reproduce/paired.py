"""Is a difference between two classifiers significant: McNemar's test on the images that both were shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Ledger, UserError, read_run, run_id, standard_row
from reprokit.run.stored import stored_identity
from reprokit.terminal import say
from scipy.stats import binomtest

from nalsm.training.runs import open_run

LEDGER = "paired.csv"
COLUMNS: dict[str, type] = {
    "first": str,
    "second": str,
    "test_samples": int,
    "first_accuracy": float,
    "second_accuracy": float,
    "only_first": int,
    "only_second": int,
    "p_value": float,
}


@dataclass(frozen=True)
class Paired:
    """Result of `mcnemar`.

    Attributes:
        only_first: samples that only the first classifier gets right.
        only_second: those that only the second gets right.
        p_value: chance of a difference of this size or larger if neither is better.
    """

    only_first: int
    only_second: int
    p_value: float


def mcnemar(first: np.ndarray, second: np.ndarray, labels: np.ndarray) -> Paired:
    """Compare two classifiers on the same samples, exactly and two-sided.

    With b samples that only the first gets right and c that only the second does, b of b + c is binomial with p
    = 1/2 if neither is better: p = min(1, 2 P(X <= min(b, c))), X ~ Bin(b + c, 1/2) (McNemar 1947, Psychometrika 12,
    153).

    Args:
        first: predicted classes, int (sample,).
        second: of the other classifier.
        labels: true classes.

    Raises:
        UserError: if the three do not have one length above 0.
    """
    if not (first.shape == second.shape == labels.shape) or labels.ndim != 1 or not len(labels):
        raise UserError(
            f"predictions have shapes {first.shape} and {second.shape}, labels {labels.shape}; give three of "
            "the same length."
        )
    right, other = first == labels, second == labels
    b, c = int((right & ~other).sum()), int((~right & other).sum())
    return Paired(b, c, float(binomtest(min(b, c), b + c).pvalue) if b + c else 1.0)


@dataclass(frozen=True)
class Subject:
    """One side of a comparison.

    Attributes:
        name: what the ledger calls it.
        settings: its identity in the study, from which the run id is made.
        folder: its run directory.
    """

    name: str
    settings: Mapping[str, Any]
    folder: Path

    @property
    def done(self) -> bool:
        """Whether its run has finished on this machine."""
        return (self.folder / "summary.json").is_file()

    def predictions(self) -> tuple[np.ndarray, np.ndarray]:
        """Return predicted and true class of each test sample."""
        if "features" not in self.settings:
            return open_run(self.folder).predictions()
        stored = read_run(self.folder, package="nalsm")
        labels = stored.array("labels_test", shape=(None,), dtype=np.int64)
        return stored.array("predictions_test", shape=(len(labels),)).astype(np.int64), labels


def compare(pairs: Iterable[tuple[Subject, Subject]], out: Path, *, scale: str, seed: int) -> None:
    """Test each pair of finished runs and add the rows that ``paired.csv`` lacks; say what others lack.

    Args:
        pairs: the two sides of each comparison, with the same test samples.
        out: folder of ``paired.csv``.
        scale: as the study was asked for.
        seed: of the networks.

    Raises:
        UserError: damaged runs, or runs of other test samples.
    """
    ledger = Ledger.for_results(out / LEDGER, COLUMNS)
    for first, second in pairs:
        config = {"test": "mcnemar", "scale": scale, "first": first.settings, "second": second.settings}
        if ledger.has(run_id(config)):
            continue
        title = f"{first.name} against {second.name}, network {seed}"
        waiting = [side.folder.name for side in (first, second) if not side.done]
        if waiting:
            say(f"paired test of {title} waits for {', '.join(waiting)} in {first.folder.parent}")
            continue
        (predicted, labels), (other, same) = first.predictions(), second.predictions()
        if not np.array_equal(labels, same):
            raise UserError(
                f"{first.folder} and {second.folder} were shown other test samples; a paired test needs the same ones."
            )
        found = mcnemar(predicted, other, labels)
        summary = read_run(first.folder, package="nalsm").summary or {}
        row = standard_row(
            config, package="nalsm", claim="paired", dataset=summary["dataset"], scale=scale, seed=seed, seconds=0.0,
            threads=1, packages=("nalsm", "numpy"), data=stored_identity(first.folder),
            reduced=scale == "paper" and summary["samples"][0] != 50_000,
        )  # fmt: skip
        accuracy = [float(np.mean(p == labels)) for p in (predicted, other)]
        ledger.append(
            row
            | {
                "first": first.name, "second": second.name, "test_samples": len(labels),
                "first_accuracy": accuracy[0], "second_accuracy": accuracy[1], **vars(found),
            }
        )  # fmt: skip
        say(
            f"{title}: {100 * accuracy[0]:.2f} and {100 * accuracy[1]:.2f} %, {found.only_first} and "
            f"{found.only_second} images only one has right, p = {found.p_value:.2g}"
        )
