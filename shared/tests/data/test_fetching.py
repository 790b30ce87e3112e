"""Downloads: cuts, damage, many processes, mirrors, offline, full disks (trust tests R1-R3, R5-R7)."""

import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest
from reprokit import UserError, fetch, fetching, transfer
from reprokit.catalog import CATALOG, DataFile, Dataset
from reprokit.fetching import faults, fetch_dataset

BODY = random.Random(1).randbytes(300_001)


def tar_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"inside/{name}.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def left_in(folder: Path) -> list[str]:
    return sorted(
        path.name for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    )


# R1 --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("ranges", [True, False])
def test_cut_download_is_resumed(server, share, ranges):
    dataset = server.dataset("set", data__bin=BODY)
    cut = int(len(BODY) * share)
    server.ranges, server.faults = ranges, [("cut", cut)]
    folder = fetch_dataset(dataset)
    assert (folder / "data.bin").read_bytes() == BODY
    refetched = server.sent - cut  # `sent` counts complete answers and the cut one
    limit = len(BODY) - cut + transfer.CHUNK if ranges else len(BODY)
    assert refetched <= limit
    assert len(server.requests) == 2


def test_unfinished_part_is_continued_by_the_next_call(server, cache):
    dataset = server.dataset("set", data__bin=BODY)
    server.always = ("cut", 1000)
    with pytest.raises(UserError, match=r"cut after \d+ of 300001 bytes"):
        fetch_dataset(dataset)
    have = (cache / "set" / "data.bin.part").stat().st_size
    assert have == 1000 * fetching.ATTEMPTS
    server.always, server.requests = (), []
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    assert server.requests == [("/data.bin", f"bytes={have}-")]


def test_stall_ends_and_resumes(server, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.2)
    dataset = server.dataset("set", data__bin=BODY)
    server.faults = [("stall", 70_000, 0.6)]
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY


def test_wrong_part_is_thrown_away(server, cache):
    dataset = server.dataset("set", data__bin=BODY)
    (cache / "set").mkdir(parents=True)
    (cache / "set" / "data.bin.part").write_bytes(b"something else")
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("length", [len(BODY), len(BODY) + 5])
def test_part_too_long_or_complete(server, cache, length):
    dataset = server.dataset("set", size=False, data__bin=BODY)
    (cache / "set").mkdir(parents=True)
    (cache / "set" / "data.bin.part").write_bytes((BODY + b"12345")[:length])
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY


@pytest.mark.parametrize("fault", [("nolength",), ("status", 500), ("status", 503)])
def test_passing_faults_are_survived(server, fault):
    dataset = server.dataset("set", size=False, data__bin=BODY)
    server.faults = [fault]
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY


def test_second_address_is_tried(server):
    file = server.dataset("set", data__bin=BODY).files[0]
    urls = (f"{server.address}/gone", "http://127.0.0.1:9/refused", *file.urls)
    dataset = Dataset("set", "", "", "", (DataFile(file.name, urls, file.md5, file.sha256, file.size),))
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    assert [path for path, _ in server.requests] == ["/gone", "/data.bin"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [(("status", 404), "404"), (("longer", 9), "expected 300001"), (("status", 403), "403")],
)
def test_lasting_faults_name_address_and_remedy(server, cache, fault, words):
    dataset = server.dataset("set", data__bin=BODY)
    server.always = fault
    with pytest.raises(UserError, match=words) as caught:
        fetch_dataset(dataset)
    assert str(cache / "set") in str(caught.value)
    assert "REPROKIT_MIRROR" in str(caught.value)
    assert not (cache / "set" / "data.bin").exists()


def test_redirect_to_http_is_refused():
    handler = transfer._NoDowngrade()
    request = transfer.urllib.request.Request("https://example.org/a")
    with pytest.raises(transfer.TransferError, match="unprotected"):
        handler.redirect_request(request, None, 302, "", {}, "http://example.org/a")


def test_redirect_is_followed(server):
    dataset = server.dataset("set", data__bin=BODY)
    server.faults = [("redirect", f"{server.address}/data.bin")]
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY


# R2 --------------------------------------------------------------------------------------------------------


def test_flipped_byte_is_always_refused(server, cache):
    body = tar_of(member=BODY[:20_000])
    dataset = server.dataset("set", unpack=True, data__tar__gz=body)
    pick = random.Random(2)
    positions = [0, len(body) - 1, *pick.sample(range(1, len(body) - 1), 198)]
    refused = 0
    for position in positions:
        server.always = ("flip", position, pick.randrange(1, 256))
        with pytest.raises(UserError, match="SHA-256"):
            fetch_dataset(dataset)
        refused += 1
        assert left_in(cache / "set") == ["manifest.json"] or left_in(cache / "set") == []
    assert refused == len(set(positions)) == 200


# R3 --------------------------------------------------------------------------------------------------------

