"""Readers: what they return, and that nothing malformed gets through (trust tests R8 and R12)."""

import gzip
import io
import pickle
import struct
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import reprokit as rk
from PIL import Image
from reprokit import UserError
from reprokit.readers.aedat import cut_gestures, read_aedat, read_gesture_labels
from reprokit.readers.dvs import read_cut_gesture
from reprokit.readers.mnist import read_mnist_folder
from reprokit.readers.nmnist import decode_nmnist, encode_nmnist
from reprokit.readers.shd import read_class_names
from scipy.io import savemat

RANDOM = np.random.default_rng(0)
CUTS = 100
ONE_EVENT = struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, 1, 1, 1)  # header of a version 3 packet
GESTURE_HEADER = "class,startTime_usec,endTime_usec\n"


def idx_bytes(array: np.ndarray, code: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def recordings(count: int = 20) -> rk.Recordings:
    lengths = RANDOM.integers(1, 30, count)
    times = np.concatenate([np.sort(RANDOM.random(length)) for length in lengths]).astype(np.float16)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    units, labels = RANDOM.integers(0, 700, offsets[-1]), RANDOM.integers(0, 10, count)
    return rk.Recordings(times.astype(np.float32), units, offsets, labels, RANDOM.integers(0, 5, count))


def events(count: int = 50) -> tuple[np.ndarray, ...]:
    t = np.sort(RANDOM.integers(0, 300_000, count))
    return t, RANDOM.integers(0, 34, count), RANDOM.integers(0, 34, count), RANDOM.integers(0, 2, count)


def aedat3(count: int = 60, packets: int = 3) -> bytes:
    """A version 3 file of DVS128 Gesture's layout."""
    body = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n"
    t = np.sort(RANDOM.integers(0, 9000, packets * count)).reshape(packets, count)
    for times in t:
        body += struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, count, count, count)
        x, y, p = (RANDOM.integers(0, end, count) for end in (128, 128, 2))
        address = (x << 17 | y << 2 | p << 1 | 1).astype("<u4")
        body += np.stack([address, times.astype("<u4")], axis=1).tobytes()
    return body


def aedat2(count: int = 60) -> bytes:
    """A version 2 file of the DVS128."""
    t = np.sort(RANDOM.integers(0, 9000, count))
    address = RANDOM.integers(0, 1 << 15, count)
    return b"#!AER-DAT2.0\r\n# a comment\r\n" + np.stack([address, t], axis=1).astype(">u4").tobytes()


# truncation ------------------------------------------------------------------------------------------------


def written(folder: Path, kind: str) -> tuple[Path, object]:
    """Write one good file and return it with its reader."""
    path = folder / f"file.{kind}"
    images = RANDOM.integers(0, 256, (20, 8, 8)).astype(np.uint8)
    labels = np.arange(20, dtype=np.uint8) % 10
    if kind == "idx":
        path.write_bytes(idx_bytes(images))
        return path, rk.read_idx
    if kind == "idx.gz":
        path.write_bytes(gzip.compress(idx_bytes(images)))
        return path, rk.read_idx
    if kind in ("h5", "h5.gz"):
        plain = folder / "plain.h5"
        rk.write_shd(plain, recordings())
        path.write_bytes(gzip.compress(plain.read_bytes()) if kind == "h5.gz" else plain.read_bytes())
        return path, rk.read_shd
    if kind == "npz":
        np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)
        return path, rk.read_npz
    if kind == "nmnist.zip":
        with zipfile.ZipFile(path, "w") as archive:
            for split in ("Train", "Test"):
                archive.writestr(f"{split}/3/1.bin", encode_nmnist(*events()))
        return path, rk.read_nmnist
    if kind == "images.zip":
        with zipfile.ZipFile(path, "w") as archive:
            for split in ("train", "test"):
                archive.writestr(f"{split}/cat/1.png", png(images[0]))
        return path, rk.read_image_folder
    if kind == "png":
        (folder / "images" / "test" / "cat").mkdir(parents=True)
        (folder / "images" / "train" / "cat").mkdir(parents=True)
        path = folder / "images" / "train" / "cat" / "1.png"
        path.write_bytes(png(RANDOM.integers(0, 256, (32, 32)).astype(np.uint8)))
        (folder / "images" / "test" / "cat" / "1.png").write_bytes(path.read_bytes())
        return path, lambda _: rk.read_image_folder(folder / "images")
    if kind == "mat":
        savemat(
            path, {"X": RANDOM.integers(0, 256, (32, 32, 3, 4)).astype(np.uint8), "y": [[1], [2], [3], [10]]}
        )
        return path, rk.read_svhn
    if kind == "aedat":
        path.write_bytes(aedat3())
        return path, rk.read_aedat
    if kind == "cifar.bin":
        path.write_bytes(bytes(3073))
        return path, rk.read_cifar_binary
    raise AssertionError(kind)


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


