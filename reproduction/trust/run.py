"""Measure what can be trusted, and write it down: ``make trust``.

    python reproduction/trust/run.py [--only PART...] [--minutes 90] [--kills 20] [--inputs 100000] [--out runs/trust]

Each part writes `<out>/<part>.json` when it is done; the same command skips the parts that are there for the same
commit, so that an interrupted measurement is taken up. At the end `docs/trust.md` is written from those files.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import fuzz
import kills
from reprokit import UserError
from reprokit.files.atomic import write_file
from reprokit.run.provenance import git_commit
from reprokit.terminal import say

ROOT = Path(__file__).parents[2]
PACKAGES = ("sbs", "dalton", "bdfa", "nalsm", "denram")
TESTS = {  # what the test suites hold, run once more here so that the figure is of this commit
    "hostile files": "shared/tests/data -k pickle or hostile or outside",
    "full disk": "shared/tests/test_full_disk.py",
    "killed at every point": "shared/tests -k kill_at_every_point or three_killed",
    "damaged run directories": " ".join(f"packages/{name}/tests/test_damaged_runs.py" for name in PACKAGES),
}
Part = Callable[[Path], dict[str, Any]]


def parts(options: argparse.Namespace) -> dict[str, Part]:
    """Everything that is measured, by name, quick parts first."""
    found: dict[str, Part] = {}
    for name, words in TESTS.items():
        found[f"tests, {name}"] = partial(tests, words)
    for package in PACKAGES:
        found[f"two at once, {package}"] = partial(kills.two_at_once, package)
    for package in PACKAGES:
        found[f"killed trainings, {package}"] = partial(kills.trainings, package, kills=options.kills)
    for kind in fuzz.FORMATS:
        found[f"damaged files, {kind}"] = lambda _, kind=kind: fuzz.fuzz(kind, inputs=options.inputs)
    for package in PACKAGES:
        found[f"killed studies, {package}"] = partial(kills.studies, package, kills=options.kills)
    for script in sorted(ROOT.glob("packages/*/cpp/tests/sanitize.sh")):
        found[f"sanitizers, {script.parts[-4]}"] = partial(sanitizers, script)
    return found


def tests(words: str, _: Path) -> dict[str, Any]:
    """Run tests and return pytest's last line."""
    files, _, choice = words.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files.split()]
    done = subprocess.run(
        [*command, *(["-k", choice] if choice else [])], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {"exit code": done.returncode, "result": done.stdout.strip().splitlines()[-1]}


def sanitizers(script: Path, _: Path) -> dict[str, Any]:
    """Build a core with address, undefined-behaviour and thread sanitizers and run its tests."""
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    return {"exit code": done.returncode, "last words": (done.stderr or done.stdout).strip()[-200:]}


def bad(found: dict[str, Any]) -> bool:
    """Whether a part found something that must not be."""
    if "finished" in found and found["finished"] + found["refused"] != 2:
        return True
    counts = (
        "exit code",
        "not bit-equal",
        "rows missing, double or otherwise",
        "crashes",
        "hangs",
        "wrong",
        "error",
    )
    return any(found.get(key) for key in counts)


def report(results: dict[str, dict[str, Any]], missing: list[str]) -> str:
    """The page: one table a kind of part, and what was not measured."""
    lines = [
        "# Trust, measured",
        "",
        "Written by `make trust` from what it measured; [`reproduction/trust/`](../reproduction/trust) is the code.",
        "Kills are SIGKILLs at random times, of a program and all its workers. Damaged files are valid small files of",
        "each format with bytes flipped, cut, doubled, moved or overwritten; `wrong` counts anything but the right",
        "data or one sentence.",
        "",
    ]
    kinds: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, found in results.items():
        kind, _, what = name.partition(", ")
        kinds.setdefault(kind, []).append((what, found))
    for kind, rows in kinds.items():
        keys = list(
            dict.fromkeys(key for _, found in rows for key in found if key not in ("commit", "which"))
        )
        lines += [
            f"## {kind.capitalize()}",
            "",
            f"| | {' | '.join(keys)} | commit |",
            f"|{' --- |' * (len(keys) + 2)}",
        ]
        for what, found in rows:
            cells = [str(found.get(key, "")) for key in keys]
            lines.append(f"| {what} | {' | '.join(cells)} | {found['commit'][:10]} |")
        worst = [f"- {what}: {each}" for what, found in rows for each in found.get("which", [])]
        lines += ["", *worst, *([""] if worst else [])]
    if missing:
        lines += ["## Not measured", "", *(f"- {name}" for name in missing), ""]
    return "\n".join(lines)


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
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["REPROKIT_OFFLINE"] = "1"
    options.out.mkdir(parents=True, exist_ok=True)
    begin, commit, results, missing = time.monotonic(), git_commit(), {}, []
    for name, part in parts(options).items():
        if options.only and not any(name.startswith(start) for start in options.only):
            continue
        file = options.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if (
            file.exists()
            and json.loads(file.read_text())["commit"] == commit
            and not commit.endswith("-dirty")
        ):
            results[name] = json.loads(file.read_text())
            continue
        if time.monotonic() - begin > options.minutes * 60:
            missing.append(name)
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as place:
            try:
                found = part(Path(place))
            except UserError as error:
                found = {"error": str(error)}
        results[name] = found | {"seconds": round(time.monotonic() - start), "commit": commit}
        write_file(file, json.dumps(results[name], indent=1) + "\n")
        say(f"{'BAD ' if bad(found) else 'ok  '} {name}: {found}")
    write_file(options.page, report(results, missing))
    say(f"written: {options.page}")
    return int(any(bad(found) for found in results.values()))


if __name__ == "__main__":
    raise SystemExit(main())
