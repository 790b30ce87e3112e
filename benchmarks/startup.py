"""How long a user waits before anything happens: imports, ``--help``, and the first line of a training.

Each timing is a new process. The peer is the least that the same thing needs: importing the framework, or starting
Python. The first line of ``X train`` on digits, or sign of a bar on a terminal, counts from the start of the process.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.cases import Case, LeftOut, Settings, Work

FRAMEWORKS = {"bdfa": "torch", "dalton": "torch", "denram": "jax", "nalsm": "torch", "sbs": "torch"}
COMMANDS = (*FRAMEWORKS, "reprokit")
TRAIN = {  # the smallest training of each
    "bdfa": ["train", "--data", "digits", "--epochs", "1"],
    "dalton": ["train", "--data", "digits", "--epochs", "1"],
    "denram": ["train", "--data", "spoken-toy", "--nb-epochs", "1"],
    "nalsm": ["train", "--data", "digits"],
    "sbs": ["train", "digits-smoke"],
}
FIGURES_OFF = {"bdfa": ["--no-plot"]}  # it reports nothing before its figure, unless on a terminal

PROGRESS = re.compile(r"\b(epoch|step|batch|sample|presentation|update)s?\b|\d ?%", re.IGNORECASE)


def cases(settings: Settings) -> list[Case]:
    """List the cases."""
    del settings
    found = []
    for package, framework in FRAMEWORKS.items():
        found.append(
            Case(
                package,
                "start: all public names",
                f"from {package} import *",
                f"import {framework}",
                processes([f"from {package} import *"], [f"import {framework}"]),
                packages=(framework,),
                guarded=True,
            )
        )
    for command in COMMANDS:
        found.append(
            Case(
                command, "start: help", f"{command} --help", "python -c pass", help_of(command), guarded=True
            )
        )
    for package, framework in FRAMEWORKS.items():
        found.append(
            Case(
                package,
                "start: what a training imports",
                f"imports of {package} {' '.join(TRAIN[package])}",
                f"import {framework}",
                imports(package, framework),
                packages=(framework,),
                guarded=True,
            )
        )
    for package, framework in FRAMEWORKS.items():
        found.append(
            Case(
                package,
                "start: first line of a training",
                f"{package} {' '.join(TRAIN[package])}",
                f"import {framework}",
                first_line(package, framework),
                repeats=3,
                packages=(framework,),
            )
        )
    return found


def run(code: str) -> Callable[[], None]:
    """Return what runs a line of Python in a new process."""

    def start() -> None:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)

    return start


def processes(ours: list[str], theirs: list[str]) -> Callable[[], Work]:
    """Lines of Python against other ones."""
    return lambda: Work(run("; ".join(ours)), run("; ".join(theirs)), lambda: "a new process each")


def program(command: str) -> str:
    """Return the path of a command.

    Raises:
        LeftOut: It is not installed.
    """
    path = Path(sys.executable).with_name(command)
    if not path.exists():
        raise LeftOut(f"the command {command} is not installed")
    return str(path)


def help_of(command: str) -> Callable[[], Work]:
    """A command's help against starting Python."""

    def build() -> Work:
        path = program(command)

        def ours() -> None:
            subprocess.run([path, "--help"], check=True, stdout=subprocess.DEVNULL)

        return Work(ours, run("pass"), lambda: "a new process each")

    return build


# Runs a command until it reports progress, which is after its first training step, and writes which modules it has.
WATCHED = """
import importlib, json, os, sys
from benchmarks.startup import is_progress
package, file, *words = sys.argv[1:]

class Watch:
    def __init__(self, stream):
        self.stream = stream
    def __getattr__(self, name):
        return getattr(self.stream, name)
    def write(self, text):
        if is_progress(text):
            own = [n for n, m in sys.modules.items() if n.split(".")[0] not in ("__main__", "benchmarks")
                   and getattr(m, "__spec__", None) is not None]
            with open(file, "w") as target:
                json.dump(own, target)
            os._exit(0)
        return self.stream.write(text)

sys.stdout, sys.stderr = Watch(sys.stdout), Watch(sys.stderr)
importlib.import_module(f"{package}.cli").main(words)
"""
IMPORT_ALL = """
import contextlib, importlib, json
with open({file!r}) as source:
    names = json.load(source)
for name in names:
    with contextlib.suppress(Exception):  # parts that others make, which cannot be imported alone
        importlib.import_module(name)
"""


def imports(package: str, framework: str) -> Callable[[], Work]:
    """Importing all that a training has imported when its first step is done, against importing the framework."""

    def build() -> Work:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "modules.json"
            words = [
                package,
                str(target),
                *TRAIN[package],
                *FIGURES_OFF.get(package, ()),
                "--out",
                f"{folder}/run",
            ]
            subprocess.run([sys.executable, "-c", WATCHED, *words], check=True, stdout=subprocess.DEVNULL)
            text = target.read_text(encoding="utf-8")
        kept = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)  # noqa: SIM115 - as long as the process
        with kept:
            kept.write(text)
        atexit.register(Path(kept.name).unlink, missing_ok=True)
        said = f"{len(json.loads(text))} modules; a new process each"
        return Work(run(IMPORT_ALL.format(file=kept.name)), run(f"import {framework}"), lambda: said)

    return build


class FirstLine:
    """Time from the start of a command to the first line or sign of progress that it writes.

    Args:
        words: The command.
    """

    def __init__(self, words: list[str]) -> None:
        self.words = words

    def __call__(self) -> float:
        """Return the seconds of one start."""
        return self.seconds(1)

    def seconds(self, calls: int) -> float:
        """Return the seconds of some starts; each process is ended once it has written."""
        return sum(self._once() for _ in range(calls))

    def _once(self) -> float:
        import pty  # neither is on Windows
        import termios

        with tempfile.TemporaryDirectory() as folder:
            screen, terminal = pty.openpty()  # bars of progress appear only on a terminal
            termios.tcsetwinsize(terminal, (24, 100))
            begin = time.perf_counter()
            process = subprocess.Popen(
                [*self.words, "--out", folder],
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
            os.close(terminal)
            try:
                seen = ""
                while text := _read(screen):
                    seen += text
                    if any(map(is_progress, re.split(r"[\r\n]+", seen))):
                        return time.perf_counter() - begin
                raise RuntimeError(f"{' '.join(self.words)} wrote no progress: {seen[-500:]}")
            finally:
                process.kill()
                process.wait()
                os.close(screen)


def _read(screen: int) -> str:
    """Return what a program has written to its terminal; nothing once it has ended."""
    try:
        return os.read(screen, 4096).decode("utf-8", "replace")
    except OSError:  # how Linux says that no program has the terminal open
        return ""


def is_progress(line: str) -> bool:
    """Tell whether a line says how far a training is; a refused command is not one."""
    return not line.startswith(("error", "usage")) and PROGRESS.search(line) is not None


def first_line(package: str, framework: str) -> Callable[[], Work]:
    """The first progress of a training against the framework's import."""

    def build() -> Work:
        if os.name == "nt":
            raise LeftOut("progress is read from a terminal, which Python cannot make on Windows")
        words = [program(package), *TRAIN[package]]
        return Work(FirstLine(words), run(f"import {framework}"), lambda: "a new process each")

    return build
