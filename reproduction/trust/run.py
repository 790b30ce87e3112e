"""Measure what can be trusted, and write it down: ``make trust``.

    python reproduction/trust/run.py [--only PART...] [--minutes 90] [--jobs 2] [--kills 20] [--inputs 100000]
                                     [--out runs/trust]

Each part is a process that writes `<out>/<part>.json`; two are measured side by side. The same command skips the parts
whose code is still the one that was measured (comments and docstrings aside) and takes up counts that are not full, so
that an interrupted measurement can be continued, also in pieces of a few minutes. What does not fit into the minutes is
taken from an older commit, if it was measured there, and the page says so. At the end `docs/trust.md` is written from
those files.
"""

import argparse
import ast
import functools
import hashlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))
import fuzz
import hostile
import kills
from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.run.provenance import MODIFIED, git_commit
from reprokit.terminal import say

ROOT = Path(__file__).parents[2]
PACKAGES = ("sbs", "dalton", "bdfa", "nalsm", "denram")
SHARED_TESTS = {  # what the test suites hold, run once more here so that the figure is of this commit
    "hostile archives, pickles, .npy, .npz, HDF5": "shared/tests -k pickle or hostile or outside_its_folder or bomb",
    "full disk": "shared/tests/test_full_disk.py",
    "read-only folders": "shared/tests -k read_only or no_write_permission or unwritable",
    "killed at every point": "shared/tests -k kill_at_every_point or three_killed",
}
READERS = tuple(
    f"shared/src/reprokit/{name}" for name in ("readers", "data", "files", "types.py", "errors.py")
)
NOT_OF_READERS = {  # formats that another room reads
    "gestures.csv": "shared/src/reprokit/readers",
    "safetensors": "shared/src/reprokit/run",
    "ledger.csv": "shared/src/reprokit/run",
    "claims.toml": "shared/src/reprokit/claims",
    "dump.h5": "packages/dalton/src/dalton/formats",
    "ecg.hea": "packages/denram/src/denram/data",
    "ecg.atr": "packages/denram/src/denram/data",
}
FOUND_BAD = 3  # exit status of a part; an exception of Python's ends with 1
UNSHOWN = ("commit", "code", "current", "which")
Measured = dict[str, Any]


class Part(NamedTuple):
    """One thing that is measured.

    Attributes:
        measure: Gets an empty folder, what was counted before and the time to stop at; returns what it found.
        code: Paths of what it tells of, and of what measures it: as long as they stay, so does the result.
        size: How many inputs or kills are asked for; a count of fewer is taken up. 0: not counted.
    """

    measure: Callable[[Path, Measured | None, float], Measured]
    code: tuple[str, ...]
    size: int = 0


def parts(options: argparse.Namespace) -> dict[str, Part]:
    """Everything that is measured, by name, quick parts first."""
    everywhere = ("shared/src", *(f"packages/{package}/src" for package in PACKAGES))
    found: dict[str, Part] = {}
    for name, words in SHARED_TESTS.items():
        found[f"tests, {name}"] = Part(partial(tests, words), ("shared/src", "shared/tests"))
    for package in PACKAGES:
        damage = f"packages/{package}/tests/test_damaged_runs.py"
        found[f"tests, damaged run directories, {package}"] = Part(
            partial(tests, damage), ("shared/src", f"packages/{package}/src", damage)
        )
    found["hostile files, every reader"] = Part(
        lambda place, _, __: hostile.hostile(place), (*everywhere, "reproduction/trust/hostile.py")
    )
    for script in sorted(ROOT.glob("packages/*/cpp/tests/sanitize.sh")):
        code = (f"packages/{script.parts[-4]}/cpp",)
        found[f"sanitizers, {script.parts[-4]}"] = Part(partial(sanitizers, script), code)
    for package in PACKAGES:
        cpp = [f"packages/{package}/cpp"] if (ROOT / f"packages/{package}/cpp").exists() else []
        code = ("shared/src", f"packages/{package}/src", *cpp, "reproduction/trust/kills.py")
        found[f"two at once, {package}"] = Part(
            lambda place, _, __, package=package: kills.two_at_once(package, place), code
        )
        for kind, measure in (("trainings", kills.trainings), ("studies", kills.studies)):
            found[f"killed {kind}, {package}"] = Part(
                partial(killed, measure, package, options.kills), code, options.kills
            )
    for kind in fuzz.FORMATS:
        tools = tuple(f"reproduction/trust/{name}.py" for name in ("fuzz", "plain", "more_files"))
        read_by = (*READERS, *([NOT_OF_READERS[kind]] if kind in NOT_OF_READERS else []))
        code = (*dict.fromkeys(read_by), "shared/tests/data/made_files.py", *tools)
        found[f"damaged files, {kind}"] = Part(partial(fuzzed, kind, options.inputs), code, options.inputs)
    return found