KINDS = [
    "idx",
    "idx.gz",
    "h5",
    "h5.gz",
    "npz",
    "nmnist.zip",
    "images.zip",
    "png",
    "mat",
    "aedat",
    "cifar.bin",
]


@pytest.mark.parametrize("kind", KINDS)
def test_truncated_at_100_points(tmp_path, kind):
    path, read = written(tmp_path, kind)
    read(path)
    body = path.read_bytes()
    whole = {0}
    if kind == "aedat":  # a file that ends after a packet is shorter but not malformed
        position = len(body) - 3 * (28 + 8 * 60)
        whole = {position + packet * (28 + 8 * 60) for packet in (1, 2)}
    refused = 0
    for size in sorted({int(share * (len(body) - 1)) for share in np.linspace(0, 1, CUTS)} - (whole - {0})):
        path.write_bytes(body[:size])
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(path.name) in str(caught.value)
        refused += 1
    assert refused >= min(CUTS, len(body) - 1) - 2


@pytest.mark.parametrize("kind", ["h5", "idx.gz", "npz", "nmnist.zip", "aedat"])
def test_flipped_bytes_give_an_answer_or_a_sentence(tmp_path, kind):
    path, read = written(tmp_path, kind)
    body = path.read_bytes()
    pick = np.random.default_rng(7)
    for _ in range(150):
        damaged = bytearray(body)
        for position in pick.integers(0, len(body), pick.choice([1, 4])):
            damaged[position] = pick.integers(0, 256)
        path.write_bytes(damaged)
        try:
            read(path)
        except UserError as error:
            assert path.name in str(error)  # noqa: PT017


# no code is run --------------------------------------------------------------------------------------------


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("kind", ["npy", "npz", "h5"])
def test_pickles_are_never_run(tmp_path, kind):
    marker, path = tmp_path / "executed", tmp_path / f"0.{kind}"
    bomb = np.array([Bomb(marker)] * 4, dtype=object)
    if kind == "npy":
        np.save(path, bomb, allow_pickle=True)
        read = read_cut_gesture
    elif kind == "npz":
        np.savez(path, train_images=bomb, train_labels=bomb, test_images=bomb, test_labels=bomb)
        read = rk.read_npz
    else:
        payload = np.frombuffer(pickle.dumps(Bomb(marker)), np.uint8)
        with h5py.File(path, "w") as file:
            for name in ("spikes/times", "spikes/units", "labels"):
                file[name] = np.void(payload.tobytes())
                file[name].attrs["type"] = "pickle"
        read = rk.read_shd
    with pytest.raises(UserError, match=path.name):
        read(path)
    assert not marker.exists()


# IDX -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "dtype"), [(8, "u1"), (9, "i1"), (11, ">i2"), (12, ">i4"), (13, ">f4"), (14, ">f8")]
)
def test_idx_types(tmp_path, code, dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    (tmp_path / "a").write_bytes(idx_bytes(array, code))
    result = rk.read_idx(tmp_path / "a")
    assert np.array_equal(result, array)
    assert result.dtype.isnative


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x00\x08\x01\xff\xff\xff\xff", "allowed are|truncated"),
        (struct.pack(">HBB4I", 0, 14, 4, *[1 << 31] * 4), "its header asks for"),
        (idx_bytes(np.zeros(3, np.uint8)) + b"x", "longer than its header"),
        (b"\x00\x01\x08\x01\x00\x00\x00\x00", "not an IDX file"),
        (b"\x00\x00\x07\x01\x00\x00\x00\x00", "not an IDX file"),
        (b"\x00\x00\x08\x00", "not an IDX file"),
        (b"", "damaged or not an IDX file"),
    ],
)
def test_malformed_idx(tmp_path, data, words):
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(UserError, match=words):
        rk.read_idx(tmp_path / "a")