_FETCH = """
import hashlib, sys
from reprokit.catalog import DataFile, Dataset
from reprokit.fetching import fetch_dataset
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
    outputs = [worker.communicate("go\n", timeout=60)[0].strip() for worker in workers]
    assert outputs == [hashlib.sha256(BODY).hexdigest()] * 8
    assert len(server.requests) == 1


# R5 --------------------------------------------------------------------------------------------------------

_KILLED = """
import json, os, random, signal, sys, time
from pathlib import Path
from reprokit.catalog import DataFile, Dataset
from reprokit.fetching import faults, fetch_dataset
url, md5, size, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
pick, killed, wrong, parts, staged = random.Random(5), 0, 0, 0, 0
longest = 0.0
for index in range(times + 3):
    dataset = Dataset(f"set{index}", "", "", "", (DataFile("data.tar.gz", (url,), md5, None, size, True),))
    folder = Path(os.environ["REPROKIT_DATA"]) / dataset.name
    child, began = os.fork(), time.monotonic()
    if child == 0:
        fetch_dataset(dataset)
        os._exit(0)
    if index < 3:
        os.waitpid(child, 0)
        longest = max(longest, time.monotonic() - began)
        continue
    time.sleep(pick.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    parts += (folder / "data.tar.gz.part").exists()
    staged += any(folder.glob("*.tmp-*"))
    if faults(dataset) == [] and faults(dataset, thorough=True):
        wrong += 1
    fetch_dataset(dataset)
    members = sorted(path.stat().st_size for path in (folder / "data").rglob("*.bin"))
    wrong += members != [60000] * 5 or faults(dataset, thorough=True) != []
    wrong += len(list(folder.iterdir())) != 3
print(json.dumps({"killed": killed, "wrong": wrong, "parts": parts, "staged": staged}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kill_during_fetch_and_extraction(server):
    body = tar_of(**{f"member{index}": BODY[index : index + 60_000] for index in range(5)})
    dataset = server.dataset("set", data__tar__gz=body)
    server.seconds_per_chunk = 0.002
    arguments = [
        sys.executable,
        "-c",
        _KILLED,
        dataset.files[0].urls[0],
        dataset.files[0].md5,
        str(len(body)),
        "50",
    ]
    result = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    counts = json.loads(result.stdout)
    assert counts["wrong"] == 0
    assert counts["killed"] >= 25
    assert counts["parts"] >= 5


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
from reprokit import UserError, cache, fetching
from reprokit.catalog import DataFile, Dataset
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
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
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


# mirror, offline -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "set/", "elsewhere/", "deep/er/"])
def test_mirror_folder_comes_first(server, tmp_path, monkeypatch, place):
    dataset = server.dataset("set", data__bin=BODY)
    mirror = tmp_path / "mirror"
    (mirror / place).mkdir(parents=True)
    (mirror / place / "data.bin").write_bytes(BODY)
    (mirror / "another").mkdir()
    (mirror / "another" / "data.bin").write_bytes(BODY[:-1] + b"?")
    monkeypatch.setenv("REPROKIT_MIRROR", str(mirror))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    assert server.requests == []


def test_wrong_file_in_mirror_is_not_taken(server, tmp_path, monkeypatch):
    dataset = server.dataset("set", data__bin=BODY)
    (tmp_path / "data.bin").write_bytes(bytes(len(BODY)))
    monkeypatch.setenv("REPROKIT_MIRROR", str(tmp_path))
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    assert len(server.requests) == 1


@pytest.mark.parametrize("place", ["/mirror/set/data.bin", "/mirror/data.bin"])
def test_mirror_address_comes_first(server, monkeypatch, place):
    dataset = server.dataset("set", data__bin=BODY)
    server.files[place] = server.files.pop("/data.bin")
    monkeypatch.setenv("REPROKIT_MIRROR", f"{server.address}/mirror/")
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    assert server.requests[-1][0] == place


def test_mirror_must_exist(server, monkeypatch):
    monkeypatch.setenv("REPROKIT_MIRROR", "/no/such/folder")
    with pytest.raises(UserError, match="REPROKIT_MIRROR=/no/such/folder"):
        fetch_dataset(server.dataset("set", data__bin=BODY))


def test_offline_says_what_to_place_where(cache, monkeypatch):
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    with pytest.raises(UserError) as caught:
        fetch("shd")
    for words in (
        "REPROKIT_OFFLINE=1",
        "shd_train.h5.gz",
        "shd_test.h5.gz",
        str(cache / "shd"),
        "https://zenkelab.org",
    ):
        assert words in str(caught.value)


def test_files_placed_by_hand_are_taken(server, cache, monkeypatch):
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    dataset = server.dataset("set", data__bin=BODY)
    (cache / "set").mkdir(parents=True)
    (cache / "set" / "data.bin").write_bytes(BODY)
    fetch_dataset(dataset)
    assert faults(dataset) == []


def test_offline_must_be_a_switch(server, monkeypatch):
    monkeypatch.setenv("REPROKIT_OFFLINE", "perhaps")
    with pytest.raises(UserError, match="REPROKIT_OFFLINE=perhaps"):
        fetch_dataset(server.dataset("set", data__bin=BODY))


def test_unknown_name():
    with pytest.raises(UserError, match="unknown data set 'nope'; known are mnist, fashion-mnist"):
        fetch("nope")


def test_catalogue_is_complete_and_protected():
    assert set(CATALOG) == {
        *("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10"),
        *("shd", "n-mnist", "dvs-gesture", "cifar10-dvs"),
    }
    for dataset in CATALOG.values():
        assert dataset.licence
        assert dataset.homepage.startswith("https://")
        for file in dataset.files:
            assert file.urls
            assert all(url.startswith("https://") for url in file.urls)
            assert len(bytes.fromhex(file.md5)) == 16
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32
