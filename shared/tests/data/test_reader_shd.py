"""Reader of spike recordings in SHD layout."""

import gzip
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import reprokit as rk
from made_files import recordings
from reprokit import UserError
from reprokit.readers.shd import read_shd_and_names


def write_h5(
    path: Path, times: list, units: list, labels: object, kind: type = np.float16, **options: object
) -> Path:
    with h5py.File(path, "w") as file:
        for name, rows, dtype in (("times", times, np.float16), ("units", units, np.int32)):
            data = file.create_dataset(f"spikes/{name}", (len(rows),), h5py.vlen_dtype(dtype), **options)
            for index, row in enumerate(rows):
                data[index] = np.array(row, dtype)
        file["labels"] = np.array(labels)
    return path


@pytest.mark.parametrize("compressed", [False, True])
def test_shd_round_trip(tmp_path, compressed):
    expected, path = recordings(), tmp_path / "a.h5"
    rk.write_shd(path, expected, ("zero", "one"))
    if compressed:
        path = tmp_path / "a.h5.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.h5").read_bytes()))
    found = rk.read_shd(path)
    for name in ("times", "units", "offsets", "labels", "speakers"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
        assert getattr(found, name).dtype == {"times": np.float32, "units": np.int32}.get(name, np.int64)
    assert read_shd_and_names(path)[1] == ("zero", "one")


def test_half_precision_times_do_not_overflow(tmp_path):
    path = write_h5(tmp_path / "a.h5", [[0.5, 1.375]], [[1, 2]], [0])
    microseconds = rk.read_shd(path).times * 1e6
    assert microseconds.tolist() == [500_000, 1_375_000]


@pytest.mark.parametrize("options", [{"chunks": (1,)}, {"chunks": (2,)}, {"chunks": (3,)}])
def test_shd_in_chunks(tmp_path, options):
    path = write_h5(tmp_path / "a.h5", [[0.5], [0.25, 0.75], [1.0]], [[1], [2, 3], [4]], [0, 1, 2], **options)
    assert rk.read_shd(path).units.tolist() == [1, 2, 3, 4]


def test_reading_takes_little_more_memory_than_the_recordings(tmp_path):
    spikes, count = 4000, 400
    times = np.tile(np.linspace(0, 1.3, spikes, dtype=np.float16).astype(np.float32), count)
    offsets = np.arange(0, spikes * count + 1, spikes)
    units = np.resize(np.arange(700, dtype=np.uint16), spikes * count)
    rk.write_shd(tmp_path / "a.h5", rk.Recordings(times, units, offsets, np.zeros(count, np.int64)))
    tracemalloc.start()
    try:
        found = rk.read_shd(tmp_path / "a.h5")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert np.array_equal(found.times, times)
    assert np.array_equal(found.units, units)
    assert peak < 1.8 * (found.times.nbytes + found.units.nbytes)


def test_a_unit_that_fewer_bits_would_wrap_is_refused(tmp_path):
    path = write_h5(tmp_path / "a.h5", [[0.25], [0.5]], [[1], [65537]], [0, 1])
    with pytest.raises(UserError, match="recording 1 holds 65537 at position 0; allowed: channels 0 to 699"):
        rk.read_shd(path)


OK = ([[0.25, 0.5], [0.125]], [[1, 2], [3]], [0, 1])


@pytest.mark.parametrize(
    ("times", "units", "labels", "words"),
    [
        ([[0.25, 0.5], [-0.125]], OK[1], OK[2], r"spikes/times of recording 1 holds -0.125 at position 0"),
        ([[0.25, np.nan], [0.125]], OK[1], OK[2], "recording 0 holds nan at position 1; allowed: finite"),
        ([[0.25, np.inf], [0.125]], OK[1], OK[2], "recording 0 holds inf at position 1"),
        ([[0.5, 0.25], [0.125]], OK[1], OK[2], "recording 0 holds 0.25 at position 1; allowed: ascending"),
        (OK[0], [[1, 2], [700]], OK[2], r"spikes/units of recording 1 holds 700 .* channels 0 to 699"),
        (OK[0], [[1, -2], [3]], OK[2], "recording 0 holds -2 at position 1"),
        (OK[0], [[1], [3]], OK[2], "recording 0 has 2 times but 1 units"),
        ([[0.25, 0.5], []], [[1, 2], []], OK[2], "recording 1 has no spikes"),
        (OK[0], OK[1], [0], "labels has 1 entries but spikes/times has 2"),
        (OK[0], OK[1], [0, -1], "labels holds -1 for recording 1"),
        (OK[0], OK[1], [0.0, 1.0], "labels has dtype float64, expected integers"),
        (OK[0], OK[1], [[0], [1]], r"labels has shape \(2, 1\)"),
    ],
)
def test_malformed_shd(tmp_path, times, units, labels, words):
    path = write_h5(tmp_path / "a.h5", times, units, labels)
    with pytest.raises(UserError, match=words) as caught:
        rk.read_shd(path)
    assert str(path) in str(caught.value)


def test_shd_out_of_order_can_be_sorted(tmp_path):
    path = write_h5(
        tmp_path / "a.h5", [[0.25], [0.5, 0.25, 0.375], [0.125]], [[9], [1, 2, 3], [4]], [0, 1, 2]
    )
    with pytest.warns(UserWarning, match="sorted the spikes of 1 of 3 recordings"):
        found = rk.read_shd(path, sort=True)
    assert found.times.tolist() == [0.25, 0.25, 0.375, 0.5, 0.125]
    assert found.units.tolist() == [9, 2, 3, 1, 4]


def test_shd_of_another_layout(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["spikes/times"] = np.zeros((3, 4))
        file["labels"] = np.zeros(3, int)
    with pytest.raises(UserError, match=r"spikes/times has shape \(3, 4\)"):
        rk.read_shd(path)
    with h5py.File(path, "w") as file:
        file["spikes/times"] = np.zeros(3)
    with pytest.raises(UserError, match="spikes/times has dtype float64, expected rows of floats"):
        rk.read_shd(path)
    with h5py.File(path, "w") as file:
        file["labels"] = np.zeros(3, int)
    with pytest.raises(UserError, match="does not itself contain the data set 'spikes/times'"):
        rk.read_shd(path)


def test_shd_links_elsewhere_are_not_followed(tmp_path):
    write_h5(tmp_path / "other.h5", *OK)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spikes"] = h5py.ExternalLink("other.h5", "/spikes")
        file["labels"] = h5py.ExternalLink("other.h5", "/labels")
    with pytest.raises(UserError, match="does not itself contain"):
        rk.read_shd(tmp_path / "a.h5")


def test_shd_folder_with_a_label_outside_the_classes(tmp_path):
    for split, labels in (("train", [0, 1]), ("test", [0, 2])):
        write_h5(tmp_path / f"shd_{split}.h5", OK[0], OK[1], labels)
    with pytest.raises(UserError, match=r"shd_test.h5: label 2 of recording 1 is outside the 2 classes"):
        rk.load_recordings(tmp_path)


@pytest.mark.parametrize("kind", [1, 2, 15])
def test_rows_of_an_unknown_kind_are_refused_before_the_library_crashes(tmp_path, kind):
    path = tmp_path / "file.h5"
    rk.write_shd(path, recordings())
    content = path.read_bytes()
    rows = bytes(
        (0x19, 0, 0, 0, 16, 0, 0, 0, 0x11)
    )  # variable length, a sequence, of 16 bytes a reference, of floats
    assert content.count(rows) == 1
    path.write_bytes(content.replace(rows, rows[:1] + bytes([kind]) + rows[2:]))
    with pytest.raises(UserError, match=r"file\.h5: spikes/times"):
        rk.read_shd(path)


def test_labels_whose_chunk_unpacks_to_fewer_bytes_are_refused(tmp_path):
    path = write_h5(tmp_path / "a.h5", [[0.5], [0.25]], [[1], [2]], [0, 1])
    with h5py.File(path, "a") as file:
        del file["labels"]
        labels = file.create_dataset("labels", (100_000,), "u1", chunks=(100_000,), compression="gzip")
        labels.id.write_direct_chunk((0,), zlib.compress(b"12"))
    with pytest.raises(UserError, match="values of /labels are missing or damaged; get the file again"):
        rk.read_shd(path)  # the HDF5 library reads beyond the chunk, and crashes


def test_labels_in_packed_chunks_are_read(tmp_path):
    path = write_h5(tmp_path / "a.h5", [[0.5], [0.25]], [[1], [2]], [0, 1])
    with h5py.File(path, "a") as file:
        del file["labels"]
        file.create_dataset("labels", data=[1, 0], chunks=(1,), compression="gzip")
    assert rk.read_shd(path).labels.tolist() == [1, 0]
