"""The words that users may write: engines, splits, measures, data sets, and the flags of the original's prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reprokit import UserError

Engine = Literal["auto", "events", "triton", "torch"]
Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
Measure = Literal["accuracy", "branching", "kernel", "divergence"]
MEASURES: tuple[Measure, ...] = ("accuracy", "branching", "kernel", "divergence")
INPUTS = {"mnist": 784, "fashion-mnist": 784, "n-mnist": 2312, "digits": 64, "digits-events": 2312}
IMAGE_SETS = ("mnist", "fashion-mnist", "digits", "cifar10", "cifar100", "svhn", "stl10")
FLAGS: dict[str, dict[str, str]] = {
    "network": {"--conn": "--connection", "--lambda": "--length", "--exc-frac": "--excitatory-fraction",
                "--net-num-var": "--seed"},
    "train": {
        "--dataset": "--data", "--run-dir": "--out", "--w-abs": "--weight", "--astro-weight": "--astrocyte-weight",
        "--v-th": "--threshold", "--t-ref": "--refractory", "--batch-size": "--batch", "--readout-batch": "--batch",
        "--astro-w-scaling": "--astrocyte-weight", "--initial-abs-w-sclr": "--weight",
        "--intial-abs-w-sclr": "--weight", "--stdp-neuron-rate-threshold": "--ap-theta",
        "--stdp-neuron-rate-theshold": "--ap-theta", "--stdp-neuron-rate-range": "--ap-range",
        "--net-num-var": "--network-seed",
    },
}  # fmt: skip
"""Prompts of the original program, some in its own spelling, and the equivalent flags."""
ELSEWHERE = {
    "--gpu": "write --device cuda:0 for a GPU, or leave it out",
    "--version": "it labelled the run; write --out runs/LABEL for a folder of that name",
    "--batchs-per-block": "counts of all samples stay in memory as bytes; leave it out",
}
"""Prompts of the original program without a flag here, and what to write instead."""
EVENT_SETS = ("n-mnist", "digits-events")
DATA = {"fashion": "fashion-mnist", "nmnist": "n-mnist"}


def is_own(data: str) -> bool:
    """Return whether `data` is a path to your own data rather than the name of a data set."""
    return DATA.get(data, data) not in (*IMAGE_SETS, *EVENT_SETS)


def canonical(words: Sequence[str]) -> list[str]:
    """Return a command line with every synonym replaced, and `evaluate kernel RUN` as `evaluate RUN --measure kernel`.

    Flags of the original's prompts are also accepted in capitals and with underscores.

    Args:
        words: sub-command and its arguments, `--flag value` or `--flag=value`.

    Raises:
        UserError: for a prompt of the original that has no flag here.
    """
    if words and words[0] in ("evaluate", "eval") and len(words) > 1 and words[1] in MEASURES:
        return [words[0], *words[2:], "--measure", words[1]]
    command = "train" if words and words[0] == "sweep" else (words[0] if words else "")
    flags = FLAGS.get(command, {})
    result = []
    for word in words:
        name, equals, value = word.partition("=")
        plain = name.lower().replace("_", "-") if name.startswith("--") else name
        if command == "train" and plain in ELSEWHERE:
            raise UserError(
                f"{name} is a prompt of the original program that has no flag here: {ELSEWHERE[plain]}."
            )
        result.append(flags.get(plain, name) + equals + value)
    for k, word in enumerate(result[:-1]):
        if word == "--dataset" and words[0] == "network":
            result[k + 1] = DATA.get(result[k + 1], result[k + 1])
    return result
