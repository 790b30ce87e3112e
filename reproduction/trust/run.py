"""Measure what can be trusted, and write it down: ``make trust``.

    python reproduction/trust/run.py [--only PART...] [--minutes 90] [--kills 20] [--inputs 100000] [--out runs/trust]

Each part writes `<out>/<part>.json` when it is done; the same command skips the parts whose code is still the one that
was measured, so that an interrupted measurement is taken up. What does not fit into the minutes is taken from an older
commit, if it was measured there, and the page says so. At the end `docs/trust.md` is written from those files.
"""

import argparse
import json
import os
import re
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
UNSHOWN = ("commit", "code", "current", "which")
Measured = dict[str, Any]


class Part(NamedTuple):
    """One thing that is measured.

    Attributes:
        measure: Gets an empty folder and returns what it found.
        code: Paths of what it tells of, and of what measures it: as long as they stay, so does the result.
        size: How many inputs or kills are asked for; a result of fewer is measured again. 0: not counted.
    """

    measure: Callable[[Path], Measured]
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
        hostile.hostile, (*everywhere, "reproduction/trust/hostile.py")
    )
    for kind in fuzz.FORMATS:
        tools = tuple(f"reproduction/trust/{name}.py" for name in ("fuzz", "plain", "more_files"))
        code = ("shared/src", "shared/tests/data/made_files.py", *tools)
        found[f"damaged files, {kind}"] = Part(partial(fuzzed, kind, options.inputs), code, options.inputs)
    for package in PACKAGES:
        cpp = [f"packages/{package}/cpp"] if (ROOT / f"packages/{package}/cpp").exists() else []
        code = ("shared/src", f"packages/{package}/src", *cpp, "reproduction/trust/kills.py")
        found[f"two at once, {package}"] = Part(partial(kills.two_at_once, package), code)
        for kind, measure in (("trainings", kills.trainings), ("studies", kills.studies)):
            found[f"killed {kind}, {package}"] = Part(
                partial(measure, package, kills=options.kills), code, options.kills
            )
    for script in sorted(ROOT.glob("packages/*/cpp/tests/sanitize.sh")):
        code = (f"packages/{script.parts[-4]}/cpp",)
        found[f"sanitizers, {script.parts[-4]}"] = Part(partial(sanitizers, script), code)
    return found


def fuzzed(kind: str, inputs: int, _: Path) -> Measured:
    """Give a reader damaged files."""
    return fuzz.fuzz(kind, inputs=inputs)


def tests(words: str, _: Path) -> Measured:
    """Run tests and return what pytest says last; no test at all is no success either."""
    files, _, choice = words.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files.split()]
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


def trees(code: Iterable[str]) -> dict[str, str]:
    """The digest git has of each path, in the commit that is checked out."""
    return {
        path: subprocess.run(
            ["git", "rev-parse", f"HEAD:{path}"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.strip()
        for path in code
    }


def sanitizers(script: Path, _: Path) -> Measured:
    """Build a core with address, undefined-behaviour and thread sanitizers and run its tests."""
    done = subprocess.run(
        [script], env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True, check=False
    )
    return {"exit code": done.returncode, "last words": (done.stderr or done.stdout).strip()[-200:]}


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
        "data or one sentence. `commit` is what was measured; a * behind it: the code of that part has changed since.",
        "",
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


def _mutants(found: Measured) -> list[str]:
    """The table of mutated files."""
    lines = [
        "Mutants by cosmic-ray, each tried with the tests of its room (`reproduction/trust/mutation.toml`):",
        f"`make mutation`. Sampled with a fixed seed: {found['share']:.0%} of a file's mutants, of which `tried` were.",
        "Equivalent ones are listed with their reasons in `reproduction/trust/equivalent.toml`.",
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
    if found["survivors"]:
        lines += ["Survivors:", ""]
        lines += [
            f"- `{one['file']}`, line {one['line']}: `{one['was']}` becomes `{one['becomes']}`"
            for one in found["survivors"]
        ]
        lines.append("")
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
    parser.add_argument("--minutes", type=float, default=90, help="no part is started after that time")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--inputs", type=int, default=100_000, help="damaged files a format")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/trust")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/trust.md")
    parser.add_argument(
        "--note", default="", help="a sentence for the page, such as what else the machine did"
    )
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["REPROKIT_OFFLINE"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    begin, results, missing = time.monotonic(), {}, []
    for name, part in parts(options).items():
        file = options.out / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}.json"
        stored = json.loads(file.read_text()) if file.exists() else None
        commit, now = git_commit(), trees(part.code)
        same = stored is not None and stored["code"] == now and not commit.endswith(MODIFIED)
        current = same and max(stored.get("inputs", 0), stored.get("kills", 0)) >= part.size
        chosen = not options.only or any(name.startswith(start) for start in options.only)
        if stored is not None and (current or not chosen or time.monotonic() - begin > options.minutes * 60):
            results[name] = stored | {"current": same}
        elif not chosen or time.monotonic() - begin > options.minutes * 60:
            missing.append(name)
        else:
            results[name] = measured(part) | {"commit": commit, "code": now, "current": True}
            write_file(file, json.dumps(results[name], indent=1) + "\n")
            shown = {
                key: value for key, value in results[name].items() if key not in UNSHOWN or key == "which"
            }
            say(f"{'BAD ' if bad(results[name]) else 'ok  '} {name}: {shown}")
    write_file(
        options.page, report(results, missing, options.note, mutation_page(options.out / "mutation.json"))
    )
    say(f"written: {options.page}")
    return int(any(bad(found) for found in results.values()))


def measured(part: Part) -> Measured:
    """Measure a part in an empty folder; how long it took goes with it."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        try:
            found = part.measure(Path(place))
        except UserError as error:
            found = {"error": str(error)}
    return found | {"seconds": round(time.monotonic() - start)}


if __name__ == "__main__":
    raise SystemExit(main())
