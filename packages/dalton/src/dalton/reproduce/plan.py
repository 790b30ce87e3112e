"""The recorded study of the original and more, by one command that may be interrupted: ``make reproduce-dalton``.

Parts: ``study`` repeats the recorded runs of the original program (real MNIST, A1, 10,000 images, one epoch,
with the original's initial weights and order if given); ``mnist`` the full data set with A1 and A3;
``cifar10`` CIFAR-10, or its JPEG stand-in, with A1; ``nmnist`` 1,000 N-MNIST recordings with the online methods;
only on request ``tau``, our study of time constants and learning rates.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reprokit import UserError
from reprokit.config import nearest
from reprokit.files.atomic import write_file
from reprokit.run import study
from reprokit.run.study import ReproduceOptions
from reprokit.terminal import say

from dalton.config import TrainConfig
from dalton.reproduce import figures
from dalton.reproduce.sweep import Task, work_of
from dalton.reproduce.tau import PAIRS, RATES, TAU, TAUS, plot_tau, tau_lines
from dalton.training.reporting import results_table
from dalton.training.runs import METRICS, PACKAGE

PARTS = ("study", "mnist", "cifar10", "nmnist")
EXTRA = (TAU,)  # done only if named
FIVE = (("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "online"))
ONLINE = (("dalton", "online"), ("tfr", "online"))
STUDY_BURN_IN = 10  # the original's 50 exceeds the 40 steps; its recorded runs were lowered to 10
TRAIN, TEST = 10_000, 1_000  # images of the study


def _study(base: TrainConfig) -> TrainConfig:
    """The settings of the recorded runs (the package's tests have their golden arrays)."""
    return replace(
        base, profile="faithful", dataset="mnist", arch="A1", downsample="avgpool", epochs=1, batch_size=50, steps=40,
        tau_cur=1e-3, gain=2.0, bias=0.0, lr=1e-3, shuffle=False, validation=0.0,
    )  # fmt: skip


def first_images(folder: Path, train: int = TRAIN, test: int = TEST, total: int = 60_000) -> Path:
    """Write a file that selects the first images of both sets, used without the recorded order."""
    path = folder / f"first-{train}-{test}.json"
    chosen = {"train": list(range(train)), "test": list(range(total, total + test))}
    text = json.dumps(chosen).encode()
    if not path.exists() or path.read_bytes() != text:
        write_file(path, text)
    return path


def wanted(
    scale: str, only: Sequence[str] = (), data: Path | None = None, golden: Path | None = None, *,
    runs: Path = Path("runs/dalton"), seeds: Sequence[int] = (), threads: int = 1,
) -> list[Task]:  # fmt: skip
    """The runs of a reproduction, most informative first.

    Args:
        scale: ``smoke`` (embedded digits, under a minute), ``reduced`` (fewer images and epochs) or ``paper``.
        only: Some of ``PARTS`` and ``EXTRA``; none: ``PARTS`` (smoke has the study and, if named, ``tau``).
        data: Folder with ``cifar10-jpeg`` and ``nmnist-small`` (.zip or folder), or the file of a single part.
        golden: Folder with ``mnist_a1_init.npz`` and ``mnist_subset.json``.
        runs: Folder for files created here.
        seeds: Seeds of every run; none: 0.
        threads: CPU threads of each run.

    Raises:
        UserError: Unknown scale or part, or missing files.
    """
    if scale not in ("smoke", "reduced", "paper"):
        raise UserError(f"--scale is {scale!r}; it must be smoke, reduced or paper.")
    for part in only:
        if part not in (*PARTS, *EXTRA):
            known = (*PARTS, *EXTRA)
            raise UserError(
                f"--only {part!r} is unknown; choose one of {', '.join(known)}{nearest(part, known)}."
            )
    parts = tuple(only) or PARTS
    _check_places(parts, data, golden)
    base = TrainConfig(threads=threads)
    if scale == "smoke":
        tasks = _smoke(base) + (_tau_smoke(base) if TAU in parts else [])
    else:
        tasks = _tasks(base, scale, parts, data, golden, runs)
    return [replace(task, config=replace(task.config, seed=seed)) for seed in seeds or (0,) for task in tasks]


def _tasks(
    base: TrainConfig, scale: str, parts: Sequence[str], data: Path | None, golden: Path | None, runs: Path
) -> list[Task]:
    tasks: list[Task] = []
    if "study" in parts:
        tasks += _study_tasks(base, golden, runs)
    if "mnist" in parts:
        tasks += _mnist_tasks(base, scale)
    if "cifar10" in parts:
        tasks += _cifar_tasks(base, scale, _find(data, "cifar10-jpeg", "cifar10"))
    if "nmnist" in parts:
        tasks += _nmnist_tasks(base, scale, _find(data, "nmnist-small", "n-mnist"))
    if TAU in parts:
        tasks += _tau_tasks(base, runs)
    return tasks


def _tau_tasks(base: TrainConfig, runs: Path) -> list[Task]:
    """Train on 2,000 images of MNIST, choose by 500 more, test on 1,000: three epochs, A1."""
    config = replace(
        base,
        dataset="mnist",
        arch="A1",
        epochs=3,
        steps=40,
        subset=first_images(runs, 2500, TEST),
        validation=0.2,
    )
    return _tau_grid(config, "reduced", TAUS, STUDY_BURN_IN)


def _tau_smoke(base: TrainConfig) -> list[Task]:
    config = replace(base, dataset="digits", epochs=1, steps=8, train_size=100, test_size=50, batch_size=25)
    return _tau_grid(config, "smoke", (None, 2e-2), 2)


def _tau_grid(config: TrainConfig, scale: str, taus: Sequence[float | None], burn_in: int) -> list[Task]:
    return [
        Task(replace(one, tau_cur=tau, lr=rate), TAU, scale)
        for tau in taus
        for one in _methods(config, PAIRS, burn_in)
        for rate in RATES[one.setting]
    ]


def _methods(config: TrainConfig, pairs: Sequence[tuple[str, str]], burn_in: int | None) -> list[TrainConfig]:
    return [
        replace(config, method=method, setting=setting, burn_in=None if setting == "bptt" else burn_in)
        for method, setting in pairs
    ]


def _smoke(base: TrainConfig) -> list[Task]:
    small = replace(base, dataset="digits", epochs=2, steps=20, train_size=1000, test_size=300, batch_size=25)
    return [Task(config, "study", "smoke") for config in _methods(small, FIVE, 5)]


def _study_tasks(base: TrainConfig, golden: Path | None, runs: Path) -> list[Task]:
    config = _study(base)
    if golden is None:
        config = replace(config, subset=first_images(runs))
    else:
        config = replace(
            config, subset=golden / "mnist_subset.json", init_weights=golden / "mnist_a1_init.npz"
        )
    return [Task(one, "study", "paper") for one in _methods(config, FIVE, STUDY_BURN_IN)]


def _mnist_tasks(base: TrainConfig, scale: str) -> list[Task]:
    config = replace(base, dataset="mnist", epochs=10, steps=40)
    if scale == "reduced":
        config = replace(config, epochs=2, train_size=10_000, test_size=2_000)
    return [
        Task(one, "mnist", scale)
        for arch in ("A1", "A3")
        for one in _methods(replace(config, arch=arch), FIVE, STUDY_BURN_IN)
    ]


def _cifar_tasks(base: TrainConfig, scale: str, source: str) -> list[Task]:
    config = replace(base, dataset=source, epochs=10, steps=60)
    if scale == "reduced":
        config = replace(config, epochs=2, train_size=5_000, test_size=1_000)
    # the stand-in has half the images, with JPEG losses, so these are not runs of CIFAR-10 itself
    size = scale if source == "cifar10" else "reduced"
    return [Task(one, "cifar10", size) for one in _methods(config, FIVE, None)]


def _nmnist_tasks(base: TrainConfig, scale: str, source: str) -> list[Task]:
    config = replace(base, dataset=source, epochs=5, batch_size=25, train_size=900, test_size=100)
    if scale == "reduced":
        config = replace(config, epochs=2, train_size=300)
    return [Task(one, "nmnist", "reduced") for one in _methods(config, ONLINE, None)]


def _find(data: Path | None, name: str, catalogue: str) -> str:
    """Path of a data set below ``data``, or the catalogue's name of the full one."""
    if data is None:
        return catalogue
    if data.is_file() or not (data.exists()):
        return str(data)
    found = [data / f"{name}{suffix}" for suffix in (".zip", "") if (data / f"{name}{suffix}").exists()]
    return str(found[0]) if found else catalogue


def _check_places(parts: Sequence[str], data: Path | None, golden: Path | None) -> None:
    if data is not None and not data.exists():
        raise UserError(f"--data {data} does not exist; give a folder, or the file of a single part.")
    files = [part for part in parts if part in ("cifar10", "nmnist")]
    if data is not None and data.is_file() and (len(files) != 1 or len(parts) != 1):
        raise UserError(f"--data {data} is a file; choose its part with --only cifar10 or --only nmnist.")
    for name in ("mnist_subset.json", "mnist_a1_init.npz"):
        if golden is not None and not (golden / name).is_file():
            raise UserError(
                f"--golden {golden} lacks {name}; give the folder of the recorded study, or leave it out."
            )


def reproduce(options: ReproduceOptions, golden: Path | None = None) -> int:
    """Do the runs that the ledger lacks, draw the figures, print the table.

    Args:
        options: The same as in every package; `options.data` is the `data` of :func:`wanted`, and its subfolder
            ``mnist``, if it exists, serves as mirror.
        golden: As in :func:`wanted`.

    Returns:
        0, or 1 if a run failed.
    """
    options.check()
    out = options.folder(PACKAGE)
    runs = out / "runs"
    data = None if options.data is None else Path(options.data).absolute()
    golden = golden and golden.absolute()
    labels = [word for word in options.only if set(word) & set(":*?[")]  # a part is a plain word
    tasks = wanted(
        options.scale,
        (*PARTS, *(part for part in EXTRA if any(word.startswith(part) for word in labels)))
        if labels
        else options.only,
        data,
        golden,
        runs=runs,
        seeds=options.seeds,
        threads=options.threads,
    )
    if data is not None and (data / "mnist").is_dir():
        os.environ["REPROKIT_MIRROR"] = str(data)

    def draw(rows: list[dict[str, Any]], folder: Path) -> list[Path]:
        others = [row for row in rows if row["claim"] != TAU]
        for line in results_table(others) if others else ():
            say(line)
        swept = [row for row in rows if row["claim"] == TAU]
        for line in tau_lines(swept) if swept else ():
            say(line)
        suffix = "" if options.scale == "paper" else f"-{options.scale}"
        return figures.draw(tasks, runs, folder, golden) + figures.if_possible(
            plot_tau, swept, folder / f"tau{suffix}"
        )

    chosen = {task.config.subset for task in tasks}
    return study.reproduce(
        [study.Task(task.identity, task.claim, task.claim, task.label) for task in tasks],
        work_of(tasks, runs), package=PACKAGE, options=options, columns=METRICS, draw=draw, identified=True,
        data=[data, golden], small=sorted(path for path in chosen if path and path.is_relative_to(runs)),
    )  # fmt: skip