def test_mnist_of_wrong_rank_or_length(tmp_path):
    for prefix in ("train", "t10k"):
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((3, 4), np.uint8)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(UserError, match=r"expected uint8 \(sample, height, width\)"):
        read_mnist_folder(tmp_path, "x", ("a",))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(idx_bytes(np.zeros((3, 4, 4), np.uint8)))
    with pytest.raises(UserError, match="expected 3 uint8 labels"):
        read_mnist_folder(tmp_path, "x", ("a",))


# SHD -------------------------------------------------------------------------------------------------------


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
        assert getattr(found, name).dtype == (np.float32 if name == "times" else np.int64)
    assert read_class_names(path) == ("zero", "one")


def test_half_precision_times_do_not_overflow(tmp_path):
    path = write_h5(tmp_path / "a.h5", [[0.5, 1.375]], [[1, 2]], [0])
    microseconds = rk.read_shd(path).times * 1e6
    assert microseconds.tolist() == [500_000, 1_375_000]


@pytest.mark.parametrize("options", [{"chunks": (1,)}, {"chunks": (2,)}, {"chunks": (3,)}])
def test_shd_in_chunks(tmp_path, options):
    path = write_h5(tmp_path / "a.h5", [[0.5], [0.25, 0.75], [1.0]], [[1], [2, 3], [4]], [0, 1, 2], **options)
    assert rk.read_shd(path).units.tolist() == [1, 2, 3, 4]


OK = ([[0.25, 0.5], [0.125]], [[1, 2], [3]], [0, 1])


@pytest.mark.parametrize(
    ("times", "units", "labels", "words"),
    [
        ([[0.25, 0.5], [-0.125]], OK[1], OK[2], r"spikes/times of recording 1 holds -0.125 at position 0"),
        ([[0.25, np.nan], [0.125]], OK[1], OK[2], "recording 0 holds nan at position 1; allowed are finite"),
        ([[0.25, np.inf], [0.125]], OK[1], OK[2], "recording 0 holds inf at position 1"),
        ([[0.5, 0.25], [0.125]], OK[1], OK[2], "recording 0 holds 0.25 at position 1; allowed are ascending"),
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
    with pytest.raises(UserError, match="has no data set 'spikes/times' of its own"):
        rk.read_shd(path)


def test_shd_links_elsewhere_are_not_followed(tmp_path):
    write_h5(tmp_path / "other.h5", *OK)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["spikes"] = h5py.ExternalLink("other.h5", "/spikes")
        file["labels"] = h5py.ExternalLink("other.h5", "/labels")
    with pytest.raises(UserError, match="of its own"):
        rk.read_shd(tmp_path / "a.h5")


def test_shd_folder_with_a_label_outside_the_classes(tmp_path):
    for split, labels in (("train", [0, 1]), ("test", [0, 2])):
        write_h5(tmp_path / f"shd_{split}.h5", OK[0], OK[1], labels)
    with pytest.raises(UserError, match=r"shd_test.h5: label 2 of recording 1 is outside the 2 classes"):
        rk.load_recordings(tmp_path)


# events ----------------------------------------------------------------------------------------------------


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
        (bytes(7), "no whole number of 5-byte events"),
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


def test_aedat_addresses(tmp_path):
    expected = [[7], [100], [90], [1]]
    event = struct.pack("<II", 100 << 17 | 90 << 2 | 2, 7)
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT3.1\r\n" + ONE_EVENT + event)
    assert [column.tolist() for column in read_aedat(tmp_path / "a.aedat")] == expected
    event = struct.pack(">II", 100 << 8 | 90 << 1 | 1, 7)
    (tmp_path / "b.aedat").write_bytes(b"#!AER-DAT2.0\r\n" + event)
    assert [column.tolist() for column in read_aedat(tmp_path / "b.aedat", "dvs128")] == expected


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (aedat2()[:-3], "no whole number of 8-byte events"),
        (b"not an event file at all", "does not start with #!AER-DAT"),
        (b"#!AER-DAT2.0\r\n" + struct.pack(">IIII", 0, 9, 0, 8), "event 1 at 8 us runs back"),
        (b"#!AER-DAT4.0\r\n" + bytes(100), "damaged or not an AEDAT file"),
        (
            b"#!AER-DAT3.1\r\n" + struct.pack("<HHIIIIII", 1, 1, 8, 4, 0, 1, 1, 1) + b"\xff" * 8,
            "x=8191, y=8191",
        ),
    ],
)
def test_malformed_aedat(tmp_path, body, words):
    (tmp_path / "a.aedat").write_bytes(body)
    with pytest.raises(UserError, match=words):
        read_aedat(tmp_path / "a.aedat", "dvs128" if b"DAT2" in body else "gesture")


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


