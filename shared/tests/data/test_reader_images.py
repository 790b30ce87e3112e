"""Readers of images: IDX, CIFAR, STL-10, SVHN, image folders, npz."""

import struct

import numpy as np
import pytest
import reprokit as rk
from made_files import RANDOM, idx_bytes, image_tree
from reprokit import UserError
from reprokit.readers.mat5 import read_arrays
from reprokit.readers.mnist import read_mnist_folder
from scipy.io import loadmat, savemat


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
        (b"\x00\x00\x08\x01\xff\xff\xff\xff", "allowed: |truncated"),
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


def test_cifar(tmp_path):
    record = bytes([7]) + bytes([1]) * 1024 + bytes([2]) * 1024 + bytes([3]) * 1024
    (tmp_path / "a.bin").write_bytes(record * 2)
    batch = rk.read_cifar_binary(tmp_path / "a.bin")
    assert batch.labels.tolist() == [7, 7]
    assert batch.images[:, :, 5, 9].tolist() == [[1, 2, 3]] * 2
    (tmp_path / "b.bin").write_bytes(bytes([4]) + record.replace(b"\x07", b"\x63", 1))
    assert rk.read_cifar_binary(tmp_path / "b.bin", classes=100, label_bytes=2).labels.tolist() == [99]
    (tmp_path / "c.bin").write_bytes(b"\x0a" + record[1:])
    with pytest.raises(UserError, match="record 0 has label 10; allowed: 0 to 9"):
        rk.read_cifar_binary(tmp_path / "c.bin")


def test_stl10(tmp_path):
    image = RANDOM.integers(0, 256, (2, 3, 96, 96)).astype(np.uint8)
    image.transpose(0, 1, 3, 2).tofile(tmp_path / "X.bin")
    (tmp_path / "y.bin").write_bytes(bytes([1, 10]))
    found = rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")
    assert np.array_equal(found.images, image)
    assert found.labels.tolist() == [0, 9]
    (tmp_path / "y.bin").write_bytes(bytes([0, 10]))
    with pytest.raises(UserError, match="label 0 at 0; allowed: 1 to 10"):
        rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")
    (tmp_path / "y.bin").write_bytes(bytes([1]))
    with pytest.raises(UserError, match="get both again"):
        rk.read_stl10(tmp_path / "X.bin", tmp_path / "y.bin")


@pytest.mark.parametrize("compressed", [False, True])
def test_matlab_arrays_are_what_scipy_reads(tmp_path, compressed):
    random, kinds = np.random.default_rng(0), ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")
    arrays = {f"a_{kind}": (100 * random.random((5, 3, 2, 2)[:rank])).astype(kind)
              for kind, rank in zip(kinds, (2, 3, 4, 2, 3, 4, 2, 3, 4, 2), strict=True)}  # fmt: skip
    arrays |= {"empty": np.zeros((3, 0)), "small": np.ones((2, 1), np.int8)}
    savemat(tmp_path / "a.mat", arrays | {"text": "other"}, do_compression=compressed)
    expected = loadmat(tmp_path / "a.mat")
    found = read_arrays(tmp_path / "a.mat", arrays)
    assert found.keys() == arrays.keys()
    for name, array in found.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


def test_a_matlab_file_that_crashes_scipy_is_refused(tmp_path):
    """The type of the values is 0, which makes SciPy 1.17 read out of bounds."""
    savemat(
        tmp_path / "a.mat", {"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[1], [2]], np.uint8)}
    )
    data = bytearray((tmp_path / "a.mat").read_bytes())
    assert data[184] == 2
    data[184] = 0
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(
        UserError, match=r"a\.mat is damaged or not SVHN's .*X is not an array of real numbers"
    ):
        rk.read_svhn(tmp_path / "a.mat")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"MATLAB 7.3" + data[10:124] + b"\x00\x02IM" + data[128:], "no header of a MATLAB 5 file"),
        (lambda data: data[:100], "shorter than the header"),
        (lambda data: data[:-8], "cut in an element"),
        (lambda data: data + b"\0\0\0", "cut in the tag"),
        (lambda data: data[:144] + b"\x06\x08" + data[146:], "not an array of real numbers"),  # complex
        (lambda data: data[:160] + b"\x07" + data[161:], "bytes of values for the shape"),
    ],
)  # fmt: skip
def test_damaged_matlab_files_say_what_is_wrong(tmp_path, damage, words):
    savemat(tmp_path / "a.mat", {"X": np.arange(6.0).reshape(2, 3)})
    (tmp_path / "b.mat").write_bytes(damage((tmp_path / "a.mat").read_bytes()))
    with pytest.raises(ValueError, match=words):
        read_arrays(tmp_path / "b.mat", ("X",))


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
        ("test__a__1_dot_png", np.zeros((1, 5000), np.uint8), "allowed: 4096"),
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
