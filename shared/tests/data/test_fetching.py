"""Downloads: cuts, damage, mirrors, offline, the catalogue (trust tests R1, R2)."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from made_files import tar_of
from reprokit import UserError, fetch
from reprokit.data import fetch as fetching
from reprokit.data import manifest, transfer
from reprokit.data.catalog import CATALOG, DataFile, Dataset
from reprokit.data.fetch import faults, fetch_dataset

BODY = random.Random(1).randbytes(300_001)


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


def test_a_server_that_trickles_is_given_up_and_resumed(server, monkeypatch):
    """100 bytes every 20 ms never stall a socket, but are only 5 kB per second."""
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.2)
    monkeypatch.setenv("REPROKIT_SLOWEST", "20000")
    dataset = server.dataset("set", data__bin=BODY)
    server.faults = [("trickle", 0.02)]
    assert (fetch_dataset(dataset) / "data.bin").read_bytes() == BODY
    (_, first), (_, second) = server.requests
    assert first is None
    assert 0 < int(second.removeprefix("bytes=").rstrip("-")) < len(BODY)


def test_a_server_that_only_trickles_is_named(server, monkeypatch):
    monkeypatch.setattr(transfer, "STALL_SECONDS", 0.1)
    monkeypatch.setenv("REPROKIT_SLOWEST", "20000")
    server.always = ("trickle", 0.02)
    with pytest.raises(
        UserError, match=r"data\.bin: stalled, \d+ bytes in .* s \(REPROKIT_SLOWEST requires 20000 per second"
    ):
        fetch_dataset(server.dataset("set", data__bin=BODY))


@pytest.mark.parametrize("rate", ["fast", "-1", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(server, monkeypatch, rate):
    monkeypatch.setenv("REPROKIT_SLOWEST", rate)
    with pytest.raises(
        UserError, match=f"REPROKIT_SLOWEST={rate} must be a number of bytes per second, 0 or more"
    ):
        fetch_dataset(server.dataset("set", data__bin=BODY))


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


def test_another_file_placed_by_hand_is_kept_beside_the_published_one(server, cache):
    dataset = server.dataset("set", data__bin=BODY)
    (cache / "set").mkdir(parents=True)
    for mine, name in ((b"my own data", "data.bin.kept-1"), (b"once more", "data.bin.kept-2")):
        (cache / "set" / "data.bin").write_bytes(mine)
        (cache / "set" / manifest.NAME).unlink(missing_ok=True)
        with pytest.warns(UserWarning, match=f"was not the published file; it is kept as {name}"):
            folder = fetch_dataset(dataset)
        assert (folder / "data.bin").read_bytes() == BODY
        assert (folder / name).read_bytes() == mine


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
        *("shd", "n-mnist", "dvs-gesture", "cifar10-dvs", "mitdb"),
    }
    for dataset in CATALOG.values():
        assert dataset.licence
        assert dataset.homepage.startswith("https://")
        for file in dataset.files:
            assert file.urls
            assert all(url.startswith("https://") for url in file.urls)
            assert file.md5 or file.sha256
            assert file.md5 is None or len(bytes.fromhex(file.md5)) == 16
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32


# a set of many small files, of which the publisher states the SHA-256 alone -----------------------------------


def many(server, count: int) -> Dataset:
    """A set of `count` small files, each with its SHA-256 and size."""
    stated = server.dataset("mitdb", **{f"{100 + k}__dat": BODY[k : k + 400] for k in range(count)})
    return replace(stated, files=tuple(replace(file, md5=None) for file in stated.files))


def test_files_with_a_sha256_alone_are_fetched_one_by_one_and_resumed(server):
    dataset = many(server, 12)
    server.faults = [(), (), ("cut", 100)]
    folder = fetch_dataset(dataset)
    assert not faults(dataset, thorough=True)
    assert [wanted for _, wanted in server.requests] == [None, None, None, "bytes=100-", *[None] * 9]
    (folder / "105.dat").write_bytes(b"x" * 400)
    server.requests = []
    fetch_dataset(dataset)
    assert server.requests == [("/105.dat", None)]


def test_a_file_with_another_sha256_is_refused(server):
    dataset = many(server, 1)
    server.always = ("flip", 7, 1)
    with pytest.raises(UserError, match=r"100\.dat: its SHA-256 is \w+, expected"):
        fetch_dataset(dataset)


def test_a_mirror_folder_and_offline_work_file_by_file(server, tmp_path, monkeypatch):
    dataset = many(server, 12)
    mirror = tmp_path / "mirror" / "mitdb"
    mirror.mkdir(parents=True)
    for file in dataset.files[:-6]:
        (mirror / file.name).write_bytes(server.files[f"/{file.name}"])
    monkeypatch.setenv("REPROKIT_MIRROR", str(mirror.parent))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    with pytest.raises(UserError, match=r"forbids downloading 106\.dat, .*, 110\.dat and 1 more; put them"):
        fetch_dataset(dataset)
    assert server.requests == []
    monkeypatch.setenv("REPROKIT_OFFLINE", "0")
    fetch_dataset(dataset)
    assert len(server.requests) == 6


def test_a_dead_server_is_not_asked_for_every_file(server):
    dataset = many(server, 12)
    server.always = ("status", 404)
    with pytest.raises(UserError, match=r"could not get 100\.dat, .* and 7 more; put them"):
        fetch_dataset(dataset)
    assert {path for path, _ in server.requests} == {"/100.dat", "/101.dat", "/102.dat"}


def test_the_records_of_the_heartbeat_study_come_from_their_publisher(real_data, monkeypatch):
    """The catalogue states what the publisher states; one record is fetched through the public interface."""
    monkeypatch.setenv("REPROKIT_MIRROR", str(real_data))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    listed = CATALOG["mitdb"].files
    assert len(listed) == 3 * 48
    assert listed[0].urls[0] == "https://physionet.org/files/mitdb/1.0.0/100.atr"
    record = replace(CATALOG["mitdb"], files=tuple(file for file in listed if file.name.startswith("208.")))
    assert sorted(path.name for path in fetch_dataset(record).glob("208.*")) == [
        "208.atr",
        "208.dat",
        "208.hea",
    ]
    lines = (real_data / "mitdb" / "SHA256SUMS.txt").read_text(encoding="utf-8").splitlines()
    stated = {name: digest for digest, name in map(str.split, lines)}
    assert {file.name: file.sha256 for file in listed} == stated
