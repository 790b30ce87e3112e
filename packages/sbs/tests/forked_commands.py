"""Commands in separate processes that share one import of torch: a child is forked for each."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

PROGRAM = """
import json, os, sys, tempfile, traceback
{before}
import torch, torch._dynamo  # which the first optimiser would import in every child
import sbs.plots, sbs.training.evaluation, sbs.training.loop
from sbs.cli import main

def child(setup, words):
    try:
        exec(setup, {{}})
        code = main(words) if words else 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

ends = []
for setup, words in json.loads(sys.argv[1]):
    files = [tempfile.TemporaryFile() for _ in range(2)]
    process = os.fork()
    if process == 0:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        child(setup, words)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    said = []
    for file in files:
        file.seek(0)
        said.append(file.read().decode())
    ends.append((code, *said))
print(json.dumps(ends))
"""


def in_processes(
    commands: Sequence[tuple[str, Sequence[str]]], before: str = ""
) -> list[subprocess.CompletedProcess[str]]:
    """Run commands one after the other, each in a fresh child process.

    Args:
        commands: A program that the process runs first, and the words of the command (none: the program only).
        before: A program that runs before torch and sbs are imported.

    Returns:
        How each of them ended; a negative code is the signal that killed it.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), json.dumps(commands)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ends = json.loads(done.stdout)
    return [
        subprocess.CompletedProcess(words, code, out, err)
        for (_, words), (code, out, err) in zip(commands, ends, strict=True)
    ]
