"""The five methods side by side on one task: ``make compare``.

python reproduction/compare.py [--jobs 1] [--only sbs nalsm] [--scheduler dask]   # runs what is missing
python reproduction/compare.py --draw                          # table and figure from the rows, nothing is run
python reproduction/compare.py --data digits                   # the offline form, below runs/

Every method gets the same images: 10,000 for training, the last 2,000 of them held out while the learning rate
is chosen from the same three values; then all are used with three seeds, and tested on the whole test set. Each
run has one core and ten passes, or as many as fit into ten core-minutes, judged from a run of one pass. The command
lines of the packages are called, and what they write into ``summary.json`` is read; no package is imported. DenRAM
receives the images as spikes: one for each pixel that is not black, the brighter the earlier.

If interrupted, give the same command again. A run that was cut short starts again, because its cost would be
incomplete.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from reprokit import (
    DataIdentity,
    ImageSplits,
    Ledger,
    Recordings,
    UserError,
    load_images,
    standard_row,
    write_shd,
)
from reprokit.cli.running import run as guarded_run
from reprokit.files import write_file
from reprokit.plots import colour, new_figure, note, save_figure, style
from reprokit.run.workers import WorkerOptions
from reprokit.terminal import say

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "reproduction" / "compare"
RATES = (3e-4, 3e-3, 3e-2)
SEEDS = (1, 2, 3)
IMAGES, HELD_OUT = 10_000, 2_000
PASSES, MINUTES = 10, 10.0
WINDOW = 0.5  # s of the latency code
BEGIN, END = "<!-- compare: written by reproduction/compare.py -->\n", "<!-- end of compare -->\n"
METRICS: dict[str, type] = {
    "method": str,
    "network": str,
    "train_images": int,
    "test_images": int,
    "rate": float,
    "rates": dict,  # accuracy on the images held out, for each of the three rates
    "passes": int,
    "passes_limit": str,
    "test_accuracy": float,
    "parameters": int,
    "multiply_adds": int,
    "synaptic_events": float,
    "errors_travel_backwards": str,
    "memory_grows_with_time": str,
}


class Used(NamedTuple):
    """How a program ended, and what it used: its exit code, seconds of the core, and most memory in MB."""

    code: int
    cpu_seconds: float
    peak_memory_mb: float


@dataclass(frozen=True)
class Plan:
    """The settings of the comparison.

    Attributes:
        data: mnist or digits.
        images, held_out: Training images, and how many of them choose the rate.
        seeds: Of the final runs.
        passes, minutes: The most passes, and core-minutes of a run.
        out: Folder of data and run directories.
        ledger: File of the rows.
        run: Runs a program, here or in a worker of a cluster.
    """

    data: str
    images: int
    held_out: int
    seeds: tuple[int, ...]
    passes: int
    minutes: float
    out: Path
    ledger: Path
    run: "Callable[[Sequence[str], Path, Path, threading.Event], Used]"


@dataclass(frozen=True)
class Method:
    """One of the rows: the program, its command line, and properties of the method.

    Attributes:
        package: The program.
        network: Name of its network in the table, for each data set.
        words: Words that name the network, for each data set.
        rate: Flag of the rate that is chosen.
        seed: Flags of the seed.
        passes: Words for a number of passes over so many images, for each data set; none: it makes one pass.
        accuracy: Test accuracy in a summary.
        errors, memory: Whether errors travel backwards through the network, and whether memory grows with time.
        spikes: Whether it takes spikes instead of images.
    """

    package: str
    network: Mapping[str, str]
    words: Mapping[str, Sequence[str]]
    rate: str
    seed: Sequence[str]
    passes: Callable[[str, int, int], Sequence[str]] | None
    accuracy: Callable[[Mapping[str, Any]], float]
    errors: str
    memory: str
    spikes: bool = False


def _epochs(flag: str) -> Callable[[str, int, int], Sequence[str]]:
    return lambda _data, passes, _images: [flag, str(passes)]


def _updates(data: str, passes: int, images: int) -> Sequence[str]:
    per_update = {"mnist": 480, "digits": 64}[data]
    return ["--learning.updates", str(max(1, passes * images // per_update))]


_PERCEPTRON = {"mnist": "2x400", "digits": "2x64"}
_HIDDEN = {"mnist": ["--hidden", "400", "400"], "digits": ["--hidden", "64", "64"]}
_A1 = {"mnist": ["--arch", "A1", "--steps", "40"], "digits": ["--arch", "A1", "--steps", "20"]}
_CNN = {"mnist": "A1, 40 steps", "digits": "A1, 20 steps"}


def _bdfa(rule: str, errors: str) -> Method:
    words = {
        data: ["train", "--rule", rule, *hidden, "--no-plot", "--threads", "1"]
        for data, hidden in _HIDDEN.items()
    }
    return Method("bdfa", _PERCEPTRON, words, "--lr", ["--seed"], _epochs("--epochs"),
                  lambda s: 1.0 - s["networks"][0]["test_error"], errors, "no time")  # fmt: skip


def _dalton(rule: str, errors: str, memory: str) -> Method:
    words = {
        data: ["train", "--method", rule, *arch, "--validation", "0", "--threads", "1"]
        for data, arch in _A1.items()
    }
    return Method("dalton", _CNN, words, "--lr", ["--seed"], _epochs("--epochs"), lambda s: s["test_accuracy"], errors,
                  memory)  # fmt: skip


METHODS: dict[str, Method] = {
    "denram": Method(
        "denram",
        {"mnist": "784 channels x 16 delays", "digits": "64 channels x 8 delays"},
        {
            "mnist": ["train", "--n-in", "784", "--n-delays", "16", "--noise-std", "0", "--steps", "100"],
            "digits": ["train", "--n-in", "64", "--n-delays", "8", "--noise-std", "0", "--steps", "100"],
        },
        "--lr", ["--seed"], lambda _data, passes, _images: ["--nb-epochs", str(passes)],
        lambda s: s["test_acc"], "one layer", "with spikes", spikes=True,
    ),
    "sbs": Method(
        "sbs",
        {"mnist": "V2, 1600 spikes", "digits": "digits-smoke, 200 spikes"},
        {
            "mnist": ["train", "mnist-v2", "--no-test-during-learning", "--threads", "1"],
            "digits": ["train", "digits-smoke", "--no-test-during-learning", "--threads", "1"],
        },
        "--learning.weight-rate", ["--seed"], _updates, lambda s: s["accuracy"] / 100.0, "yes", "no",
    ),
    "bdfa": _bdfa("bdfa", "no"),
    "bp": _bdfa("bp", "yes"),
    "dalton": _dalton("dalton", "one layer", "yes (online: no)"),
    "surrgd": _dalton("surrgd", "yes", "yes"),
    "nalsm": Method(
        "nalsm",
        {"mnist": "1000 neurons", "digits": "216 neurons"},
        {"mnist": ["train", "nalsm"], "digits": ["train", "nalsm", "--dims", "6", "6", "6", "--duration", "100"]},
        "--rate", ["--network-seed", "--seed"], None, lambda s: s["test_accuracy"], "no", "no",
    ),
}  # fmt: skip


def main(words: list[str]) -> int:
    """Run what is missing and draw; the exit code is 1 if a method failed."""
    parser = argparse.ArgumentParser(description="The five methods side by side on one task.")
    parser.add_argument(
        "--data", choices=("mnist", "digits"), default="mnist", help="digits: offline, in minutes"
    )
    parser.add_argument("--only", nargs="+", default=["*"], help=f"of {', '.join(METHODS)}; patterns")
    parser.add_argument("--jobs", type=int, default=1, help="methods at a time; with dask and slurm: workers")
    parser.add_argument(
        "--scheduler",
        default=None,
        help="tcp://HOST:PORT or scheduler file of a Dask cluster, dask, or slurm",
    )
    parser.add_argument(
        "--scheduler-config", type=Path, default=None, help="YAML for --scheduler dask or slurm"
    )
    parser.add_argument(
        "--images", type=int, default=None, help=f"training images; {IMAGES:,}, or all of digits"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--passes", type=int, default=PASSES)
    parser.add_argument("--minutes", type=float, default=MINUTES, help="core-minutes of a run")
    parser.add_argument("--out", type=Path, default=None, help="run directories; runs/compare-DATA")
    parser.add_argument(
        "--ledger", type=Path, default=None, help="rows; of mnist reproduction/compare/results.csv"
    )
    parser.add_argument("--draw", action="store_true", help="only write table and figure")
    given = parser.parse_args(words)
    chosen = [name for name in METHODS if any(fnmatch(name, pattern) for pattern in given.only)]
    if not chosen:
        raise UserError(
            f"--only {' '.join(given.only)} does not name a method; choose from {', '.join(METHODS)}"
        )
    if given.jobs < 1 or given.passes < 1 or given.minutes <= 0:
        raise UserError("--jobs, --passes and --minutes must be positive")
    out = (given.out or ROOT / "runs" / f"compare-{given.data}").absolute()
    ledger = given.ledger or (PLACE if given.data == "mnist" else out) / "results.csv"
    images = given.images or (IMAGES if given.data == "mnist" else 1200)
    WorkerOptions(jobs=given.jobs, scheduler=given.scheduler, scheduler_config=given.scheduler_config).check()
    seeds = tuple(given.seeds)
    plan = Plan(given.data, images, images // 5, seeds, given.passes, given.minutes, out, ledger, run_here)
    done = True
    if not given.draw:
        source = load_images(given.data)
        make_data(source, plan)
        methods = {name: METHODS[name] for name in chosen}
        if given.scheduler is None:
            done = run_all(methods, plan, DataIdentity.of(source), given.jobs)
        else:
            with in_workers(given.scheduler, given.scheduler_config, given.jobs, out) as run:
                done = run_all(methods, replace(plan, run=run), DataIdentity.of(source), len(methods))
    rows = newest(Ledger.for_results(ledger, METRICS).rows()) if ledger.exists() else []
    for line in table(rows):
        say(line)
    if rows:
        for file in draw(rows, ledger.parent):
            say(str(file))
    if ledger == PLACE / "results.csv":
        write_tables(rows)
    return int(not done)


def make_data(source: ImageSplits, plan: Plan) -> None:
    """Write the two data sets for all methods: ``select`` (the rate is chosen on its test part) and ``final``."""
    total = plan.images
    if not 50 <= total <= len(source.train):
        raise UserError(f"--images is {total}; it must be from 50 to {len(source.train)} for {plan.data}")
    images, labels = source.train.images[:total], source.train.labels[:total]
    cut = total - plan.held_out
    parts = {
        "select": (images[:cut], labels[:cut], images[cut:], labels[cut:]),
        "final": (images, labels, source.test.images, source.test.labels),
    }
    for name, (x, y, x_test, y_test) in parts.items():
        folder = plan.out / "data" / f"{name}-{total}"
        file = folder / "images.npz"
        if (folder / "done").exists():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, train_images=x, train_labels=y, test_images=x_test, test_labels=y_test)
        (folder / "spikes").mkdir(exist_ok=True)
        for part, some, truth in (("train", x, y), ("test", x_test, y_test)):
            write_shd(
                folder / "spikes" / f"shd_{part}.h5", latency_coded(some, truth), tuple(map(str, range(10)))
            )
        (folder / "done").touch()


def latency_coded(images: np.ndarray, labels: np.ndarray) -> Recordings:
    """Return images as spikes: a pixel x > 0 of 255 fires once, at ``WINDOW (1 - x / 255)``; a black one never.

    Args:
        images: uint8 (sample, channel, height, width).
        labels: (sample,).
    """
    flat = images.reshape(len(images), -1)
    times = (WINDOW * (1.0 - flat / 255.0)).astype(np.float32)
    order = np.argsort(times, axis=1, kind="stable")
    fires = np.take_along_axis(flat, order, 1) > 0
    offsets = np.concatenate([[0], np.cumsum(fires.sum(1))])
    chosen = np.take_along_axis(times, order, 1)[fires]
    return Recordings(chosen, order[fires], offsets.astype(np.int64), labels.astype(np.int64))


def run_all(methods: Mapping[str, Method], plan: Plan, data: DataIdentity, jobs: int) -> bool:
    """Do what is missing, `jobs` methods at a time; return whether all succeeded."""
    failed: list[str] = []
    stop = threading.Event()

    def do(name: str) -> None:
        try:
            run_method(name, methods[name], plan, data, stop)
        except UserError as error:
            failed.append(name)
            say(f"{name} failed: {error}")

    with ThreadPoolExecutor(jobs) as pool:
        try:
            for future in [pool.submit(do, name) for name in methods]:
                future.result()
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return not failed


def run_method(name: str, method: Method, plan: Plan, data: DataIdentity, stop: threading.Event) -> None:
    """Measure one pass, choose the rate, and do the final runs of a method."""
    ledger = Ledger.for_results(plan.ledger, METRICS)
    here = plan.out / name
    select, final = (plan.out / "data" / f"{part}-{plan.images}" for part in ("select", "final"))
    passes, limit = 1, "one pass by its nature"
    if method.passes is not None:
        one = one_pass(name, method, plan, here, select, stop)
        fit = int(plan.minutes * 60 / one["cpu_seconds"])
        passes = max(1, min(plan.passes, fit))
        limit = "passes" if fit >= plan.passes else f"{plan.minutes:g} core-minutes"
    found: dict[float, float | None] = {}
    for rate in RATES:
        try:
            run = call(
                name,
                method,
                plan,
                here / f"rate-{rate:g}-{passes}",
                select,
                rate,
                plan.seeds[0],
                passes,
                stop,
            )
        except UserError as error:
            found[rate] = None
            say(f"{name}: rate {rate:g} failed: {error}")
        else:
            found[rate] = run["accuracy"]
    learned = {rate: accuracy for rate, accuracy in found.items() if accuracy is not None}
    if not learned:
        raise UserError(f"none of the rates {', '.join(f'{rate:g}' for rate in RATES)} worked")
    best = max(learned, key=lambda rate: learned[rate])
    say(
        f"{name}: rate {best:g}, {100 * learned[best]:.2f} % of the images held out, {passes} passes ({limit})"
    )
    for seed in plan.seeds:
        run = call(
            name, method, plan, here / f"final-{best:g}-{passes}-seed{seed}", final, best, seed, passes, stop
        )
        row = row_of(
            name, method, plan, data, run, seed=seed, rate=best, rates=found, passes=passes, limit=limit
        )
        ledger.append(row)
        say(f"{name}: seed {seed}: {100 * run['accuracy']:.2f} %, {run['cpu_seconds']:.0f} s on one core")


def one_pass(
    name: str, method: Method, plan: Plan, here: Path, select: Path, stop: threading.Event
) -> dict[str, Any]:
    """Measure one pass over the images, with the first rate that works, the middle one before the others.

    Raises:
        UserError: None works.
    """
    for rate in (RATES[1], RATES[0], RATES[2]):
        try:
            return call(name, method, plan, here / f"one-pass-{rate:g}", select, rate, plan.seeds[0], 1, stop)
        except UserError as error:
            reason = str(error)
    raise UserError(f"one pass fails with every rate: {reason}")


def row_of(
    name: str, method: Method, plan: Plan, data: DataIdentity, run: Mapping[str, Any], *, seed: int, rate: float,
    rates: Mapping[float, float | None], passes: int, limit: str,
) -> dict[str, Any]:  # fmt: skip
    """Return the ledger row of a final run; `seconds` is the time of the core, start and test included."""
    config = {
        "compare": name, "data": plan.data, "images": plan.images, "seed": seed, "rate": rate, "passes": passes,
        "words": list(method.words[plan.data]),
    }  # fmt: skip
    row = standard_row(
        config, package=method.package, claim="compare", dataset=plan.data, scale="reduced", seed=seed,
        seconds=run["cpu_seconds"], threads=1, packages=(method.package,), data=data,
    )  # fmt: skip
    return row | {
        "peak_memory_mb": run["peak_memory_mb"],
        "method": name,
        "network": method.network[plan.data],
        "train_images": plan.images,
        "test_images": int(data.samples["test"]),
        "rate": rate,
        "rates": {f"{value:g}": accuracy for value, accuracy in rates.items()},
        "passes": passes,
        "passes_limit": limit,
        "test_accuracy": run["accuracy"],
        **{key: run["inference"][key] for key in ("parameters", "multiply_adds", "synaptic_events")},
        "errors_travel_backwards": method.errors,
        "memory_grows_with_time": method.memory,
    }


def call(
    name: str, method: Method, plan: Plan, folder: Path, data: Path, rate: float, seed: int, passes: int,
    stop: threading.Event,
) -> dict[str, Any]:  # fmt: skip
    """Train once through the command line, or read what was measured before.

    Returns:
        accuracy, inference (counts), cpu_seconds and peak_memory_mb of the process.

    Raises:
        UserError: The command failed; the message is its last line.
    """
    images = plan.images if data.name.startswith("final") else plan.images - plan.held_out
    words = command(method, plan.data, data, rate, seed, passes, images)
    measured = folder / "cost.json"
    if measured.exists():
        found = json.loads(measured.read_text("utf-8"))
        if found["words"] == words:
            return found
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder / "output.txt"
    called = ["-m", f"{method.package}.cli", *words, "--out", str(folder / "run")]
    code, cpu_seconds, peak_memory_mb = plan.run(called, plan.out, log, stop)
    if code:
        last = (log.read_text("utf-8", "replace").strip().splitlines() or ["no output"])[-1]
        raise UserError(f"{method.package} {' '.join(words[:2])} ended with code {code}: {last}")
    summary = json.loads((folder / "run" / "summary.json").read_text("utf-8"))
    inference = (summary["networks"][0] if "networks" in summary else summary)["inference"]
    found = {
        "words": words,
        "accuracy": float(method.accuracy(summary)),
        "inference": inference,
        "cpu_seconds": cpu_seconds,
        "peak_memory_mb": peak_memory_mb,
        "method": name,
    }
    write_file(measured, json.dumps(found, indent=1) + "\n")
    return found


def command(
    method: Method, data: str, folder: Path, rate: float, seed: int, passes: int, images: int
) -> list[str]:
    """Return the arguments of one training, without those of its folder."""
    flag = {"sbs": "--data.source", "bdfa": "--dataset", "dalton": "--dataset"}.get(method.package, "--data")
    words = [*method.words[data], flag, str(folder / ("spikes" if method.spikes else "images.npz"))]
    if method.passes is not None:
        words += method.passes(data, passes, images)
    if method.spikes:
        words += ["--duration", f"{WINDOW:g}", "--max-delay", "100", "--threads", "1"]
    for option in method.seed:
        words += [option, str(seed)]
    return [*words, method.rate, f"{rate:g}"]


def one_core() -> dict[str, str]:
    """Return the environment of a training: one thread, everything offline."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")
    flags = "--xla_cpu_multi_thread_eigen=false"
    return {**os.environ, **dict.fromkeys(names, "1"), "XLA_FLAGS": flags, "REPROKIT_OFFLINE": "1"}


