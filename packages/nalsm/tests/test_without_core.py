"""Without the compiled core everything works, but slower, and a warning says so once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nalsm_commands import ENVIRONMENT, command

PROGRAM = """
import contextlib, io, json, os, sys, tempfile, traceback
sys.modules["nalsm._kernel"] = None
import torch
from nalsm.cli import main

ESTIMATOR = '''
import nalsm
assert not nalsm.kernel_available()
network = nalsm.generate(nalsm.NetworkSpec((3, 3, 3), 20, 1))
for _ in range(2):
    assert nalsm.Simulator(network).engine == "torch"
'''

def child(words):  # a process that has computed nothing yet, without another import of torch
    try:
        sys.argv = ["nalsm", *words]
        code = main() if words else exec(ESTIMATOR, {"__name__": "estimator"})
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)

ends = []
for words in json.loads(sys.argv[1]):
    files = [tempfile.TemporaryFile() for _ in range(2)]
    process = os.fork()
    if process == 0:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        child(words)
    ends.append([os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])])
    for file in files:
        file.seek(0)
        ends[-1].append(file.read().decode())
print(json.dumps(ends))
"""


def small(out: Path, *more: str) -> list[str]:
    changes = {"dims": ("3", "3", "3"), "duration": "60", "initial_samples": "4", "train_samples": "20"}
    rest = {"validation_samples": "10", "test_samples": "10", "record": "2", "readout": "ridge"}
    return [*command(out, **changes | rest)[3:], *more]  # pyright: ignore[reportArgumentType]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_without_core_one_warning_and_asked_for_by_name_one_sentence(tmp_path: Path) -> None:
    commands = [small(tmp_path / "run"), small(tmp_path / "named", "--engine", "events"), []]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trained, named, imported = json.loads(done.stdout)

    code, out, err = trained
    assert code == 0, err
    assert "test accuracy" in out
    assert err.count("the compiled liquid engine is missing") == 1

    code, _, err = named
    assert code == 2
    assert "engine 'events' was not built; reinstall with g++ or clang++ present" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "named").exists()

    code, _, err = imported
    assert code == 0, err
    assert err.count("RuntimeWarning") == 1
