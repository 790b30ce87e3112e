"""The program behind gpu.sh: build without an index, test, time slices, compare with the targets of gpu.toml.

It needs the standard library alone, for nothing of this repository is installed yet when it starts. Everything is built
and run in a temporary environment on top of the one that runs this file (its PyTorch, JAX and pytest), with the
wheels of gpu.txt that ``carry`` collected. Parts have limits of their own, and nothing starts after the whole limit.

A slice is ``benchmarks/programs/gpu_<package>.py``, run as a module with ``--device`` (and ``--tiny`` in a dry run).
Its last line is JSON: ``what`` was timed, ``seconds`` of one slice, ``slices`` that make the target; or ``ratio``, the
time of another program over ours. Seconds times slices are recorded as ``extrapolated``.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CARRIED = HERE / "carried"
PACKAGES = ("denram", "sbs", "nalsm", "bdfa", "dalton")
LIMIT, TESTS, SLICE = 290.0, 90.0, 60.0  # seconds: of everything, of the tests of a package, of a slice
DRY = 3600.0  # seconds of a dry run, whose builds may have one core
MOST = 40_000_000  # bytes that are carried
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
NO_GPU = (
    "no GPU: PyTorch of {} sees no CUDA device; run this on a machine with one, or try the steps with --dry"
)


@dataclass
class Session:
    """One run of the script.

    Attributes:
        out: Folder of the results.
        device: "cuda", or "cpu" in a dry run.
        python: Python of the environment that the parts use.
        limit: Seconds after which nothing is begun.
        begin: When the script started, `time.monotonic`.
        found: What gpu.json will hold.
    """

    out: Path
    device: str
    python: str = sys.executable
    limit: float = LIMIT
    begin: float = field(default_factory=time.monotonic)
    found: dict[str, Any] = field(default_factory=dict)

    def left(self, most: float = float("inf")) -> float:
        """Return the seconds that a part may take."""
        return min(most, self.limit - (time.monotonic() - self.begin))

    def run(
        self, words: Sequence[str | Path], most: float, log: TextIO | None = None
    ) -> tuple[int | None, str]:
        """Run a part; returns its exit status, None where the time was over, and what it wrote."""
        if (seconds := self.left(most)) <= 0:
            return None, "not run: no time is left"
        try:
            done = subprocess.run(
                [*map(str, words)],
                cwd=ROOT,
                env=self.environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
            )
            status, text = done.returncode, done.stdout
        except subprocess.TimeoutExpired as late:
            written = late.stdout or b""
            text = written.decode("utf-8", "replace") if isinstance(written, bytes) else written
            status, text = None, f"{text}\nended after {seconds:.0f} s"
        if log is not None:
            log.write(f"$ {' '.join(map(str, words))}\n{text}\n")
            log.flush()
        return status, text

    def environment(self) -> dict[str, str]:
        """Return the variables of the parts: no index, carried wheels, carried data."""
        found = {
            **os.environ,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(CARRIED / "wheels"),
            "PYTHONPATH": str(ROOT),
        }
        found["PIP_DISABLE_PIP_VERSION_CHECK"] = found["REPROKIT_OFFLINE"] = "1"
        found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # tests of PyTorch and JAX share the GPU's memory
        found["PATH"] = os.pathsep.join(
            [str(Path(self.python).parent), str(Path(sys.executable).parent), found.get("PATH", "")]
        )
        if (CARRIED / "data").exists():
            found["REPROKIT_DATA"] = str(CARRIED / "data")
        return found


def carry() -> int:
    """Collect the wheels of gpu.txt, and MNIST from the cache of this machine; returns the exit status."""
    wheels = CARRIED / "wheels"
    shutil.rmtree(CARRIED, ignore_errors=True)
    wheels.mkdir(parents=True)
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary=:all:", "--python-version", "3.12", "--implementation", "cp", "-d", str(wheels)]
    for platform in PLATFORMS:
        words += ["--platform", platform]
    status = subprocess.run([*words, "-r", str(HERE / "gpu.txt")]).returncode
    if status:
        print("gpu.txt could not be collected; the message is above", file=sys.stderr)
        return status
    cache = subprocess.run(
        [sys.executable, "-c", "from reprokit.data.cache import data_folder; print(data_folder())"],
        capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    if cache and (Path(cache) / "mnist").exists():
        shutil.copytree(Path(cache) / "mnist", CARRIED / "data" / "mnist")
    else:
        print("MNIST is not in the data cache and is not carried; `bdfa train --data mnist` fetches it")
    size = sum(file.stat().st_size for file in CARRIED.rglob("*") if file.is_file())
    print(f"benchmarks/carried: {size / 1e6:.1f} MB, {len([*wheels.iterdir()])} wheels; git ignores it")
    if size > MOST:
        print(f"that is more than the {MOST / 1e6:.0f} MB that are carried; shorten gpu.txt", file=sys.stderr)
        return 1
    return 0


def gpu(python: str) -> str | None:
    """Return the name of the GPU that PyTorch sees, None without one."""
    code = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else '')"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    return done.stdout.strip() or None


@contextlib.contextmanager
def built(session: Session, log: TextIO) -> Iterator[str | None]:
    """Install carried wheels and all packages into a temporary environment; gives a sentence where that failed."""
    import site

    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "environment"
        venv.create(place, with_pip=False)
        python = place / "bin" / "python"
        inside = next((place / "lib").glob("python*")) / "site-packages"
        paths = dict.fromkeys(p for p in (*site.getsitepackages(), *sys.path) if "-packages" in p)
        lines = [f"import site; site.addsitedir({path!r})" for path in paths]
        (inside / "zz_outer.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
        install = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--no-deps",
            "--no-build-isolation",
        ]
        session.python = str(python)
        begin, wrong = time.monotonic(), None
        wheels = sorted((CARRIED / "wheels").glob("*.whl"))
        if wheels and session.run([*install, *wheels], session.limit, log)[0] != 0:
            wrong = "the carried wheels could not be installed; see build.log"
        sources = [] if wrong else [ROOT / "shared", *(ROOT / "packages" / name for name in PACKAGES)]
        with ThreadPoolExecutor(len(sources) or 1) as pool:
            done = [*pool.map(lambda source: session.run([*install, source], session.limit, log)[0], sources)]
        failed = [source.name for source, status in zip(sources, done, strict=True) if status != 0]
        session.found["build_seconds"] = round(time.monotonic() - begin, 1)
        yield wrong or (f"{', '.join(failed)} could not be built; see build.log" if failed else None)


def tests(session: Session, log: TextIO) -> dict[str, str]:
    """Run the tests marked gpu of all packages at a time; returns the last line of each."""

    def of(package: str) -> tuple[str, str]:
        folder = ROOT / "packages" / package / "tests"
        files = [file for file in sorted(folder.glob("test_*.py")) if "mark.gpu" in file.read_text("utf-8")]
        if not files:
            return package, "no tests marked gpu"
        status, text = session.run(
            [session.python, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *files], TESTS, log
        )
        last = (text.strip().splitlines() or ["no output"])[-1]
        return package, last if status in (0, 1, 5, None) else f"exit status {status}: {last}"

    with ThreadPoolExecutor(len(PACKAGES)) as pool:
        return dict(pool.map(of, PACKAGES))


def slices(session: Session, log: TextIO) -> dict[str, dict[str, Any]]:
    """Time a slice of each package, one after another; returns the JSON of each, or ``error``."""
    found = {}
    for target in table()["target"]:
        package, words = target["package"], [session.python, "-m"]
        if not (HERE / "programs" / f"gpu_{target['package']}.py").exists():
            found[package] = {"error": "there is no slice yet"}
            continue
        words += [f"benchmarks.programs.gpu_{package}", "--device", session.device]
        status, text = session.run([*words, *(["--tiny"] if session.device == "cpu" else [])], SLICE, log)
        lines = text.strip().splitlines() or ["no output"]
        try:
            found[package] = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
        except (StopIteration, ValueError):
            found[package] = {"error": f"exit status {status}: {lines[-1]}"}
    return found


def table() -> dict[str, Any]:
    """Return gpu.toml."""
    return tomllib.loads((HERE / "gpu.toml").read_text(encoding="utf-8"))


def judged(target: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Compare a slice with its target.

    Returns:
        Package, text and limit of the target, what was found, and ``verdict``: "ok", "missed" or "not measured".
    """
    row = {"package": target["package"], "target": target["text"], **found}
    if "seconds" in target:
        limit, name = target["seconds"], "extrapolated_seconds"
        value = found["seconds"] * found["slices"] if {"seconds", "slices"} <= set(found) else None
        row |= {"kind": "extrapolated", "at_most_seconds": limit, name: value}
        holds = value is not None and value < limit
    else:
        limit, value = target["ratio"], found.get("ratio")
        row |= {"kind": "measured", "at_least_ratio": limit}
        holds = value is not None and value >= limit
    return {**row, "verdict": "not measured" if value is None else "ok" if holds else "missed"}