# images ----------------------------------------------------------------------------------------------------


def test_cifar(tmp_path):
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024
    (tmp_path / "a.bin").write_bytes(record * 2)
    batch = rk.read_cifar_binary(tmp_path / "a.bin")
    assert batch.labels.tolist() == [7, 7]
    assert batch.images[:, :, 5, 9].tolist() == [[1, 2, 3]] * 2
    (tmp_path / "b.bin").write_bytes(bytes([4]) + record.replace(b"\x07", b"\x63", 1))
    assert rk.read_cifar_binary(tmp_path / "b.bin", classes=100, label_bytes=2).labels.tolist() == [99]
    (tmp_path / "c.bin").write_bytes(b"\x0a" + record[1:])
    with pytest.raises(UserError, match="record 0 has label 10; allowed are 0 to 9"):
        rk.read_cifar_binary(tmp_path / "c.bin")


def test_stl10(tmp_path):
    image = RANDOM.integers(0, 256, (2, 3, 96, 96)).astype(np.uint8)
    image.transpose(0, 1, 3, 2).tofile(tmp_path / "X.bin")
    (tmp_path / "y.bin").write_bytes(bytes([1, 10]))
    found = rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")
    assert np.array_equal(found.images, image)
    assert found.labels.tolist() == [0, 9]
    (tmp_path / "y.bin").write_bytes(bytes([0, 10]))
    with pytest.raises(UserError, match="label 0 at 0; allowed are 1 to 10"):
        rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")
    (tmp_path / "y.bin").write_bytes(bytes([1]))
    with pytest.raises(UserError, match="get both again"):
        rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")


def test_svhn(tmp_path):
    pixels = RANDOM.integers(0, 256, (32, 32, 3, 3)).astype(np.uint8)
    savemat(tmp_path / "a.mat", {"X": pixels, "y": np.array([[1], [10], [9]], np.uint8)})
    found = rk.read_svhn(tmp_path / "a.mat")
    assert np.array_equal(found.images[1, 2], pixels[:, :, 2, 1])
    assert found.labels.tolist() == [1, 0, 9]
    for content, words in (
        ({"X": pixels, "y": [[0], [1], [2]]}, "label 0 at 0"),
        ({"X": pixels, "y": [[1], [2]]}, "expected 3 integers"),
        ({"X": pixels.astype(float), "y": [[1], [1], [2]]}, "expected uint8"),
        ({"X": pixels}, "damaged"),
    ):
        savemat(tmp_path / "a.mat", content)
        with pytest.raises(UserError, match=words):
            rk.read_svhn(tmp_path / "a.mat")


def image_tree(folder: Path, **files: np.ndarray | bytes) -> Path:
    for name, pixels in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels if isinstance(pixels, bytes) else png(pixels))
    return folder


def test_image_folder(tmp_path):
    grey, colour = np.full((4, 6), 9, np.uint8), np.full((4, 6, 3), [1, 2, 3], np.uint8)
    files = {
        "top__train__10__b_dot_png": grey,
        "top__train__2__a_dot_png": colour,
        "top__test__2__c_dot_png": grey,
        "top__train__2___dot_hidden_dot_png": b"ignored",
        "top__train__2__notes_dot_txt": b"ignored",
    }
    found = rk.load_images(image_tree(tmp_path / "set.v1", **files))
    assert found.class_names == ("2", "10")
    assert found.train.labels.tolist() == [1, 0]
    assert found.train.images.shape == (2, 3, 4, 6)
    assert found.train.images[:, :, 0, 0].tolist() == [[9, 9, 9], [1, 2, 3]]
    assert found.name == "set"


