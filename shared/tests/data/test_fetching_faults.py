"""Downloads by several processes, kills, damage to existing files, full disks (trust tests R3, R5-R7)."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from killing import POINTS
from made_files import tar_of
from reprokit import UserError
from reprokit.data import fetch as fetching
from reprokit.data import transfer
from reprokit.data.catalog import DataFile, Dataset
from reprokit.data.fetch import faults, fetch_dataset

BODY = random.Random(1).randbytes(300_001)

# R3 --------------------------------------------------------------------------------------------------------

_FETCH = """
import hashlib, sys
from reprokit.data.catalog import DataFile, Dataset
from reprokit.data.fetch import fetch_dataset
url, md5, size = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
folder = fetch_dataset(Dataset("set", "", "", "", (DataFile("data.bin", (url,), md5, None, size),)))
print(hashlib.sha256((folder / "data.bin").read_bytes()).hexdigest())
"""


def test_eight_processes_one_download(server):
    dataset = server.dataset("set", data__bin=BODY)
    server.seconds_per_chunk = 0.01
    arguments = [sys.executable, "-c", _FETCH, dataset.files[0].urls[0], dataset.files[0].md5, str(len(BODY))]
    workers = [
        subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    outputs = [worker.communicate("go\n", timeout=300)[0].strip() for worker in workers]
    assert outputs == [hashlib.sha256(BODY).hexdigest()] * 8
    assert len(server.requests) == 1


# R5 --------------------------------------------------------------------------------------------------------

_KILLED = """
import http.client, io, json, sys
from pathlib import Path
from reprokit.data import transfer
from reprokit.data.catalog import DataFile, Dataset
from reprokit.data.fetch import faults, fetch_dataset
transfer.CHUNK = 20_000
# whole chunks, so that every attempt passes the same points; as it comes, the body has other pieces each time
http.client.HTTPResponse.read1 = lambda response, size: response.read(size)
url, md5, size = sys.argv[1], sys.argv[2], int(sys.argv[3])

def attempt(name, limit):
    dataset = Dataset(name, "", "", "", (DataFile("data.tar.gz", (url,), md5, None, size, True),))
    child = os.fork()
    if child == 0:
        arm(limit, more=[(io, "open"), (http.client.HTTPResponse, "read")])
        fetch_dataset(dataset)
        os._exit(passed[0])
    return dataset, os.waitpid(child, 0)[1]

attempt("first", 0)  # makes the folder of all data
points = {os.waitstatus_to_exitcode(attempt(f"whole{again}", 0)[1]) for again in range(2)}
assert len(points) == 1, points
killed, wrong, parts, staged = 0, 0, 0, 0
for limit in range(1, points.pop() + 1):
    dataset, status = attempt(f"set{limit}", limit)
    folder = Path(os.environ["REPROKIT_DATA"]) / dataset.name
    killed += os.WIFSIGNALED(status)
    parts += (folder / "data.tar.gz.part").exists()
    staged += any(folder.glob("*.tmp-*"))
    if faults(dataset) == [] and faults(dataset, thorough=True):
        wrong += 1
    fetch_dataset(dataset)
    members = sorted(path.stat().st_size for path in (folder / "data").rglob("*.bin"))
    wrong += members != [60000] * 5 or faults(dataset, thorough=True) != []
    wrong += len(list(folder.iterdir())) != 3
print(json.dumps({"points": limit, "killed": killed, "wrong": wrong, "parts": parts, "staged": staged}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_at_every_point_of_fetch_and_extraction(server):
    body = tar_of(**{f"member{index}": BODY[index : index + 60_000] for index in range(5)})
    dataset = server.dataset("set", data__tar__gz=body)
    arguments = [
        sys.executable,
        "-c",
        POINTS + _KILLED,
        dataset.files[0].urls[0],
        dataset.files[0].md5,
        str(len(body)),
    ]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts["wrong"] == 0
    assert counts["killed"] == counts["points"] >= 50
    assert counts["parts"] >= 5
    assert counts["staged"] >= 5


# R6 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "harm", ["truncated", "deleted", "changed", "archive truncated", "folder deleted", "manifest"]
)
def test_harm_is_noticed_and_repaired(server, harm):
    body = tar_of(first=BODY[:5000], second=BODY[5000:9000])
    dataset = server.dataset("set", unpack=True, data__tar__gz=body)
    folder = fetch_dataset(dataset)
    member = folder / "data" / "inside" / "first.bin"
    if harm == "truncated":
        os.truncate(member, 100)
    elif harm == "deleted":
        member.unlink()
    elif harm == "changed":
        member.write_bytes(bytes(5000))
    elif harm == "archive truncated":
        os.truncate(folder / "data.tar.gz", 100)
    elif harm == "folder deleted":
        shutil.rmtree(folder / "data")
    else:
        (folder / "manifest.json").write_text("{broken")
    assert faults(dataset)
    server.requests.clear()
    fetch_dataset(dataset)
    assert member.read_bytes() == BODY[:5000]
    assert faults(dataset, thorough=True) == []
    assert len(server.requests) == (1 if harm == "archive truncated" else 0)


def test_verify_sees_what_size_and_time_hide(server):
    folder = fetch_dataset(dataset := server.dataset("set", data__bin=BODY))
    state = (folder / "data.bin").stat()
    (folder / "data.bin").write_bytes(bytes(len(BODY)))
    os.utime(folder / "data.bin", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert faults(dataset) == []
    assert faults(dataset, thorough=True) == ["data.bin"]
    fetch_dataset(dataset, thorough=True)
    assert (folder / "data.bin").read_bytes() == BODY


def test_second_call_touches_nothing(server):
    folder = fetch_dataset(dataset := server.dataset("set", data__bin=BODY))
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    server.requests.clear()
    fetch_dataset(dataset)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert server.requests == []


def test_sha256_of_first_download_is_held_to(server):
    known = server.dataset("set", data__bin=BODY).files[0]
    dataset = Dataset("set", "", "", "", (DataFile("data.bin", known.urls, known.md5),))
    folder = fetch_dataset(dataset)
    recorded = json.loads((folder / "manifest.json").read_text())["files"]["data.bin"]["sha256"]
    assert recorded == known.sha256
    other = BODY[::-1]  # a content with another hash under the same (here: adjusted) MD5
    server.files["/data.bin"] = other
    (folder / "data.bin").unlink()
    forged = Dataset("set", "", "", "", (DataFile("data.bin", known.urls, hashlib.md5(other).hexdigest()),))
    with pytest.raises(UserError, match="recorded at the first download"):
        fetch_dataset(forged)


# R7 --------------------------------------------------------------------------------------------------------


def test_too_little_space_is_said_before_downloading(server, monkeypatch):
    dataset = server.dataset("set", data__bin=BODY)
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 10**6))
    with pytest.raises(UserError, match=r"MB are needed .* REPROKIT_DATA"):
        fetch_dataset(dataset)
    assert server.requests == []