def markdown(found: Mapping[str, Any]) -> str:
    """Return the page of a run: targets, tests, machine."""
    dry = (
        " A dry run on the CPU with tiny slices: the times mean nothing." if found["device"] == "cpu" else ""
    )
    text = f"# {found['gpu']}\n\nCommit {found['commit']}.{dry}\n\n"
    text += (
        "| package | target | slice | seconds | slices | in all | verdict |\n|---|---|---|---|---|---|---|\n"
    )
    for row in found["targets"]:
        ratio = row.get("ratio")
        whole = row.get("extrapolated_seconds")
        limit = (
            f"< {row['at_most_seconds']} s" if "at_most_seconds" in row else f">= {row['at_least_ratio']}x"
        )
        cells = (
            row["package"], f"{row['target']} {limit}", row.get("what") or row.get("error", ""),
            f"{row['seconds']:.4g}" if "seconds" in row else "", row.get("slices", ""),
            f"{whole:.4g} s, extrapolated" if whole is not None else f"{ratio:.3g}x" if ratio is not None else "",
            row["verdict"],
        )  # fmt: skip
        text += "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |\n"
    text += "\n| package | tests marked gpu |\n|---|---|\n"
    return text + "".join(f"| {package} | {line} |\n" for package, line in found["tests"].items())


