"""Readers of events: N-MNIST, gestures, cut gestures."""

import zipfile

import numpy as np
import pytest
import reprokit as rk
from made_files import aedat3, events
from reprokit import UserError
from reprokit.readers.aedat import cut_gestures, read_aedat, read_gesture_labels
from reprokit.readers.dvs import read_cut_gesture
from reprokit.readers.nmnist import decode_nmnist, encode_nmnist

GESTURE_HEADER = "class,startTime_usec,endTime_usec\n"


def test_nmnist_round_trip(tmp_path):
    expected = events()
    rk.write_nmnist_file(tmp_path / "a.bin", *expected)
    found = rk.read_nmnist_file(tmp_path / "a.bin")
    assert all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    assert [column.dtype for column in found] == [np.int64, np.int16, np.int16, np.int8]


def test_nmnist_by_hand():
    t, x, y, p = decode_nmnist(bytes([3, 4, 0x80 | 1, 2, 3, 0, 240, 1, 2, 3, 33, 0, 1, 2, 4]), "here")
    assert (t.tolist(), x.tolist(), y.tolist(), p.tolist()) == (
        [65536 + 515, 65536 + 516 + 8192],
        [3, 33],
        [4, 0],
        [1, 0],
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (bytes(7), "not a whole number of 5-byte events"),
        (bytes([34, 0, 0, 0, 0]), "event 0 is at x=34, y=0"),
        (bytes([0, 99, 0, 0, 0]), "event 0 is at x=0, y=99"),
        (bytes([0, 0, 0, 0, 9, 0, 0, 0, 0, 8]), "event 1 at 8 us comes after 9 us"),
        (bytes([0, 240, 0, 0, 9]), "has no events"),
    ],
)
def test_malformed_nmnist(tmp_path, data, words):
    (tmp_path / "a.bin").write_bytes(data)
    with pytest.raises(UserError, match=words):
        rk.read_nmnist_file(tmp_path / "a.bin")


def test_nmnist_folder_and_zip_agree_and_are_sorted(tmp_path):
    folder = tmp_path / "set"
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("Train/7/00002.bin", "Train/1/00003.bin", "Train/9/00001.bin", "Test/5/00001.bin"):
            content = encode_nmnist(*events())
            archive.writestr(f"set/{name}", content)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    one, other = rk.load_events(folder), rk.load_events(tmp_path / "set.zip")
    assert one.train.labels.tolist() == other.train.labels.tolist() == [9, 7, 1]
    assert np.array_equal(one.train.t, other.train.t)
    assert one.name == other.name == "set"
    with pytest.raises(UserError, match="holds no Train/<digit>"):
        rk.load_events(folder / "Train")


def test_gestures_are_cut_by_their_labels(tmp_path):
    (tmp_path / "user01_led.aedat").write_bytes(aedat3())
    (tmp_path / "user01_led_labels.csv").write_text(
        "class,startTime_usec,endTime_usec\n3,1000,4000\n11,5000,8000\n"
    )
    for split in ("train", "test"):
        (tmp_path / f"trials_to_{split}.txt").write_text("user01_led.aedat\n")
    whole = read_aedat(tmp_path / "user01_led.aedat")
    gestures = cut_gestures(tmp_path / "user01_led.aedat")
    inside = (whole[0] >= 5000) & (whole[0] < 8000)
    assert [label for _, label in gestures] == [2, 10]
    assert np.array_equal(gestures[1][0][0], whole[0][inside] - 5000)
    assert np.array_equal(gestures[1][0][1], whole[1][inside])
    splits = rk.load_events(tmp_path)
    assert splits.test.labels.tolist() == [2, 10]
    assert splits.sensor == (128, 128)


def gesture_folder(folder, rows):
    """A folder of DVS128 Gesture with one file, whose events last from 0 to about 9 ms."""
    (folder / "user01_led.aedat").write_bytes(aedat3())
    (folder / "user01_led_labels.csv").write_text(rows, encoding="utf-8")
    for split in ("train", "test"):
        (folder / f"trials_to_{split}.txt").write_text("\ufeffuser01_led.aedat\r\n", encoding="utf-8")
    return folder


def test_gesture_labels_as_spreadsheets_write_them(tmp_path):
    gesture_folder(
        tmp_path, "\ufeffclass, startTime_usec , endTime_usec\r\n 3, 1000 ,4000\r\n\r\n11,5000, 8000\r\n"
    )
    splits = rk.load_events(tmp_path)
    assert splits.train.labels.tolist() == [2, 10]
    (tmp_path / "user01_led_labels.csv").write_text(GESTURE_HEADER + "3,1 000,4000\n")
    with pytest.raises(UserError, match="damaged or not a DVS Gesture label file"):  # not one number of two
        read_gesture_labels(tmp_path / "user01_led_labels.csv")


def test_a_gesture_that_ends_after_its_file_is_said(tmp_path):
    gesture_folder(tmp_path, GESTURE_HEADER + "3,1000,4000\n11,5000,30000\n")
    with pytest.warns(
        UserWarning, match=r"a gesture ends at 30000 us, but the file at [89]\d\d\d us; the rest"
    ):
        gestures = cut_gestures(tmp_path / "user01_led.aedat")
    assert len(gestures) == 2


def test_gestures_without_events_are_counted(tmp_path):
    short = "".join(f"{1 + k % 11},{400 * k},{400 * k + 390}\n" for k in range(22))
    gesture_folder(tmp_path, GESTURE_HEADER + short + "4,2,3\n")
    t = read_aedat(tmp_path / "user01_led.aedat")[0]
    assert not ((t >= 2) & (t < 3)).any()
    with pytest.warns(UserWarning, match=r"1 of 23 gestures hold no events and are left out \(2 to 3 us\)"):
        splits = rk.load_events(tmp_path)
    assert len(splits.train) == 22
    gesture_folder(tmp_path, GESTURE_HEADER + "3,1000,4000\n4,2,3\n")
    with (
        pytest.warns(UserWarning, match="1 of 2 gestures"),
        pytest.raises(UserError, match="train: 1 of 2 gestures hold no events; check the times in the label"),
    ):
        rk.load_events(tmp_path)
    with pytest.warns(UserWarning, match="1 of 2 gestures"):
        assert len(rk.read_dvs_gesture(tmp_path, allow_loss=True).test) == 1


@pytest.mark.parametrize("rows", ["", "12,1,2\n", "1,5,2\n", "1,x,2\n", "1,2\n"])
def test_malformed_gesture_labels(tmp_path, rows):
    (tmp_path / "labels.csv").write_text(GESTURE_HEADER + rows)
    with pytest.raises(UserError, match=r"labels\.csv"):
        read_gesture_labels(tmp_path / "labels.csv")


@pytest.mark.parametrize(
    "event", [[128, 0, 0, 0], [0, -1, 0, 0], [0, 0, 2, 0], [0, 0, 0, -5], [0.5, 0, 0, 0]]
)
def test_malformed_cut_gesture(tmp_path, event):
    np.save(tmp_path / "0.npy", np.array([[1, 2, 1, 0], event]))
    with pytest.raises(UserError, match="event 1 is"):
        read_cut_gesture(tmp_path / "0.npy")


def test_cut_gesture(tmp_path):
    np.save(tmp_path / "0.npy", np.array([[1, 2, 1, 0], [3, 4, 0, 25]]))
    assert [column.tolist() for column in read_cut_gesture(tmp_path / "0.npy")] == [
        [0, 25000],
        [1, 3],
        [2, 4],
        [1, 0],
    ]
