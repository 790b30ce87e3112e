"""ECG records: format 212 and annotations, against our own writer and against `wfdb` on real records."""

from pathlib import Path

import numpy as np
import pytest
from denram.data.mitdb import read_record, unpack_212
from ecg_files import GAIN, ZERO, made_samples, write_record
from reprokit import UserError

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "mitdb"
BEATS = [(20, 1), (500, 5), (1523, 1), (1524, 2), (2999, 5)]


@pytest.fixture
def folder(tmp_path):
    write_record(tmp_path, "1", made_samples(), BEATS)
    return tmp_path


def test_what_was_written_is_read(folder):
    record = read_record(folder, "1")
    assert (record.name, record.leads, record.rate) == ("1", ("MLII", "V1"), 360.0)
    assert record.signal.dtype == np.float32
    np.testing.assert_allclose(record.signal, ((made_samples() - ZERO) / GAIN).T, rtol=1e-6)
    assert list(zip(record.marks.tolist(), record.codes.tolist(), strict=True)) == [(0, 28), *BEATS]


def test_every_12_bit_value_of_both_leads():
    values = np.arange(-2048, 2048)
    raw = np.stack([values, values[::-1]], axis=1) & 0xFFF
    packed = np.stack([raw[:, 0] & 255, raw[:, 0] >> 8 | raw[:, 1] >> 8 << 4, raw[:, 1] & 255], axis=1)
    unpacked = unpack_212(packed.ravel().astype(np.uint8))
    np.testing.assert_array_equal(unpacked, np.stack([values, values[::-1]], axis=1))


def test_time_skipped_backwards_and_far_ahead(tmp_path):
    length = 70_000
    write_record(tmp_path, "1", np.zeros((length, 2), int), [(66_000, 5), (65_990, 1), (69_999, 2)])
    assert read_record(tmp_path, "1").marks.tolist() == [0, 66_000, 65_990, 69_999]


def damage(file: Path, how) -> None:
    file.write_bytes(how(file.read_bytes()))


@pytest.mark.parametrize(
    ("file", "how", "message"),
    [
        ("1.dat", lambda old: old[:-1], r"1\.dat: 8999 bytes are not a whole number of sample pairs"),
        ("1.dat", lambda old: old[:-3], r"1\.dat: holds 2999 samples a lead, its header says 3000"),
        ("1.dat", lambda old: b"\x01" + old[1:], r"1\.dat: the samples of lead MLII do not add up to 1\.hea"),
        (
            "1.hea",
            lambda old: old.replace(b" 212 ", b" 16 "),
            r"1\.hea is damaged or not a WFDB header \(format 16",
        ),
        ("1.hea", lambda old: old[:4], r"1\.hea is damaged or not a WFDB header"),
        (
            "1.hea",
            lambda old: old.replace(b"1 2 360", b"1 1 360"),
            r"1\.hea: describes 1 leads; it must be two",
        ),
        ("1.atr", lambda old: old[:-2], r"1\.atr: ends without its last word; it is truncated"),
        ("1.atr", lambda old: old[:10] + b"\x00\xec", r"1\.atr: ends without its last word"),
        ("1.atr", lambda old: b"\xff\x07" * 4 + old, r"1\.atr: an annotation lies outside the 3000 samples"),
    ],
)
def test_a_damaged_record_is_one_sentence(folder, file, how, message):
    damage(folder / file, how)
    with pytest.raises(UserError, match=message):
        read_record(folder, "1")


@pytest.mark.parametrize("suffix", ["hea", "dat", "atr"])
def test_a_missing_file_is_named(folder, suffix):
    (folder / f"1.{suffix}").unlink()
    with pytest.raises(UserError, match=rf"1\.{suffix}: no such file"):
        read_record(folder, "1")


@pytest.mark.parametrize("name", ["208", "114", "207"])  # frequent PVCs; leads the other way round; flutter
def test_the_reader_agrees_with_wfdb(name):
    wfdb = pytest.importorskip("wfdb", reason="wfdb is in the development group")
    if not REAL.is_dir():
        pytest.skip(f"real records not found at {REAL}")
    found = read_record(REAL, name)
    signal = wfdb.rdrecord(str(REAL / name))
    notes = wfdb.rdann(str(REAL / name), "atr", return_label_elements=["label_store"])
    assert (list(found.leads), found.rate) == (signal.sig_name, signal.fs)
    np.testing.assert_allclose(found.signal.T, signal.p_signal, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(found.marks, notes.sample)
    np.testing.assert_array_equal(found.codes, notes.label_store)
