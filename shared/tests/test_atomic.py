import os
import stat
from pathlib import Path

import numpy as np
import pytest
from reprokit import UserError
from reprokit.files import write_array, write_file
from reprokit.files.atomic import append_whole, atomic_write, make_folder

linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")


@pytest.fixture
def events(monkeypatch):
    """Note every fsync (of a file: its size then; of a folder: its names then) and every rename."""
    seen = []
    fsync, replace = os.fsync, Path.replace

    def noting_fsync(descriptor):
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            seen.append(("folder", [entry.name for entry in os.scandir(descriptor)]))
        else:
            seen.append(("file", status.st_size))
        fsync(descriptor)

    def noting_replace(path, target):
        seen.append(("rename", Path(target).name))
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "replace", noting_replace)
    return seen


def test_a_replaced_file_is_on_the_disk_before_its_name_and_the_name_before_the_return(tmp_path, events):
    atomic_write(tmp_path / "f", b"12345")
    assert events == [("file", 5), ("rename", "f"), ("folder", ["f"])]


def test_appended_lines_and_a_new_file_s_name_are_on_the_disk_before_the_return(tmp_path, events):
    append_whole(tmp_path / "f", b"row\n", head=b"header\n")
    append_whole(tmp_path / "f", b"row\n", head=b"header\n")
    assert events == [("file", 11), ("folder", ["f"]), ("file", 15)]
    assert (tmp_path / "f").read_bytes() == b"header\nrow\nrow\n"


class Writes:
    """Notes the writes to one file and lets at most `limit` bytes of each through."""

    def __init__(self, path, monkeypatch, limit=None):
        self.data = []
        write = os.write

        def noting(descriptor, data):
            if Path(f"/proc/self/fd/{descriptor}").resolve() != path.resolve():
                return write(descriptor, data)
            self.data.append(bytes(data))
            return write(descriptor, data[:limit])

        monkeypatch.setattr(os, "write", noting)


@linux
def test_a_line_is_one_write(tmp_path, monkeypatch):
    writes = Writes(tmp_path / "f", monkeypatch)
    append_whole(tmp_path / "f", b"row\n", head=b"header\n")
    append_whole(tmp_path / "f", b"row\n", head=b"header\n")
    assert writes.data == [b"header\nrow\n", b"row\n"]


@linux
def test_a_short_write_is_completed(tmp_path, monkeypatch):
    writes = Writes(tmp_path / "f", monkeypatch, limit=4)
    append_whole(tmp_path / "f", b"12345678\n")
    assert writes.data == [b"12345678\n", b"5678\n", b"\n"]
    assert (tmp_path / "f").read_bytes() == b"12345678\n"


@linux
def test_no_descriptor_stays_open(tmp_path):
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(10):
        append_whole(tmp_path / "f", b"row\n")
        atomic_write(tmp_path / "g", b"x")
    assert count() == before


def test_errors_name_the_file(tmp_path):
    with pytest.raises(OSError, match="No such file") as caught:
        append_whole(tmp_path / "absent" / "f", b"")
    assert caught.value.filename == str(tmp_path / "absent" / "f")


def test_folders_are_made_with_their_parents(tmp_path):
    make_folder(tmp_path / "a" / "b", "run directory")
    make_folder(tmp_path / "a" / "b", "run directory")
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"cannot create the cache .*file/x: Not a directory; choose a folder"
    ):
        make_folder(tmp_path / "file" / "x", "cache")


def test_a_file_is_written_whole_with_its_folder(tmp_path, events):
    file = write_file(tmp_path / "a" / "b" / "f", "Grün\n")
    assert file.read_bytes() == "Grün\n".encode()
    assert events == [("file", 6), ("rename", "f"), ("folder", ["f"])]
    assert write_file(str(file), b"12").read_bytes() == b"12"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot create the folder of f\.csv .*file/x: .*; choose a folder"):
        write_file(tmp_path / "file" / "x" / "f.csv", "")


@pytest.mark.parametrize("array", [np.float32([[1.5, 2]]), np.array(3), np.empty((0, 2), "i2")])
def test_an_array_comes_back_as_it_was(tmp_path, array):
    found = np.load(write_array(tmp_path / "new" / "a.npy", array))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)


def test_object_arrays_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(tmp_path / "a.npy", np.array([{}]))
    assert not list(tmp_path.iterdir())
