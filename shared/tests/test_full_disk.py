"""R7 on a real full disk: a file system of 200 kB in its own mount namespace, gone with the process."""

import shutil
import subprocess
import sys

import pytest

SCRIPT = """
import errno, sys
from pathlib import Path
import numpy as np
from reprokit import Checkpoints, Ledger, RunDirectory
from reprokit import cli

root = Path(sys.argv[1])
schema = {"run_id": str, "text": str}

def refused(action):
    try:
        action()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        return True
    return False

ledger = Ledger(root / "results.csv", schema)
run = RunDirectory(root / "run", {"seed": 1})
checkpoints = Checkpoints(run.path / "checkpoints")
appended = logged = saved = 0
while ledger.append({"run_id": str(appended), "text": "x" * 50}):
    appended += 1
    run.log({"epoch": logged}); logged += 1
    checkpoints.save(appended, {"x": np.full(1000, appended)}, {}); saved = appended
    if appended == 20:
        break
filler = root / "filler"
with filler.open("wb", buffering=0) as file:
    while not refused(lambda: file.write(bytes(512))):
        pass

# Every kind of write, many times: those that fit into the last page succeed, none may do half.
full = {"ledger": 0, "log": 0, "text": 0, "checkpoint": 0}
for attempt in range(300):
    name = f"more-{attempt}"
    if refused(lambda: ledger.append({"run_id": name, "text": "y" * 50})): full["ledger"] += 1
    else: appended += 1
    if refused(lambda: run.log({"epoch": logged})): full["log"] += 1
    else: logged += 1
assert refused(lambda: run.write_text("notes.txt", "z" * 9000))
assert refused(lambda: checkpoints.save(99, {"x": np.full(1000, 99)}, {}))
assert full["ledger"] > 0 and full["log"] > 0, full

assert len(Ledger(root / "results.csv", schema).rows()) == appended
assert [record["epoch"] for record in run.records()] == list(range(logged))
assert not (run.path / "notes.txt").exists()
found = checkpoints.load_latest()
assert found.step == saved and (found.arrays["x"] == saved).all()
assert not [path for path in root.rglob("*.tmp")], "half-written files remain"
assert cli.run(lambda: checkpoints.save(99, {"x": np.full(1000, 99)}, {})) == 2

filler.unlink()
assert ledger.append({"run_id": "after", "text": ""})
checkpoints.save(99, {"x": np.full(1000, 99)}, {})
assert checkpoints.load_latest().step == 99
print("all whole")
"""


@pytest.fixture
def small_disk(tmp_path):
    """Return the beginning of a command that runs in a namespace where `tmp_path`/disk holds 200 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if shutil.which("unshare") is None:
        pytest.skip("needs the program unshare")
    mount = f'mount -t tmpfs -o size=200k tmpfs "{disk}" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this system does not let a test mount its own file system")
    return command, disk


def test_nothing_is_lost_or_half_done(small_disk):
    command, disk = small_disk
    done = subprocess.run([*command, sys.executable, "-c", SCRIPT, str(disk)], capture_output=True, text=True)
    assert done.stdout == "all whole\n", done.stderr
    (message,) = done.stderr.splitlines()
    assert "checkpoint-000000000099.safetensors: the disk is full; free some space" in message
