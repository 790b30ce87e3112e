"""Random SIGKILLs of trainings and of studies; what comes out at the end is what an undisturbed one gives."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError, read_run
from reprokit.run.checkpoint import read_checkpoint
from reprokit.run.ledger import read_ledger

BIN = Path(sys.executable).parent
WRONG_ROWS = "rows missing, double or otherwise"
# Trainings of a few seconds that write checkpoints on the way. {out} is the run directory.
TRAININGS = {
    "sbs": "train digits-smoke --learning.updates 60 --checkpoint-every 5 --out {out}",
    "dalton": "train --dataset digits --steps 10 --epochs 6 --out {out}",
    "bdfa": "train smoke --epochs 25 --out {out}",
    "nalsm": "train --data digits --dims 6 6 6 --duration 100 --initial-samples 300 --out {out}",
    "denram": "train --data spoken-toy --n-in 64 --batch-size 32 --n-delays 4 --nb-epochs 12 --out {out}",
}
# Keys that tell of the clock or the machine, not of the result.
OF_THE_CLOCK = (
    "seconds",
    "time",
    "memory",
    "started",
    "versions",
    "threads",
    "device",
    "git_commit",
    "rate_per",
)
LOOK = 0.02  # seconds between two looks whether a program has begun its work
BEGIN = 900.0  # seconds by the clock after which a program that has not begun its work hangs
END = 1800.0  # and after which one that has begun has not ended
ENDLESS = 40  # starts that may end before they are killed, a kill; more means that the command is too short


def start(package: str, words: str) -> subprocess.Popen[bytes]:
    """Start a command in its own process group, silent."""
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [BIN / package, *words.split()], stdout=quiet, stderr=quiet, start_new_session=True
    )


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a command and its workers at once; whether it was still alive."""
    alive = process.poll() is None
    if alive:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return alive


def wait_for(begun: Callable[[], bool], process: subprocess.Popen[bytes]) -> float:
    """Wait until a program has begun its work or has ended, and return the seconds that took.

    A kill while the interpreter still imports would show nothing, and on a busy machine that may take long.

    Raises:
        UserError: It does neither.
    """
    begin = time.monotonic()
    while process.poll() is None and not begun():
        time.sleep(LOOK)
        if time.monotonic() - begin > BEGIN:
            kill(process)
            raise UserError(f"{process.args!r} has not begun its work after {BEGIN:.0f} s")
    return time.monotonic() - begin


def kill_at_random(
    package: str,
    words: str,
    folder: Path,
    begun: Callable[[], bool],
    chance: random.Random,
    *,
    seconds: float,
) -> bool:
    """Start a command, kill it at a random time of the `seconds` after it began its work; whether it was alive.

    In a folder that another process began, the work counts as begun when a file there changes.
    """
    before = _newest(folder)
    process = start(package, words)
    wait_for(lambda: begun() and _newest(folder) > before, process)
    time.sleep(chance.random() * seconds)
    return kill(process)


def _newest(folder: Path) -> int:
    """When a file below a folder was last changed, in ns; 0 where there is none."""
    newest = 0
    for path in folder.rglob("*"):
        try:
            newest = max(newest, path.stat().st_mtime_ns)
        except FileNotFoundError:  # a temporary file that has got its name
            continue
    return newest