def run_here(words: Sequence[str], folder: Path, log: Path, stop: threading.Event) -> Used:
    """Run Python with these words in a folder, write what it says into a file; end it if `stop` is set."""
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, *words],
            stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder, env=one_core(),
        )  # fmt: skip
        while True:
            found, status, usage = os.wait4(process.pid, os.WNOHANG)
            if found:
                break
            if stop.wait(0.1):
                process.terminate()
    process.returncode = os.waitstatus_to_exitcode(status)
    memory = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return Used(process.returncode, usage.ru_utime + usage.ru_stime, round(memory, 1))


def run_there(words: Sequence[str], folder: Path, log: Path) -> Used:
    """Do the same in a Dask worker, which is sent this function by the script; ends when the driver drops it."""
    from distributed import get_worker

    worker = get_worker()
    task, stop, ended = worker.get_current_task(), threading.Event(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.5):
            state = worker.state.tasks.get(task)
            if state is None or state.state == "cancelled":
                stop.set()

    threading.Thread(target=watch, daemon=True).start()
    try:
        return run_here(words, folder, log, stop)
    finally:
        ended.set()


@contextmanager
def in_workers(
    scheduler: str, config: Path | None, jobs: int, out: Path
) -> Iterator[Callable[[Sequence[str], Path, Path, threading.Event], Used]]:
    """Connect to a Dask cluster, or start one, and give what runs a program in one of its workers.

    Raises:
        UserError: Dask is missing, a worker must not take part, or does not see the folder of the runs.
    """
    from reprokit.run.cluster import on_cluster
    from reprokit.run.site import Site, prove

    out.mkdir(parents=True, exist_ok=True)
    site = Site.of(out, "reprokit", [], [], 1)
    with on_cluster(scheduler, site, jobs=jobs, config=config) as place:
        if not all(seen for _, seen in place.client.run(prove, site).values()):
            raise UserError(
                f"not every worker of {scheduler} sees {out}; give --out on a file system that all share"
            )

        def run(words: Sequence[str], folder: Path, log: Path, stop: threading.Event) -> Used:
            future = place.client.submit(run_there, words, folder, log, pure=False)
            while not future.done():
                if stop.wait(0.2):
                    future.cancel()
            return Used(*future.result())

        yield run


