"""Does everything run? Each case is built, proven and timed once, the ends of each curve too; nothing is recorded.

The seconds are those of one call, on a machine that need not be quiet. They only tell how long a recording would take.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from reprokit import bench

from benchmarks import done, growth
from benchmarks.cases import Call, Case, Growth, Settings, Work

SLOW = 20.0  # seconds of a call that is not made a second time


def once(call: Call) -> float:
    """Return the seconds of a call after the first one; those of the first if it is slow."""
    first = bench._time(call, 1)
    return first if first > SLOW else bench._time(call, 1)


def recording(seconds: float, repeats: int) -> float:
    """Return the seconds that `reprokit.bench.compare` spends on one side: warm-up, size of a group, repeats.

    Args:
        seconds: Those of a call.
        repeats: Timings.
    """
    size, calls = 1, 2
    while size * seconds < bench.SHORTEST:
        size *= 2
        calls += size + 1
    return seconds * (calls + repeats * (size + (size > 1)))


def case(entry: Case, work: Work, ready: float, repeats: int | None = None) -> tuple[str, float]:
    """Time both sides once.

    Args:
        entry: The case.
        work: Its programs, proven equal.
        ready: Seconds that building and proving took.
        repeats: Of a recording; None: the case's own.

    Returns:
        What was seen, and the seconds of a recording.
    """
    ours, theirs = once(work.ours), once(work.theirs)
    whole = ready + sum(recording(t, repeats or entry.repeats) for t in (ours, theirs))
    return f"ours {ours:.3g} s, theirs {theirs:.3g} s, once; a recording takes about {whole:.0f} s", whole


def curve(
    entry: Growth,
    number: int,
    settings: Mapping[str, Any],
    repeats: int,
    measured: Callable[..., dict[str, Any]] = growth.point,
) -> tuple[str, float]:
    """Measure the smallest and the largest value once.

    Args:
        entry: The curve.
        number: Its place in the registry.
        settings: Fields of `Settings`.
        repeats: Processes of each point in a recording.
        measured: Measures one value.

    Returns:
        What was seen, and the seconds of a recording, sizes between the ends interpolated as a power law.

    Raises:
        RuntimeError: A value fails.
    """
    ends, walls, seen = (entry.values[0], entry.values[-1]), [], []
    for value in ends:
        found = measured(entry.package, number, value, dict(settings))
        if "error" in found:
            raise RuntimeError(f"{entry.parameter} {value}: {found['error']}")
        walls.append(found["process_seconds"])
        seen.append(f"{value}: {found['seconds']:.3g} s, {found['memory_mb']:.0f} MB")
    slope = math.log(walls[1] / walls[0]) / math.log(ends[1] / ends[0])
    whole = repeats * sum(walls[0] * (value / ends[0]) ** slope for value in entry.values)
    return f"{'; '.join(seen)}; a recording takes about {whole:.0f} s", whole


def curves(
    entries: Sequence[Growth],
    settings: Settings,
    repeats: int,
    say: Callable[[str], object],
    measured: Callable[..., dict[str, Any]] = growth.point,
    until: float = math.inf,
) -> tuple[float, list[str]]:
    """Try curves of one package; none is begun from the time `until` on.

    Returns:
        The seconds of a recording, and a sentence for each curve that fails.
    """
    whole, failures, left = 0.0, [], 0
    places, plain = growth.places(entries[0].package, settings), growth.plain(settings)
    for entry in entries:
        if time.time() >= until:
            left += 1
            continue
        try:
            words, seconds = curve(entry, places[str(entry)], plain, repeats, measured)
        except RuntimeError as error:
            failures.append(f"FAILED: {entry}: {error}")
            say(failures[-1])
            continue
        whole += seconds
        say(f"tried: {entry}: {words}")
    done.left(left, say)
    return whole, failures
