"""A program in another process, with another Python: the peers run like this, each in its own environment.

This file is both ends. Here, `Remote` starts ``python -m benchmarks.remote MODULE:FUNCTION ARGUMENTS``; there, the
function prepares and returns one call, and lines on standard input ask for it: ``call`` answers with what it returned
(a mapping of names to arrays), ``time N`` with the seconds of N calls on that process's own clock. What libraries print
goes to standard error.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]


class Remote:
    """The other process, as a callable that `reprokit.bench.compare` can time.

    Args:
        python: Python of the environment.
        target: Module and function, ``benchmarks.peers.norse:step``.
        arguments: Keyword arguments of the function; NumPy arrays travel through a file.
        environment: Variables of the process; None: this one's.
    """

    def __init__(
        self,
        python: str | Path,
        target: str,
        arguments: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        plain, arrays = {}, {}
        for name, value in (arguments or {}).items():
            (arrays if isinstance(value, np.ndarray) else plain)[name] = value
        np.savez(Path(self.folder.name) / "arguments.npz", **arrays)
        words = [str(python), "-m", "benchmarks.remote", target, json.dumps(plain), self.folder.name]
        self.target = target
        self.process = subprocess.Popen(
            words, cwd=ROOT, env={**(environment or os.environ), "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer, which is missing then, says it
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        answer = self.process.stdout.readline().strip()
        if not answer:
            raise RuntimeError(f"{self.target} ended with an error; its message is above")
        return answer

    def __call__(self) -> dict[str, np.ndarray]:
        """Run it once and return what it returned."""
        with np.load(json.loads(self._ask("call")), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def seconds(self, calls: int) -> float:
        """Return the seconds of some calls, on the clock of the other process."""
        return float(json.loads(self._ask(f"time {calls}")))

    def close(self) -> None:
        """End the process and remove its files."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


def serve(target: str, arguments: str, folder: str) -> None:
    """Prepare the call and answer the lines of standard input until it ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not look like an answer
    module, _, function = target.partition(":")
    with np.load(Path(folder) / "arguments.npz", allow_pickle=False) as arrays:
        given = json.loads(arguments) | {name: arrays[name] for name in arrays.files}
    call = getattr(importlib.import_module(module), function)(**given)

    def answer(value: object) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    answer("ready")
    for line in sys.stdin:
        word, _, count = line.strip().partition(" ")
        if word == "time":
            first = call if int(count) > 1 else "pass"  # as `reprokit.bench` does here
            answer(timeit.timeit(call, first, number=int(count)))
            continue
        file = Path(folder) / "result.npz"
        result = call()
        np.savez(file, **(result if isinstance(result, Mapping) else {}))
        answer(str(file))


if __name__ == "__main__":
    serve(*sys.argv[1:])