_FULL = """
import sys
from reprokit import UserError
from reprokit.data import cache
from reprokit.data import fetch as fetching
from reprokit.data.catalog import DataFile, Dataset
cache._SPARE, fetching.PAUSE_SECONDS = -(1 << 30), 0
url, md5 = sys.argv[1:]
try:
    fetching.fetch_dataset(Dataset("set", "", "", "", (DataFile("data.bin", (url,), md5),)))
except UserError as error:
    print("UserError", error)
"""


def _small_disk(folder: Path) -> list[str]:
    """Return the start of a command that runs the rest with a 200 kB disk mounted at `folder`."""
    script = f"mount -t tmpfs -o size=200k none '{folder}' && exec \"$@\""
    for unshare in (["unshare", "--mount"], ["unshare", "--user", "--map-root-user", "--mount"]):
        command = [*unshare, "sh", "-c", script, "sh"]
        if (
            shutil.which("unshare")
            and subprocess.run([*command, "true"], capture_output=True).returncode == 0
        ):
            return command
    pytest.skip("may not mount a small disk here")


def test_full_disk_is_one_sentence(server, tmp_path):
    file = server.dataset("set", data__bin=BODY).files[0]
    command = [*_small_disk(tmp_path), sys.executable, "-c", _FULL, file.urls[0], file.md5]
    environment = {**os.environ, "REPROKIT_DATA": str(tmp_path / "cache")}
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert result.stdout.startswith("UserError"), result.stderr
    assert "the disk is full; free some space" in result.stdout


def test_file_size_limit_is_one_sentence(server, cache):
    file = server.dataset("set", data__bin=BODY).files[0]
    script = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)){_FULL}"
    result = subprocess.run(
        [sys.executable, "-c", script, file.urls[0], file.md5], capture_output=True, text=True, timeout=60
    )
    assert result.stdout.startswith("UserError"), result.stderr
    assert "beyond the allowed size" in result.stdout
    assert not (cache / "set" / "data.bin").exists()


def test_failing_write_is_one_sentence(server, cache, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer, "_copy", full)
    with pytest.raises(UserError, match="disk is full"):
        fetch_dataset(server.dataset("set", data__bin=BODY))
    assert not (cache / "set" / "data.bin").exists()


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/below"])
def test_unwritable_cache_is_one_sentence(server, monkeypatch, place):
    monkeypatch.setenv("REPROKIT_DATA", place)
    with pytest.raises(UserError, match=r"cannot create the data folder .*choose a folder you may write to"):
        fetch_dataset(server.dataset("set", data__bin=BODY))


@pytest.fixture
def ordinary_user():
    """Give up the superuser's right to write everywhere, if the tests have it."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    yield
    os.seteuid(before)


@pytest.mark.parametrize("present", [False, True])
def test_read_only_cache_is_one_sentence(server, monkeypatch, ordinary_user, present):
    dataset = server.dataset("set", data__bin=BODY)
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("REPROKIT_DATA", place)
        if present:
            os.truncate(fetch_dataset(dataset) / "data.bin", 10)
            Path(place, "set").chmod(0o555)
        Path(place).chmod(0o555)
        with pytest.raises(
            UserError, match=r"(Permission denied|Read-only); .* another folder|you may write to"
        ):
            fetch_dataset(dataset)
        Path(place).chmod(0o755)
        if present:
            Path(place, "set").chmod(0o755)


def test_whole_data_set_needs_no_write_permission(server, monkeypatch):
    folder = fetch_dataset(dataset := server.dataset("set", data__bin=BODY))
    monkeypatch.setattr(fetching, "FileLock", None)
    assert fetch_dataset(dataset) == folder


def test_missing_home_is_one_sentence(server, monkeypatch):
    monkeypatch.delenv("REPROKIT_DATA")
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(UserError, match="cannot create the data folder /proc/nobody"):
        fetch_dataset(server.dataset("set", data__bin=BODY))