def fuzzed(kind: str, inputs: int, _: Path, before: Measured | None, until: float) -> Measured:
    """Give a reader damaged files."""
    return fuzz.fuzz(kind, inputs=inputs, before=before, until=until)


def killed(
    measure: Callable[..., Measured],
    package: str,
    count: int,
    place: Path,
    before: Measured | None,
    until: float,
) -> Measured:
    """Kill a package's trainings or studies."""
    return measure(package, place, kills=count, before=before, until=until)


def tests(words: str, _: Path, __: Measured | None, ___: float) -> Measured:
    """Run tests and return what pytest says last; no test at all is not a success either."""
    files, _, choice = words.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files.split()]
    command += ["-m", "not network and not gpu and not cluster"]
    done = subprocess.run(
        [*command, *(["-k", choice] if choice else [])], cwd=ROOT, capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().splitlines()[-1]
    return {
        "exit code": done.returncode,
        "passed": _count(last, "passed"),
        "skipped": _count(last, "skipped"),
    }


def _count(line: str, word: str) -> int:
    found = re.search(rf"(\d+) {word}", line)
    return int(found[1]) if found else 0


def digests(code: Iterable[str]) -> dict[str, str]:
    """A digest of what each path holds, of Python files without their comments and docstrings."""
    return {path: _digest(path) for path in code}


@functools.cache
def _digest(path: str) -> str:
    listed = subprocess.run(
        ["git", "ls-files", "-z", path], cwd=ROOT, capture_output=True, text=True, check=False
    )
    digest = hashlib.sha256()
    for name in sorted(filter(None, listed.stdout.split("\0"))):
        content = (ROOT / name).read_bytes()
        digest.update(f"{name}\0".encode())
        digest.update(_without_words(content) if name.endswith(".py") else content)
    return digest.hexdigest()[:16]


def _without_words(source: bytes) -> bytes:
    """Python code without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body[0] = ast.Pass()
    return ast.dump(tree).encode()


def sanitizers(script: Path, _: Path, __: Measured | None, ___: float) -> Measured:
    """Build a core with address, undefined-behaviour and thread sanitizers and run its tests."""
    done = subprocess.run(
        [script], env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    return {"exit code": done.returncode, "last words": " ".join((done.stderr or done.stdout).split())[-200:]}


def bad(found: Measured) -> bool:
    """Whether a part found something that must not be."""
    if found.get("passed") == 0:
        return True
    if "finished" in found and found["finished"] + found["refused"] != 2:
        return True
    counts = (
        "exit code",
        "not bit-equal",
        "rows missing, double or otherwise",
        "crashes",
        "executed",
        "hangs",
        "wrong",
        "error",
    )
    return any(found.get(key) for key in counts)


def report(results: dict[str, Measured], missing: list[str], load: str, mutation: list[str]) -> str:
    """The page: one table a kind of part, and what was not measured."""
    lines = [
        "# Trust, measured",
        "",
        "Written by `make trust` from what it measured; [`reproduction/trust/`](../reproduction/trust) is the code.",
        "Kills are SIGKILLs at random times, of a program and all its workers. Damaged files are valid small files of",
        "each format with bytes flipped, cut, doubled, moved or overwritten; `wrong` counts anything but the right",
        "data or one sentence. `commit` is what was measured; a * behind it: the code of that part has changed since",
        "(comments and docstrings aside). `CPU seconds` are those of the part and its processes, killed workers aside;",
        "`load` is how many programs computed meanwhile on the machine, this one and its like included.",
        "",
        *_sum(results),
        *([load, ""] if load else []),
    ]
    kinds: dict[str, list[tuple[str, Measured]]] = {}
    for name, found in results.items():
        kind, _, what = name.partition(", ")
        kinds.setdefault(kind, []).append((what, found))
    for kind, rows in kinds.items():
        keys = list(dict.fromkeys(key for _, found in rows for key in found if key not in UNSHOWN))
        lines += [
            f"## {kind.capitalize()}",
            "",
            f"| | {' | '.join(keys)} | commit |",
            f"|{' --- |' * (len(keys) + 2)}",
        ]
        for what, found in rows:
            cells = [str(found.get(key, "")) for key in keys]
            old = "" if found["current"] else " *"
            lines.append(f"| {what} | {' | '.join(cells)} | {found['commit'][:10]}{old} |")
        worst = [f"- {what}: {each}" for what, found in rows for each in found.get("which", [])]
        lines += ["", *worst, *([""] if worst else [])]
    lines += mutation
    if missing:
        lines += ["## Not measured", "", *(f"- {name}" for name in missing), ""]
    return "\n".join(lines)


def _sum(results: dict[str, Measured]) -> list[str]:
    """How long everything took."""
    seconds, used = (
        sum(found.get(key, 0) for found in results.values()) for key in ("seconds", "CPU seconds")
    )
    if not used:
        return []
    return [
        f"Sum of all parts: {used / 60:.0f} minutes of CPU, and {seconds / 60:.0f} minutes by the clock if one "
        "followed the other; several are measured side by side.",
        "",
    ]


def _mutants(found: Measured) -> list[str]:
    """The table of mutated files."""
    lines = [
        "Mutants by cosmic-ray, each tried with the tests of its room (`reproduction/trust/mutation.toml`):",
        f"`make mutation`. Sampled with a fixed seed: {found['share']:.0%} of a file's mutants, of which `tried` were.",
        "Equivalent ones are listed with their reasons in `reproduction/trust/equivalent.toml`. The mutants took "
        f"{found['CPU seconds'] / 60:.0f} minutes of CPU, two at a time; commit {found['commit'][:10]}.",
        "",
        "| file | of all | sampled | tried | killed | equivalent | survived |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    total = [0] * 6
    for name, counts in found["files"].items():
        row = [counts[key] for key in ("all", "mutants", "tried", "killed", "equivalent")]
        row.append(row[2] - row[3] - row[4])
        total = [one + other for one, other in zip(total, row, strict=True)]
        lines.append(f"| {name} | {' | '.join(map(str, row))} |")
    share = f"{total[3] / (total[2] - total[4]):.1%}" if total[2] > total[4] else "none"
    lines += [f"| **sum** | {' | '.join(map(str, total))} |", "", f"Killed without equivalents: {share}.", ""]
    return lines


def _survivors(found: Measured) -> list[str]:
    """The mutants that no test killed."""
    if not found["survivors"]:
        return []
    listed = [
        f"- `{one['file']}`, line {one['line']}: `{one['was']}` becomes `{one['becomes']}`"
        for one in found["survivors"]
    ]
    return ["Survivors:", "", *listed, ""]


def _other_sample(found: Measured) -> list[str]:
    """A sample of another seed: the share is that of tests which were written before it was drawn."""
    tried, killed, same = (
        sum(counts[key] for counts in found["files"].values()) for key in ("tried", "killed", "equivalent")
    )
    if tried == same:
        return []
    return [
        f"Another sample (seed {found['seed']}, commit {found['commit'][:10]}), drawn after those tests were written: "
        f"{tried} tried, {same} equivalent, {killed} killed, {killed / (tried - same):.1%} of the rest.",
        "",
        *_survivors(found),
    ]


def mutation_page(file: Path) -> list[str]:
    """What `make mutation` found, as lines of the page; nothing where it was not run."""
    if not file.exists():
        return []
    found = json.loads(file.read_text())
    lines = ["## Mutation", ""]
    if not found["files"]:
        lines += ["No sample of mutants was tried; the known holes were.", ""]
    else:
        lines += _mutants(found)
    lines += _survivors(found)
    for other in sorted(file.parent.glob("mutation-*.json")):
        lines += _other_sample(json.loads(other.read_text()))
    if found["holes"]:
        lines += [
            "### Known holes",
            "",
            "Mutants of `reproduction/trust/holes.toml`, which once survived or stand for a sort of them.",
            "",
        ]
        lines += ["| mutant | killed by |", "| --- | --- |"]
        lines += [
            f"| {hole['about']} | {'`' + hole['tests'] + '`' if hole['killed'] else '**not killed**'} |"
            for hole in found["holes"]
        ]
        lines.append("")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], help="parts, or the beginning of their names")
    parser.add_argument("--minutes", type=float, default=90, help="nothing is begun after that time")
    parser.add_argument("--jobs", type=int, default=2, help="parts that are measured side by side")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files a format")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/trust")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/trust.md")
    parser.add_argument(
        "--note", default="", help="a sentence for the page, such as what else the machine did"
    )
    parser.add_argument("--part", help="measure this part alone and write no page")
    parser.add_argument("--until", type=float, default=float("inf"), help="with --part: when it stops")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["REPROKIT_OFFLINE"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        return one_part(options)
    known = parts(options)
    pending = [
        name
        for name, part in known.items()
        if not complete(part, stored(options.out, name))
        and (not options.only or any(name.startswith(start) for start in options.only))
    ]
    until = time.time() + options.minutes * 60
    measure_all(pending, options, until)
    results, missing = {}, []
    for name, part in known.items():
        found = stored(options.out, name)
        if found is None:
            missing.append(name)
            continue
        results[name] = found | {"current": same(part, found)}
        if counted(found) < part.size:
            missing.append(f"{name}: {counted(found)} of {part.size}")
    page = report(results, missing, options.note, mutation_page(options.out / "mutation.json"))
    write_file(options.page, page)
    say(f"written: {options.page}")
    return int(any(bad(found) for found in results.values()))


def result_file(out: Path, name: str) -> Path:
    """Where the result of a part is."""
    return out / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}.json"


def stored(out: Path, name: str) -> Measured | None:
    """What is known of a part."""
    file = result_file(out, name)
    return json.loads(file.read_text()) if file.exists() else None


def same(part: Part, found: Measured) -> bool:
    """Whether a part's code is the one that was measured."""
    return not found["commit"].endswith(MODIFIED) and found["code"] == digests(part.code)


def counted(found: Measured) -> int:
    """How many inputs or kills a result is of."""
    return max(found.get("inputs", 0), found.get("kills", 0))


def complete(part: Part, found: Measured | None) -> bool:
    """Whether nothing is left to measure of a part."""
    return found is not None and same(part, found) and counted(found) >= part.size


def measure_all(pending: list[str], options: argparse.Namespace, until: float) -> None:
    """Measure parts in processes, some side by side, and begin none after `until`."""
    words = [f"--kills={options.kills}", f"--inputs={options.inputs}", f"--out={options.out}"]
    running: dict[subprocess.Popen[bytes], str] = {}
    while running or (pending and time.time() < until):
        while pending and len(running) < options.jobs and time.time() < until:
            name = pending.pop(0)
            command = [sys.executable, __file__, f"--part={name}", f"--until={until}", *words]
            running[subprocess.Popen(command)] = name
        time.sleep(0.1)
        for process in [process for process in running if process.poll() is not None]:
            name = running.pop(process)
            if process.returncode not in (0, FOUND_BAD):  # a crash that is not counted by the part itself
                lost = {"error": f"the process ended with {process.returncode}", "code": {}}
                write_file(
                    result_file(options.out, name),
                    json.dumps(lost | {"commit": git_commit()}, indent=1) + "\n",
                )
                say(f"BAD  {name}: {lost['error']}")


def one_part(options: argparse.Namespace) -> int:
    """Measure a part in an empty folder, or take it up; seconds, CPU seconds and load go with it.

    A count that is interrupted by the time is stored as far as it came.
    """
    part, before = parts(options)[options.part], stored(options.out, options.part)
    commit, code = git_commit(), digests(part.code)
    if before is not None and (commit.endswith(MODIFIED) or not part.size or not same(part, before)):
        before = None
    begin, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        try:
            found = part.measure(Path(place), before, options.until)
        except UserError as error:
            found = {"error": str(error)}
    earlier = before or {"seconds": 0, "CPU seconds": 0, "load": 0.0}
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    found["seconds"] = earlier["seconds"] + round(time.monotonic() - begin)
    found["CPU seconds"] = earlier["CPU seconds"] + round(sum(one.ru_utime + one.ru_stime for one in used))
    found["load"] = max(earlier["load"], round((load + os.getloadavg()[0]) / 2, 1))
    found |= {"commit": commit, "code": code}
    write_file(result_file(options.out, options.part), json.dumps(found, indent=1) + "\n")
    shown = {key: value for key, value in found.items() if key not in UNSHOWN or key == "which"}
    say(f"{'BAD ' if bad(found) else 'ok  '} {options.part}: {shown}")
    return FOUND_BAD if bad(found) else 0


if __name__ == "__main__":
    raise SystemExit(main())
