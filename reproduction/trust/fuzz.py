"""Damaged files for every reader: each input is read rightly or refused in a sentence; none crashes or hangs.

Every input is a valid small file of the format with bytes flipped, cut, doubled, moved or overwritten; of compressed
formats every second one is damaged inside and compressed again, so that no checksum fails. What a reader accepts is
compared with what a plain decoder (`plain.py`) finds in the same bytes. Work is done in child processes, so that a
crash is counted and does not end the count; they are forked after the readers are imported, a block of inputs each.
"""

import faulthandler
import gzip
import io
import itertools
import multiprocessing
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import EventSet, Recordings, UserError

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2] / "shared/tests/data")]
import made_files  # pyright: ignore[reportMissingImports]
from more_files import MORE, other_file
from plain import PLAIN, in_memory

__all__ = ["FORMATS", "fuzz"]

FORMATS = [*made_files.KINDS, *MORE]
BLOCK = 500  # inputs a child reads before it reports
CPU_SECONDS = 120  # for a block, which needs about one: more counts as hanging, however busy the machine is
PATIENCE = 1800.0  # seconds by the clock, for a reader that waits without computing
COUNTS = ("inputs", "read", "refused", "crashes", "hangs", "wrong", "MB at most")


def written(folder: Path, kind: str) -> tuple[Path, Any]:
    """Write one good file of a format, the same one each time, and return it with its reader."""
    made_files.RANDOM = np.random.default_rng(0)
    return other_file(folder, kind) if kind in MORE else made_files.written(folder, kind)


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Return a file's content with one to four kinds of damage."""
    data = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        if not data:
            break
        kind, at = chance.randrange(6), chance.randrange(len(data))
        length = min(len(data) - at, 1 << chance.randrange(8))
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            del data[at : at + length]
        elif kind == 3:
            data[at:at] = data[at : at + length]
        elif kind == 4:
            data[at : at + length] = chance.randbytes(length)
        else:
            data[at : at + length] = bytes([chance.choice((0, 0x7F, 0x80, 0xFF))]) * length
    return bytes(data)


def damaged_inside(content: bytes, chance: random.Random) -> bytes:
    """Return a compressed file whose content is damaged and whose checksums are right; others as `damaged` does."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(damaged(gzip.decompress(content), chance), 1)
    if content[:2] == b"PK":
        buffer = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
            hit = chance.randrange(len(old.namelist()))
            for number, name in enumerate(old.namelist()):
                inside = old.read(name)
                new.writestr(name, damaged(inside, chance) if number == hit else inside)
        return buffer.getvalue()
    return damaged(content, chance)


def _block(kind: str, seed: int, at: Any, pipe: Any) -> None:
    faulthandler.enable(file=sys.__stderr__)
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 5))
    warnings.simplefilter("ignore")
    chance = random.Random(seed)
    read_rightly, refused, wrong = 0, 0, []
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        file, read = written(Path(folder), kind)
        content = file.read_bytes()
        if complaint := mistaken(kind, content, read(file)):
            wrong.append(f"the good file: {complaint}")
        for number in range(BLOCK):
            data = (damaged_inside if number % 2 else damaged)(content, chance)
            file.write_bytes(data)
            at.value = number  # for the parent, should this process end here
            try:
                complaint = mistaken(kind, data, read(file))
                read_rightly += not complaint
                wrong += [f"seed {seed}, input {number}: {complaint}"] if complaint else []
            except UserError:
                refused += 1
            except Exception as error:
                wrong.append(f"seed {seed}, input {number}: {type(error).__name__}: {error}"[:200])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send((read_rightly, refused, wrong, memory))


def fuzz(
    kind: str, *, inputs: int, before: dict[str, Any] | None = None, until: float = float("inf")
) -> dict[str, Any]:
    """Give the reader of one format damaged files.

    Args:
        kind: The format, one of `FORMATS`.
        inputs: How many; rounded up to whole blocks.
        before: What an interrupted count returned; it is taken up there.
        until: No block is begun after this time of `time.time()`.

    Returns:
        Inputs, how many were read and refused, crashes, hangs, wrong answers with the first of them, and the most
        memory of a child in MB.
    """
    total = {name: (before or {}).get(name, 0) for name in COUNTS} | {
        "which": (before or {}).get("which", [])
    }
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        file, read = written(Path(folder), kind)
        mistaken(kind, file.read_bytes(), read(file))  # imports all that the children need
    for seed in range(total["inputs"] // BLOCK, -(-inputs // BLOCK)):
        if time.time() > until:
            break
        _count(kind, seed, total)
    return total


def _count(kind: str, seed: int, total: dict[str, Any]) -> None:
    """Read one block of inputs in a child and add what became of them."""
    context = multiprocessing.get_context("fork")
    (receive, send), at = context.Pipe(duplex=False), context.RawValue("i", -1)
    child = context.Process(target=_block, args=(kind, seed, at, send))
    child.start()
    send.close()
    total["inputs"] += BLOCK
    if not receive.poll(PATIENCE):
        child.kill()
        child.join()
        total["hangs"] += 1
        total["which"].append(f"seed {seed}, input {at.value}: never ends")
        return
    try:
        read_rightly, refused, wrong, memory = receive.recv()
    except EOFError:
        child.join()
        hung = child.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
        total["hangs" if hung else "crashes"] += 1
        total["which"].append(f"seed {seed}, input {at.value}: ended with {child.exitcode}")
        return
    child.join()
    total["read"] += read_rightly
    total["refused"] += refused
    total["wrong"] += len(wrong)
    total["MB at most"] = max(total["MB at most"], round(memory))
    total["which"] = [*total["which"], *wrong][:5]


def mistaken(kind: str, content: bytes, found: Any) -> str:
    """Say what is wrong with data that a reader accepted: against all sense, or not what is in the file."""
    complaint = senseless(found)
    if not complaint and kind in PLAIN and not PLAIN[kind](content, found):
        complaint = "read as something else than what is in the file"
    return complaint


def senseless(found: Any) -> str:
    """Say what no data set can hold: a coordinate outside, a time that runs backwards, a label without a class."""
    parts = [getattr(found, part, None) for part in ("train", "test")]
    for part in [found, *parts]:
        if isinstance(part, Recordings) and (problem := _recordings(part, getattr(found, "channels", None))):
            return problem
        if isinstance(part, EventSet) and (problem := _events(part, getattr(found, "sensor", None))):
            return problem
        labels, classes = getattr(part, "labels", None), getattr(found, "classes", None)
        if labels is not None and len(labels) and (labels.min() < 0 or (classes and labels.max() >= classes)):
            return "a label has no class"
    return ""


def _recordings(spikes: Recordings, channels: int | None) -> str:
    for first, last in itertools.pairwise(spikes.offsets):
        times = spikes.times[first:last]
        if not np.isfinite(times).all() or (np.diff(times) < 0).any() or (times < 0).any():
            return "times are not finite and ascending"
    outside = len(spikes.units) and (spikes.units.min() < 0 or (channels and spikes.units.max() >= channels))
    return "a channel does not exist" if outside else ""


def _events(events: EventSet, sensor: tuple[int, int] | None) -> str:
    for first, last in itertools.pairwise(events.offsets):
        if (np.diff(events.t[first:last]) < 0).any():
            return "times run backwards"
    if len(events.t) and (min(events.x.min(), events.y.min()) < 0 or not np.isin(events.p, (0, 1)).all()):
        return "an event has no place or polarity"
    if sensor and len(events.t) and (events.y.max() >= sensor[0] or events.x.max() >= sensor[1]):
        return "an event leaves the sensor"
    return ""
