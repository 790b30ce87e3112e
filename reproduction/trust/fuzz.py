"""Damaged files for every reader: each input is read rightly or refused in a sentence; none crashes or hangs.

Every input is a valid small file of the format with bytes flipped, cut, doubled, moved or overwritten. Work is done in
child processes, so that a crash is counted and does not end the count.
"""

import faulthandler
import itertools
import multiprocessing
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import EventSet, Recordings, UserError

sys.path.insert(0, str(Path(__file__).parents[2] / "shared/tests/data"))
from made_files import KINDS as FORMATS  # pyright: ignore[reportMissingImports]
from made_files import written  # pyright: ignore[reportMissingImports]

__all__ = ["FORMATS", "fuzz"]

BLOCK = 500  # inputs a child reads before it reports
PATIENCE = 120.0  # seconds for a block, after which it counts as hanging


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


def _block(kind: str, seed: int, pipe: Any) -> None:
    faulthandler.enable()
    chance = random.Random(seed)
    read_rightly, refused, wrong = 0, 0, []
    with tempfile.TemporaryDirectory() as folder:
        file, read = written(Path(folder), kind)
        content = file.read_bytes()
        for number in range(BLOCK):
            file.write_bytes(damaged(content, chance))
            try:
                complaint = senseless(read(file))
                read_rightly += not complaint
                wrong += [f"seed {seed}, input {number}: {complaint}"] if complaint else []
            except UserError:
                refused += 1
            except Exception as error:
                wrong.append(f"seed {seed}, input {number}: {type(error).__name__}: {error}"[:200])
    pipe.send((read_rightly, refused, wrong))


def fuzz(kind: str, *, inputs: int) -> dict[str, Any]:
    """Give the reader of one format damaged files.

    Args:
        kind: The format, one of `FORMATS`.
        inputs: How many; rounded up to whole blocks.

    Returns:
        Inputs, how many were read and refused, crashes, hangs, and wrong answers with the first of them.
    """
    context = multiprocessing.get_context("fork")
    total: dict[str, Any] = dict.fromkeys(("inputs", "read", "refused", "crashes", "hangs", "wrong"), 0)
    total["which"] = []
    for seed in range(-(-inputs // BLOCK)):
        receive, send = context.Pipe(duplex=False)
        child = context.Process(target=_block, args=(kind, seed, send))
        child.start()
        send.close()
        total["inputs"] += BLOCK
        if not receive.poll(PATIENCE):
            total["hangs"] += 1
            child.kill()
        else:
            try:
                read_rightly, refused, wrong = receive.recv()
            except EOFError:
                total["crashes"] += 1
                total["which"].append(f"seed {seed}: the process died")
            else:
                total["read"] += read_rightly
                total["refused"] += refused
                total["wrong"] += len(wrong)
                total["which"] = [*total["which"], *wrong][:5]
        child.join()
    return total


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