def finish(package: str, words: str) -> float:
    """Run a command to its end and return its seconds.

    Raises:
        UserError: It failed; its last words are in the message.
    """
    begin = time.monotonic()
    try:
        done = subprocess.run(
            [BIN / package, *words.split()], capture_output=True, text=True, check=False, timeout=END
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{package} {words} has not ended after {END:.0f} s") from error
    if done.returncode:
        raise UserError(f"{package} {words} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return time.monotonic() - begin


def without_clock(values: Any) -> Any:
    """Leave out what depends on the clock or the machine, at any depth."""
    if isinstance(values, dict):
        return {
            key: without_clock(value)
            for key, value in values.items()
            if not any(word in key for word in OF_THE_CLOCK)
        }
    return [without_clock(value) for value in values] if isinstance(values, list) else values


def outcome(package: str, folder: Path) -> dict[str, Any]:
    """Everything a finished run leaves that must not depend on kills: numbers, log and arrays."""
    run = read_run(folder, package=package)
    found: dict[str, Any] = {"summary": without_clock(run.summary), "log": without_clock(run.records)}
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.suffix == ".npy":
            found[name] = np.load(file, allow_pickle=False)
        elif file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                found |= {f"{name}/{key}": arrays[key] for key in arrays.files}
        elif file.suffix == ".safetensors" and file.name.startswith("checkpoint-"):
            stored = read_checkpoint(file)
            found |= {f"{name}/{key}": array for key, array in stored.arrays.items()}
            found[f"{name}/state"] = without_clock(stored.state)
    return found


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what differs by a bit."""
    return [
        name
        for name in sorted({*one, *other})
        if name not in one or name not in other or not _equal(one[name], other[name])
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def trainings(
    package: str,
    place: Path,
    *,
    kills: int = 20,
    before: dict[str, Any] | None = None,
    until: float = float("inf"),
) -> dict[str, Any]:
    """Kill a training at random times, twice a run, and compare every end with an undisturbed run's.

    Only kills of a program that had begun to write its run count.

    Args:
        package: Whose training.
        place: An empty folder.
        kills: How many.
        before: What an interrupted count returned; it is taken up there.
        until: No run is begun after this time of `time.time()`.

    Returns:
        Kills, how many of them left a run with logged results, runs, and runs that ended otherwise.
    """
    words = TRAININGS[package]
    reference = place / "reference"
    seconds = _working_seconds(package, words.format(out=reference), (reference / "config.json").exists)
    expected = outcome(package, reference)
    total = _begun(before, ("kills", "with results", "runs", "not bit-equal"))
    while total["kills"] < kills and time.time() < until:
        folder, chance = place / f"killed-{total['runs']}", random.Random(total["runs"])
        for _ in range(2):
            begun = (folder / "config.json").exists
            if kill_at_random(package, words.format(out=folder), folder, begun, chance, seconds=seconds):
                total["kills"] += 1
                total["with results"] += any(file.stat().st_size for file in folder.glob("metrics.jsonl"))
        finish(package, words.format(out=folder))
        if changed := differences(expected, outcome(package, folder)):
            total["not bit-equal"] += 1
            total["which"].append(f"run {total['runs']}: {', '.join(changed[:4])}")
        total["runs"] += 1
        shutil.rmtree(folder)
        if total["runs"] > ENDLESS * kills:
            raise UserError(
                f"{package}: {total['kills']} of {total['runs']} runs were killed; its training is too short"
            )
    return total


def _begun(before: dict[str, Any] | None, counts: tuple[str, ...]) -> dict[str, Any]:
    """Counts at the beginning: zeros, or those of an interrupted measurement."""
    before = before or {}
    return {name: before.get(name, 0) for name in counts} | {"which": before.get("which", [])}


def _working_seconds(package: str, words: str, begun: Callable[[], bool]) -> float:
    """Run a command to its end and return the seconds from the beginning of its work.

    Raises:
        UserError: It failed.
    """
    process = start(package, words)
    wait_for(begun, process)
    begin = time.monotonic()
    if process.wait():
        finish(package, words)  # says why
    return max(0.5, time.monotonic() - begin)


def studies(
    package: str,
    place: Path,
    *,
    kills: int = 20,
    before: dict[str, Any] | None = None,
    until: float = float("inf"),
) -> dict[str, Any]:
    """Kill `reproduce` with its workers at random times, then let it finish: every row once, with the same numbers.

    Args:
        package: Whose study.
        place: An empty folder.
        kills: How many.
        before: What an interrupted count returned; it is taken up there.
        until: No study is begun after this time of `time.time()`.

    Returns:
        Kills, how many of them left some of the rows, studies, rows, and rows that are missing, double or otherwise.
    """
    words = "reproduce --scale smoke --jobs 2 --out {out}"
    reference = place / "reference"
    seconds = _working_seconds(
        package, words.format(out=reference), lambda: any(reference.rglob("config.json"))
    )
    expected = _rows(reference)
    total = _begun(before, ("kills", "with results", "studies", "rows", WRONG_ROWS))
    while total["kills"] < kills and time.time() < until:
        folder, chance = place / f"killed-{total['studies']}", random.Random(total["studies"])
        for _ in range(5):
            begun = lambda folder=folder: any(folder.rglob("config.json"))  # noqa: E731
            # a third of the study: what a kill interrupts is partly done again, so five kills fit into one study
            if kill_at_random(package, words.format(out=folder), folder, begun, chance, seconds=seconds / 3):
                total["kills"] += 1
                total["with results"] += bool(_rows(folder))
        finish(package, words.format(out=folder))
        found = _rows(folder)
        wrong = [key for key in sorted({*found, *expected}) if found.get(key) != expected.get(key)]
        total["rows"] += len(found)
        total[WRONG_ROWS] += len(wrong)
        total["which"] = [*total["which"], *wrong][:4]
        total["studies"] += 1
        shutil.rmtree(folder)
        if total["studies"] > ENDLESS * kills:
            raise UserError(
                f"{package}: {total['kills']} of {total['studies']} studies were killed; its study is too short"
            )
    return total


def _rows(folder: Path) -> dict[str, Any]:
    """Rows of a study's ledger by run id; a second row of one id is marked as such."""
    found: dict[str, Any] = {}
    if not (folder / "results.csv").exists():
        return found
    for row in read_ledger(folder / "results.csv")[1]:
        kept = without_clock({key: value for key, value in row.items() if key != "config"})
        found[row["run_id"]] = "double" if row["run_id"] in found else json.dumps(kept, sort_keys=True)
    return found


def two_at_once(package: str, place: Path) -> dict[str, Any]:
    """Start a training twice in one folder: the second is refused in a sentence, or waits and finds it finished."""
    words = TRAININGS[package]
    finish(package, words.format(out=place / "reference"))
    pair = [
        subprocess.Popen(
            [BIN / package, *words.format(out=place / "run").split()],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [process.communicate()[1] for process in pair]
    changed = differences(outcome(package, place / "reference"), outcome(package, place / "run"))
    return {
        "finished": sum(process.returncode == 0 for process in pair),
        "refused": sum(
            process.returncode == 2 and "in use by another run" in text
            for process, text in zip(pair, said, strict=True)
        ),
        "not bit-equal": len(changed),
        "which": changed[:4],
    }