def everything(session: Session) -> int:
    """Build, test, time; returns 0 if all tests pass and all slices ran."""
    with (session.out / "build.log").open("w") as log, built(session, log) as wrong:
        print(wrong or f"built in {session.found['build_seconds']} s", flush=True)
        if wrong:
            return 1
        with (session.out / "tests.log").open("w") as log:
            session.found["tests"] = tests(session, log)
        for package, line in session.found["tests"].items():
            print(f"{package}: {line}", flush=True)
        with (session.out / "slices.log").open("w") as log:
            timed = slices(session, log)
    session.found["targets"] = [judged(target, timed[target["package"]]) for target in table()["target"]]
    write(session)
    for row in session.found["targets"]:
        print(f"{row['package']}: {row['verdict']}: {row.get('error') or row.get('what')}", flush=True)
    print(f"{session.found['seconds']:.0f} s; results in {session.out}")
    bad = [
        line
        for line in session.found["tests"].values()
        if "failed" in line or "error" in line or "status" in line
    ]
    return 1 if bad or any("error" in row for row in session.found["targets"]) else 0


def write(session: Session) -> None:
    """Write gpu.json and gpu.md."""
    session.found["seconds"] = round(time.monotonic() - session.begin, 1)
    (session.out / "gpu.json").write_text(json.dumps(session.found, indent=1) + "\n", encoding="utf-8")
    (session.out / "gpu.md").write_text(markdown(session.found), encoding="utf-8")


def claim(session: Session, name: str) -> int:
    """Run one claim; its ledger is claim-NAME.csv, even if the time ends it. Returns the exit status."""
    words = table()["claim"][name]
    with (session.out / f"claim-{name}.log").open("w") as log, built(session, log) as wrong:
        if wrong:
            print(wrong)
            return 1
        with tempfile.TemporaryDirectory() as folder:
            program = [session.python, "-m", f"{words[0]}.cli", *words[1:], "--out", folder]
            status, text = session.run(program, session.limit, log)
            for ledger in Path(folder).glob("*.csv"):
                shutil.copy(ledger, session.out / f"claim-{name}-{ledger.name}")
    print((text.strip().splitlines() or ["no output"])[-1])
    return 1 if status is None else status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; 2 without a GPU."""
    line = argparse.ArgumentParser(prog="benchmarks/gpu.sh", description=__doc__.splitlines()[0])
    line.add_argument("what", nargs="?", default="all", choices=("all", "carry", "claims"))
    line.add_argument("name", nargs="?", help=f"claim: {', '.join(table()['claim'])}")
    line.add_argument("--dry", action="store_true", help="on the CPU, with tiny slices")
    line.add_argument(
        "--limit", type=float, help=f"seconds after which nothing begins (default: {LIMIT:g}; dry: {DRY:g})"
    )
    options = line.parse_args(arguments)
    if options.what == "carry":
        return carry()
    if (options.what == "claims") != (options.name in table()["claim"]):
        line.error(f"claims takes one of {', '.join(table()['claim'])}")
    name = "a dry run on the CPU" if options.dry else gpu(sys.executable)
    if name is None:
        print(NO_GPU.format(sys.executable), file=sys.stderr)
        return 2
    out = Path(os.environ.get("OUT") or ROOT / "runs" / "gpu").resolve()
    out.mkdir(parents=True, exist_ok=True)
    limit = options.limit if options.limit is not None else DRY if options.dry else LIMIT
    session = Session(out, "cpu" if options.dry else "cuda", limit=limit)
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    session.found |= {"gpu": name, "device": session.device, "commit": git.stdout.strip() or "unknown"}
    return claim(session, options.name) if options.what == "claims" else everything(session)


if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # files of this folder must not hide the packages of their names
    raise SystemExit(main())