def newest(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each method's rows of the newest rate and number of passes, one per seed, in the order of METHODS."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        found[row["method"], row["seed"]] = dict(row)
    last = {row["method"]: (row["rate"], row["passes"], row["train_images"]) for row in rows}
    kept = [
        row
        for row in found.values()
        if (row["rate"], row["passes"], row["train_images"]) == last[row["method"]]
    ]
    return sorted(kept, key=lambda row: (list(METHODS).index(row["method"]), row["seed"]))


def groups(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Give the rows of each method."""
    for name in dict.fromkeys(row["method"] for row in rows):
        yield name, [row for row in rows if row["method"] == name]


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table in Markdown; nothing without rows."""
    if not rows:
        return []
    lines = [
        "| method | network | test accuracy | core seconds | memory | parameters | multiply-adds | synaptic events |"
        " errors travel back | memory grows with time | rate, passes |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, some in groups(rows):
        first = some[0]
        events = first["synaptic_events"]
        cells = [
            f"`{name}`",
            first["network"],
            f"{_spread([100 * row['test_accuracy'] for row in some], 2)} %",
            _spread([row["seconds"] for row in some], 0),
            f"{statistics.mean(row['peak_memory_mb'] for row in some):.0f} MB",
            f"{first['parameters']:,}",
            _large(first["multiply_adds"]),
            "–" if events is None else _large(events),
            first["errors_travel_backwards"],
            first["memory_grows_with_time"],
            f"{first['rate']:g}, {first['passes']}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    first = rows[0]
    seeds = len({row["seed"] for row in rows})
    lines += [
        "",
        f"{first['dataset']}, {first['train_images']:,} training and {first['test_images']:,} test images, mean and "
        f"standard deviation of {seeds} seeds. Core seconds: the time of one core for the whole command, start and "
        "test included. Multiply-adds (dense) and synaptic events (spikes times connections): of one inference, "
        "counted by the programs.",
    ]
    return lines


@style()
def draw(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw accuracy against the time of training, with the spread over seeds, and write its numbers."""
    figure, (axes,) = new_figure(height=2.6)
    points = []
    for name, some in groups(rows):
        accuracy = [100 * row["test_accuracy"] for row in some]
        seconds = [row["seconds"] for row in some]
        x, y = statistics.mean(seconds), statistics.mean(accuracy)
        marker = {"bp": "s", "surrgd": "^"}.get(name, "o")
        axes.errorbar(
            x,
            y,
            xerr=_deviation(seconds),
            yerr=_deviation(accuracy),
            fmt=marker,
            color=colour(name),
            capsize=2,
        )
        points.append({"method": name, "core_seconds": x, "core_seconds_sd": _deviation(seconds),
                       "test_accuracy": y, "test_accuracy_sd": _deviation(accuracy), "seeds": len(some)})  # fmt: skip
    for point in points:
        left = _left_of_another(point, points)
        axes.annotate(
            point["method"],
            (point["core_seconds"], point["test_accuracy"]),
            xytext=(-5, 4) if left else (5, 4),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7,
        )
    seconds = [point["core_seconds"] for point in points]
    if max(seconds) > 10 * min(seconds):  # a shorter logarithmic axis has no round numbers
        axes.set_xscale("log")
    axes.set(xlabel="training on one core (s, whole command)", ylabel="test accuracy (%)")
    axes.margins(0.18, 0.12)
    first = rows[0]
    said = f"{first['dataset']}, {first['train_images']:,} training images; bars: 1 SD over seeds"
    note(axes, said, corner="bottom")
    files = [save_figure(figure, folder / f"accuracy-against-cost{kind}")[0] for kind in (".png", ".svg")]
    return [*files, *save_figure(figure, folder / "accuracy-against-cost.pdf", table=points)]


def _left_of_another(point: Mapping[str, Any], points: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether another point is so close on the right that a label there would cover it."""
    x, y = point["core_seconds"], point["test_accuracy"]
    return any(
        x < other["core_seconds"] < 2 * x and abs(other["test_accuracy"] - y) < 1.5 for other in points
    )


def with_table(text: str, lines: Sequence[str]) -> str:
    """Return a page with the table between its two marks, which must be there once each."""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end) or BEGIN in rest or END in tail:
        raise UserError(f"the page must hold {BEGIN.strip()} and {END.strip()} once, in this order")
    inside = "\n".join(["", *lines, "", ""]) if lines else ""
    return f"{head}{BEGIN}{inside}{END}{tail}"


def write_tables(rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the table into the pages that show it."""
    for page, figure in ((ROOT / "README.md", "reproduction/compare/"), (PLACE / "README.md", "")):
        lines = table(rows)
        if lines:
            lines = [*lines, "", f"![Test accuracy against training time]({figure}accuracy-against-cost.png)"]
        write_file(page, with_table(page.read_text(encoding="utf-8"), lines))


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ± {_deviation(values):.{digits}f}" if len(values) > 1 else mean


def _deviation(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else 0.0


def _large(value: float) -> str:
    """Return a number in millions or thousands, with three digits."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(guarded_run(lambda: main(sys.argv[1:])))
