"""Hostile and damaged archives (trust test R4)."""

import errno
import io
import os
import stat
import sys
import tarfile
import warnings
import zipfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from reprokit import UserError
from reprokit.data.archive import extract
from reprokit.files.atomic import sync_tree

MEGABYTE = 1 << 20


def make_tar(path: Path, *members: tuple[str, bytes, bytes], linked: str = "target") -> Path:
    """Write a tar of (name, type, content)."""
    with tarfile.open(path, "w:gz") as archive:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), linked
            archive.addfile(info, io.BytesIO(content))
    return path


def make_zip(path: Path, *members: tuple[str, bytes, int]) -> Path:
    """Write a zip of (name, content, unix mode)."""
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate names wanted here
        for name, content, mode in members:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


FILE = stat.S_IFREG | 0o644
GOOD = ("good", tarfile.REGTYPE, b"good")
HOSTILE_TARS = {
    "parent": ([("../evil", tarfile.REGTYPE, b"x")], "outside its folder"),
    "parent inside": ([("a/../../evil", tarfile.REGTYPE, b"x")], "outside its folder"),
    "absolute": ([("/tmp/reprokit-evil", tarfile.REGTYPE, b"x")], "outside its folder"),
    "symbolic link": ([("link", tarfile.SYMTYPE, b"")], "link or device"),
    "hard link": ([("good", tarfile.REGTYPE, b"x"), ("hard", tarfile.LNKTYPE, b"")], "link or device"),
    "character device": ([("device", tarfile.CHRTYPE, b"")], "link or device"),
    "block device": ([("device", tarfile.BLKTYPE, b"")], "link or device"),
    "pipe": ([("pipe", tarfile.FIFOTYPE, b"")], "link or device"),
    "twice": ([GOOD, GOOD], "occurs twice"),
    "twice but for case": ([GOOD, ("GOOD", tarfile.REGTYPE, b"x")], "occurs twice"),
    "file as folder": ([GOOD, ("good/below", tarfile.REGTYPE, b"x")], "damaged"),
    "bomb": ([("bomb", tarfile.REGTYPE, bytes(8 * MEGABYTE))], "far more bytes"),
}
HOSTILE_ZIPS = {
    "parent": ([("../evil", b"x", FILE)], "outside its folder"),
    "backslash": ([("..\\evil", b"x", FILE)], "outside its folder"),
    "absolute": ([("/tmp/reprokit-evil", b"x", FILE)], "outside its folder"),
    "drive": ([("C:evil", b"x", FILE)], "outside its folder"),
    "symbolic link": ([("link", b"/etc/passwd", stat.S_IFLNK | 0o777)], "link or device"),
    "device": ([("device", b"", stat.S_IFCHR | 0o644)], "link or device"),
    "twice": ([("good", b"x", FILE), ("good", b"y", FILE)], "occurs twice"),
    "bomb": ([("bomb", bytes(8 * MEGABYTE), FILE)], "far more bytes"),
    "many small bombs": ([(f"bomb{index}", bytes(MEGABYTE), FILE) for index in range(4)], "far more bytes"),
}


def refused(archive: Path, words: str, tmp_path: Path, **limits: int) -> None:
    """Check that extraction fails with these words and writes nothing."""
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(UserError, match=words) as caught:
        extract(archive, tmp_path / "out", **limits)
    assert str(archive) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert not (tmp_path.parent / "evil").exists()
    assert not Path("/tmp/reprokit-evil").exists()


@pytest.mark.parametrize("case", HOSTILE_TARS)
def test_hostile_tar(tmp_path, case):
    members, words = HOSTILE_TARS[case]
    refused(make_tar(tmp_path / "a.tar.gz", *members), words, tmp_path)


@pytest.mark.parametrize("case", HOSTILE_ZIPS)
def test_hostile_zip(tmp_path, case):
    members, words = HOSTILE_ZIPS[case]
    refused(make_zip(tmp_path / "a.zip", *members), words, tmp_path)


def test_zip_inside_a_zip_is_held_to_the_same_rules(tmp_path):
    inner = make_zip(tmp_path / "inner.zip", ("../../evil", b"x", FILE)).read_bytes()
    refused(make_zip(tmp_path / "a.zip", ("inner.zip", inner, FILE)), "outside its folder", tmp_path)
    inner = make_zip(tmp_path / "inner.zip", ("bomb", bytes(8 * MEGABYTE), FILE)).read_bytes()
    refused(make_zip(tmp_path / "a.zip", ("inner.zip", inner, FILE)), "far more bytes", tmp_path)


def test_too_many_files(tmp_path):
    members = [(f"file{index}", b"x", FILE) for index in range(11)]
    refused(make_zip(tmp_path / "a.zip", *members), "more files", tmp_path, max_files=10)


def test_zip_that_lies_about_its_size(tmp_path):
    archive = make_zip(tmp_path / "a.zip", ("bomb", bytes(8 * MEGABYTE), FILE))
    data = archive.read_bytes()
    archive.write_bytes(data.replace((8 * MEGABYTE).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    refused(archive, "damaged|far more bytes", tmp_path)


@pytest.mark.parametrize("make", [make_tar, make_zip])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_cut_archive(tmp_path, make, share):
    kinds = (tarfile.REGTYPE, os.urandom(9000)) if make is make_tar else (os.urandom(9000), FILE)
    archive = make(tmp_path / "a.archive", ("file", *kinds))
    os.truncate(archive, int(archive.stat().st_size * share))
    refused(archive, "damaged", tmp_path)


def test_many_members_are_flushed_together_before_the_folder_gets_its_name(tmp_path, monkeypatch):
    synced, single = [], []

    def sync(folder):
        assert not (tmp_path / "out").exists()
        synced.append(sum(path.is_file() for path in folder.rglob("*")))
        sync_tree(folder)

    fsync = os.fsync
    monkeypatch.setattr("reprokit.data.archive.sync_tree", sync)
    monkeypatch.setattr(os, "fsync", lambda descriptor: single.append(descriptor) or fsync(descriptor))
    members = [(f"d{index % 7}/f{index}", b"x", FILE) for index in range(300)]
    extract(make_zip(tmp_path / "a.zip", *members), tmp_path / "out")
    assert synced == [300]
    assert len(single) <= 2  # the folder that holds it
    assert (tmp_path / "out" / "d6" / "f6").read_bytes() == b"x"


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_tree_that_cannot_be_flushed_is_no_tree(tmp_path, monkeypatch, platform):
    monkeypatch.setattr(sys, "platform", platform)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"x")
    sync_tree(tmp_path / "a")
    with pytest.raises(OSError, match="No such file") if platform == "linux" else nullcontext():
        sync_tree(tmp_path / "absent")

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace(syncfs=lambda _: -1))
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.ENOSPC)
    with pytest.raises(OSError, match="No space left"):
        sync_tree(tmp_path / "a")


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_good_archive(tmp_path, kind):
    if kind == "tar":
        archive = make_tar(
            tmp_path / "a.tar.gz", ("d", tarfile.DIRTYPE, b""), ("d/./file", tarfile.REGTYPE, b"text")
        )
    else:
        inner = make_zip(tmp_path / "d.zip", ("file", b"text", FILE)).read_bytes()
        archive = make_zip(tmp_path / "a.zip", ("e/", b"", stat.S_IFDIR | 0o755), ("d.zip", inner, FILE))
    extract(archive, tmp_path / "out")
    assert (tmp_path / "out" / "d" / "file").read_bytes() == b"text"
    assert not list(tmp_path.glob("*.tmp-*"))
