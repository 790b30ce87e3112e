"""How time and memory grow with a size: points, exponents, figures, and what the READMEs say about it.

A point is one value of one size. It is measured in a separate process: after a first call, which loads code and fills
caches, free memory is given back to the system, a second call gives the peak of resident memory above what was
resident before it, and further calls give the seconds. Every point is measured in several processes, all values in
turn before the next round.

The exponent b of y = a x^b is that of a straight line through the logarithms of the medians; its band is the 95 %
confidence interval of the slope. A statement of growth.toml (a sentence of a README) holds if the whole band does.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.plots import new_figure, save_figure, style
from reprokit.run.ledger import Ledger
from reprokit.run.provenance import cpu_model, git_commit, versions

from benchmarks import done, machine
from benchmarks.cases import HERE, Call, Growth, LeftOut, Settings, registered

COLUMNS: dict[str, type] = {
    "package": str, "method": str, "parameter": str, "value": int, "seconds": float, "spread": float,
    "memory_mb": float, "before_mb": float, "processes": int, "threads": int, "isa": str, "cpu": str, "load": float,
    "versions": dict, "git_commit": str, "date": str,
}  # fmt: skip
MEASURES = {"seconds": "time of a call, s", "memory_mb": "peak memory of a call, MB"}
STATEMENTS = HERE / "growth.toml"
# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fit:
    """Exponent of a power law, with the lower and upper end of its 95 % band."""

    exponent: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.exponent:.2f} [{self.low:.2f}, {self.high:.2f}]"


def fit(points: Mapping[float, float]) -> Fit | None:
    """Fit y = a x^b; None below three points, or where a value is not above 0."""
    if len(points) < 3 or min(*points, *points.values()) <= 0:
        return None
    xs, ys = [math.log(x) for x in points], [math.log(y) for y in points.values()]
    slope, offset = statistics.linear_regression(xs, ys)
    rest = sum((y - offset - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    middle, freedom = statistics.fmean(xs), len(xs) - 2
    error = math.sqrt(rest / freedom / sum((x - middle) ** 2 for x in xs))
    half = T[min(freedom, len(T)) - 1] * error
    return Fit(slope, slope - half, slope + half)


def status(name: str) -> float:
    """Return a size of this process in MB, 1e6 bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) * 1024 / 1e6


def sample(call: Call) -> dict[str, float]:
    """Return seconds and memory of one call in this process, as the module's text says.

    Raises:
        UserError: The system has no /proc to read peak memory from.
    """
    reset = Path("/proc/self/clear_refs")
    if not reset.exists():
        raise UserError(
            "peak memory is read from /proc/self, which this system does not have; run it on Linux."
        )
    from reprokit import bench

    call()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    reset.write_text("5")
    call()
    peak = status("VmHWM")
    group = bench._group_size(call)
    return {"seconds": bench._time(call, group), "memory_mb": peak - before, "before_mb": before}


def point(package: str, number: int, value: int, settings: dict[str, Any]) -> dict[str, float | str]:
    """Measure one value in a new process; runs here or on a worker.

    Args:
        package: File of the registry.
        number: Place of the curve in it.
        value: The size.
        settings: Fields of `Settings`.
    """
    words = [
        sys.executable,
        "-m",
        "benchmarks.growth",
        package,
        str(number),
        str(value),
        json.dumps(settings),
    ]
    environment, begin = machine.limit(settings["isa"]), time.perf_counter()
    ended = subprocess.run(words, cwd=HERE.parent, env=environment, capture_output=True, text=True)
    if ended.returncode:
        return {"error": (ended.stderr.strip().splitlines() or [f"exit status {ended.returncode}"])[-1]}
    return {**json.loads(ended.stdout.splitlines()[-1]), "process_seconds": time.perf_counter() - begin}


def here(package: str, number: int, value: int, settings: dict[str, Any]) -> dict[str, float | str]:
    """Measure one value in this process."""
    data = settings.pop("data")
    curve = registered(package, Settings(**settings, data=Path(data) if data else None))[1][number]
    machine.set_threads(_threads(curve, value))
    try:
        return dict(sample(curve.build(value)))
    except LeftOut as reason:
        return {"left out": str(reason)}


def places(package: str, settings: Settings) -> dict[str, int]:
    """Return the place of each curve in a file of the registry, by its text."""
    return {str(curve): number for number, curve in enumerate(registered(package, settings)[1])}