GOOD_PIXELS = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("member", "pixels", "words"),
    [
        ("train__b__1_dot_png", GOOD_PIXELS, "holds no images at test/<class>/"),
        ("test__b__1_dot_png", GOOD_PIXELS, "the test set has the class 'b'"),
        ("test__a__1_dot_png", np.zeros((4, 5), np.uint8), "4 x 4 pixels but the first has 5 x 4"),
        ("test__a__1_dot_png", np.zeros((4, 4), np.uint16), "more than 8 bits"),
        ("test__a__1_dot_png", b"GIF89a", "no image that can be decoded"),
        ("test__a__1_dot_png", np.zeros((1, 5000), np.uint8), "allowed are 4096"),
    ],
)
def test_malformed_image_folder(tmp_path, member, pixels, words):
    folder = image_tree(tmp_path / "set", train__a__1_dot_png=GOOD_PIXELS, **{member: pixels})
    with pytest.raises(UserError, match=words):
        rk.read_image_folder(folder)


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 3, 8, 8), (4, 8, 8, 3), (4, 1, 8, 8)])
def test_npz(tmp_path, shape):
    images, labels = RANDOM.integers(0, 256, shape).astype(np.uint8), np.array([0, 1, 2, 0])
    np.savez_compressed(
        tmp_path / "a.npz", x_train=images, y_train=labels[:, None], x_test=images, y_test=labels
    )
    found = rk.load_images(tmp_path / "a.npz")
    channels = 3 if 3 in shape else 1
    assert found.train.images.shape == (4, channels, 8, 8)
    assert found.train.labels.tolist() == found.test.labels.tolist() == [0, 1, 2, 0]
    assert (found.name, found.classes) == ("a", 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_images": np.zeros((2, 8, 8))}, "train_images is float64"),
        ({"train_images": np.zeros((2, 8, 8, 2), np.uint8)}, r"with 1 or 3 channels"),
        ({"train_labels": np.array([0.0, 1.0])}, "expected one integer per image"),
        ({"train_labels": np.array([0, 1, 1])}, "labels must be int64"),
        ({"test_labels": np.array([0, 5])}, "label 5 of test image 1 is outside the 2 classes"),
        ({"test_labels": np.array([0, -1])}, "label -1 of test image 1"),
        ({"test_images": np.zeros((2, 9, 8), np.uint8)}, "both must agree"),
    ],
)
def test_malformed_npz(tmp_path, change, words):
    images, labels = np.zeros((2, 8, 8), np.uint8), np.array([0, 1])
    content = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "a.npz", **{**content, **change})
    with pytest.raises(UserError, match=words):
        rk.read_npz(tmp_path / "a.npz")


@pytest.mark.parametrize("load", [rk.load_images, rk.load_recordings, rk.load_events])
def test_unknown_source_lists_the_known_ones(load):
    with pytest.raises(UserError, match=r"'no/such/thing': neither a .* nor one of .*(digits|shd)"):
        load("no/such/thing")


@pytest.mark.parametrize(
    ("module", "use", "words"),
    [
        (
            "PIL",
            lambda folder: rk.read_image_folder(folder),
            "needs Pillow; install it with: pip install pillow",
        ),
        ("scipy.io", lambda folder: rk.read_svhn(folder / "a.mat"), "pip install scipy"),
        ("tonic.io", lambda folder: rk.read_aedat(folder / "a.aedat"), "pip install tonic aedat"),
        ("sklearn.datasets", lambda _: rk.load_images("digits"), "pip install scikit-learn"),
    ],
)
def test_missing_extras_say_what_to_install(tmp_path, monkeypatch, module, use, words):
    (tmp_path / "a.aedat").write_bytes(aedat2())
    image_tree(tmp_path, train__a__1_dot_png=GOOD_PIXELS, test__a__1_dot_png=GOOD_PIXELS)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=words):
        use(tmp_path)
