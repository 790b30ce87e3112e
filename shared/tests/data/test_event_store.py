import numpy as np
import pytest
from reprokit.data.event_store import column_files, mapped, staged_store

DTYPES = {"a": "<i2", "b": "<i8"}


def fill(store, values):
    with staged_store(store) as staging, column_files(staging, DTYPES) as put:
        for value in values:
            put("a", [value])


def test_columns_come_back_mapped_and_an_empty_one_empty(tmp_path):
    fill(tmp_path / "store", [1, 2, 3])
    first, second = (mapped(tmp_path / "store" / name, dtype) for name, dtype in DTYPES.items())
    assert first.tolist() == [1, 2, 3]
    assert not first.flags.writeable
    assert (second.shape, second.dtype) == ((0,), np.dtype("<i8"))


def test_a_new_store_replaces_the_old_one_and_leftovers_of_killed_writers(tmp_path):
    (tmp_path / "store.tmp-1").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "stale").touch()
    fill(tmp_path / "store", [7])
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["a", "b"]


def test_a_failed_writer_leaves_the_old_store_and_nothing_else(tmp_path):
    fill(tmp_path / "store", [7])
    with pytest.raises(ZeroDivisionError):
        fill(tmp_path / "store", (1 // n for n in (1, 0)))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    assert mapped(tmp_path / "store" / "a", "<i2").tolist() == [7]