def plain(settings: Settings) -> dict[str, Any]:
    """Return the fields of the settings as JSON has them."""
    return {
        "isa": settings.isa,
        "device": settings.device,
        "data": str(settings.data) if settings.data else None,
    }


def measure(
    curves: Sequence[Growth],
    settings: Settings,
    *,
    repeats: int,
    results: Path,
    jobs: int = 1,
    scheduler: str | None = None,
    again: bool = True,
    until: float = math.inf,
    measured: Callable[..., dict[str, Any]] = point,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Measure all points of the curves and append a row for each.

    Args:
        curves: The curves, all of one package.
        settings: The command line's.
        repeats: Processes of each point.
        results: The ledger of growth.
        jobs: Points measured at a time; above 1 they disturb each other's times.
        scheduler: A Dask cluster that measures them instead.
        again: Measure also the points that this commit measured on this machine before.
        until: Time (`time.time`) from which on no further curve is begun.
        measured: Measures one value once.
        say: Prints a line.

    Returns:
        A sentence for each point that failed.
    """
    ledger, failures, left = Ledger(results, COLUMNS), [], 0
    number, package = places(curves[0].package, settings), curves[0].package
    known = {} if again else done.points(results, COLUMNS, settings.isa)
    for curve in curves:
        values = [v for v in curve.values if known.get((package, curve.method, curve.parameter, v, _threads(curve, v)),
                                                       0) < repeats]  # fmt: skip
        if not values:
            say(f"measured before: {curve}")
            continue
        if time.time() >= until:
            left += 1
            continue
        tasks = [
            (package, number[str(curve)], value, plain(settings)) for _ in range(repeats) for value in values
        ]
        samples: dict[int, list[dict[str, Any]]] = {value: [] for value in values}
        for (_, _, value, _), found in zip(tasks, _run(tasks, measured, jobs, scheduler), strict=True):
            samples[value].append(found)
        for value, several in samples.items():
            what = f"{curve.package}: {curve.method}, {curve.parameter} {value}"
            if missing := next((found["left out"] for found in several if "left out" in found), None):
                say(f"left out: {what}: {missing}")
                continue
            if wrong := next((found["error"] for found in several if "error" in found), None):
                failures.append(f"FAILED: {what}: {wrong}")
                say(failures[-1])
                continue
            times = [found["seconds"] for found in several]
            low, middle, high = statistics.quantiles(times, n=4, method="inclusive")
            row = {
                "package": curve.package, "method": curve.method, "parameter": curve.parameter, "value": value,
                "seconds": middle, "spread": (high - low) / middle,
                "memory_mb": statistics.median(found["memory_mb"] for found in several),
                "before_mb": statistics.median(found["before_mb"] for found in several), "processes": len(several),
                "threads": _threads(curve, value), "isa": settings.isa, "cpu": cpu_model(),
                "load": round(os.getloadavg()[0], 2), "versions": versions(curve.packages), "git_commit": git_commit(),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
            }  # fmt: skip
            ledger.append(row)
            say(f"{what}: {middle:.4g} s, {row['memory_mb']:.1f} MB")
    done.left(left, say)
    return failures


def _threads(curve: Growth, value: int) -> int:
    return value if curve.parameter == "threads" else 1


def _run(
    tasks: Sequence[tuple[Any, ...]],
    measured: Callable[..., dict[str, Any]],
    jobs: int,
    scheduler: str | None,
) -> list[dict[str, Any]]:
    if scheduler is not None:
        from distributed import Client

        file = {"scheduler_file": scheduler} if scheduler.endswith(".json") else {"address": scheduler}
        with Client(**file) as client:
            return client.gather([client.submit(measured, *task, pure=False) for task in tasks])
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda task: measured(*task), tasks))


def newest(rows: Iterable[Row]) -> dict[tuple[str, str, str, str], dict[int, Row]]:
    """Return the last row of each value, by package, method, parameter and instruction set."""
    found: dict[tuple[str, str, str, str], dict[int, Row]] = {}
    for row in rows:
        found.setdefault((row["package"], row["method"], row["parameter"], row["isa"]), {})[row["value"]] = (
            row
        )
    return {key: dict(sorted(points.items())) for key, points in found.items()}


def judge(rows: Iterable[Row], file: Path = STATEMENTS) -> list[dict[str, Any]]:
    """Return every statement of the file with `verdict` and what was found.

    A statement limits an exponent (``at_least``, ``at_most``) or the measure itself at all values (``below``).
    Verdicts: "ok" if all instruction sets with rows fulfil it, "fail" if one contradicts it, "undecided" if a band
    reaches both sides of a limit, "not run" without three values.
    """
    curves, result = newest(rows), []
    for statement in tomllib.loads(file.read_text(encoding="utf-8")).get("statement", []):
        verdicts, notes = [], []
        for (package, method, parameter, isa), points in curves.items():
            if (package, method, parameter) != tuple(
                statement[name] for name in ("package", "method", "parameter")
            ):
                continue
            verdict, note = _one(
                statement, {value: row[statement["measure"]] for value, row in points.items()}
            )
            verdicts.append(verdict)
            notes.append(f"{isa}: {note}" if note else "")
        worst = next((word for word in ("fail", "undecided", "ok") if word in verdicts), "not run")
        result.append({**statement, "verdict": worst, "found": "; ".join(filter(None, notes))})
    return result


def _one(statement: Mapping[str, Any], points: Mapping[int, float]) -> tuple[str, str]:
    """Judge one curve."""
    if len(points) < 3:
        return "not run", ""
    if "below" in statement:
        most = max(points.values())
        return "ok" if most < statement["below"] else "fail", f"at most {most:.3g}"
    found = fit(points)
    if found is None:  # a memory of 0 MB does not grow, and has no logarithm
        return "undecided", "no exponent: a value is 0"
    low, high = statement.get("at_least", -math.inf), statement.get("at_most", math.inf)
    inside = low <= found.low and found.high <= high
    outside = found.high < low or found.low > high
    return "ok" if inside else "fail" if outside else "undecided", f"exponent {found}"


@style()
def figure(
    package: str, curves: Mapping[tuple[str, str, str, str], Mapping[int, Row]], path: Path
) -> list[Path]:
    """Draw time and memory of a package's methods against each size, with the fitted exponents."""
    own = {key: points for key, points in curves.items() if key[0] == package}
    parameters = list(dict.fromkeys(key[2] for key in own))
    drawn, axes = new_figure(len(parameters), 2, width="page", height=2.4 * len(parameters))
    table = []
    for line, parameter in enumerate(parameters):
        for place, (measure_, label) in enumerate(MEASURES.items()):
            ax = axes[2 * line + place]
            for (_, method, name, isa), points in own.items():
                if name != parameter:
                    continue
                values = {value: row[measure_] for value, row in points.items()}
                found = fit(values)
                text = f"{method}, {isa}" + (f": {found}" if found else "")
                ax.plot(list(values), list(values.values()), "o-", ms=2.5, label=text)
                table += [
                    {"method": method, "isa": isa, "parameter": name, "value": v, "measure": measure_, "found": y,
                     "exponent": found.exponent if found else "", "low": found.low if found else "",
                     "high": found.high if found else ""}
                    for v, y in values.items()
                ]  # fmt: skip
            ax.set(xscale="log", yscale="log", xlabel=parameter, ylabel=label)
            ax.legend(fontsize=4.5, frameon=False)
    return save_figure(drawn, path, table=table)


def markdown(verdicts: Iterable[Row]) -> str:
    """Return the table of statements."""
    text = (
        "# Growth: what the READMEs say, and what was measured\n\nWritten by `make bench` from `growth.csv` "
        "and [growth.toml](growth.toml). `not run`: no rows of three sizes yet.\n\n"
        "| package | statement | measured as | limit | verdict | found |\n|---|---|---|---|---|---|\n"
    )
    for row in verdicts:
        limit = ", ".join(
            f"{name.replace('_', ' ')} {row[name]}"
            for name in ("at_least", "at_most", "below")
            if name in row
        )
        what = f"{row['measure']} of {row['method']} against {row['parameter']}"
        text += (
            f"| {row['package']} | {row['text']} | {what} | {limit} | {row['verdict']} | {row['found']} |\n"
        )
    return text


def draw(results: Path) -> list[Path]:
    """Write figures and verdicts next to the results; returns the files."""
    rows = Ledger(results, COLUMNS).rows() if results.exists() else []
    files = [write_file(results.with_suffix(".md"), markdown(judge(rows)).encode())]
    curves = newest(rows)
    for package in dict.fromkeys(key[0] for key in curves):
        files += figure(package, curves, results.parent / "figures" / f"growth-{package}.svg")
    return files


if __name__ == "__main__":
    print(json.dumps(here(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))))
