"""Random SIGKILLs of trainings and of studies; what comes out at the end is what an undisturbed one gives."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Ledger, UserError, read_run

BIN = Path(sys.executable).parent
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
START_UP = 1.5  # seconds in which an interpreter imports; earlier kills would test nothing


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


def finish(package: str, words: str) -> float:
    """Run a command to its end and return its seconds.

    Raises:
        UserError: It failed; its last words are in the message.
    """
    begin = time.monotonic()
    done = subprocess.run([BIN / package, *words.split()], capture_output=True, text=True, check=False)
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
    if any(folder.glob("checkpoints/*.safetensors")):
        last = run.checkpoint("last")
        found |= {f"checkpoint/{key}": array for key, array in last.arrays.items()}
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


def trainings(package: str, place: Path, *, kills: int = 20, seed: int = 0) -> dict[str, Any]:
    """Kill a training at random times, several times a run, and compare every end with an undisturbed run's.

    Returns:
        Kills, runs, and runs that ended otherwise.
    """
    words = TRAININGS[package]
    reference = place / "reference"
    seconds = finish(package, words.format(out=reference))
    expected = outcome(package, reference)
    chance, done, runs, wrong = random.Random(seed), 0, 0, []
    while done < kills:
        folder = place / f"killed-{runs}"
        for _ in range(2):
            process = start(package, words.format(out=folder))
            time.sleep(START_UP + chance.random() * max(0.5, seconds - START_UP))
            done += kill(process)
        finish(package, words.format(out=folder))
        changed = differences(expected, outcome(package, folder))
        wrong += [f"run {runs}: {', '.join(changed[:4])}"] if changed else []
        runs += 1
        shutil.rmtree(folder)
    return {"kills": done, "runs": runs, "not bit-equal": len(wrong), "which": wrong}


def studies(package: str, place: Path, *, kills: int = 20, seed: int = 0) -> dict[str, Any]:
    """Kill `reproduce` with its workers at random times, then let it finish: every row once, with the same numbers.

    Returns:
        Kills, rows, rows that are missing, double or otherwise.
    """
    words = "reproduce --scale smoke --jobs 2 --out {out}"
    seconds = finish(package, words.format(out=place / "reference"))
    expected = _rows(place / "reference")
    chance, done, starts, wrong, rows = random.Random(seed), 0, 0, 0, 0
    while done < kills:
        folder = place / f"killed-{starts}"
        for _ in range(5):
            process = start(package, words.format(out=folder))
            time.sleep(START_UP + chance.random() * max(0.5, seconds / 2))
            done += kill(process)
        finish(package, words.format(out=folder))
        found = _rows(folder)
        rows += len(found)
        wrong += sum(found.get(key) != expected.get(key) for key in {*found, *expected})
        starts += 1
        shutil.rmtree(folder)
    return {"kills": done, "rows": rows, "rows missing, double or otherwise": wrong}


def _rows(folder: Path) -> dict[str, Any]:
    """Rows of a study's ledger by run id; a second row of one id is marked as such."""
    found: dict[str, Any] = {}
    for row in Ledger(folder / "results.csv").rows():
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
