"""Loaders of fetched data sets, on small stand-ins with the published file names and layout."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import reprokit as rk
from reprokit import UserError
from reprokit.data import event_store
from reprokit.readers import cifar, dvs, nmnist, stl10, svhn
from reprokit.readers.nmnist import encode_nmnist
from scipy.io import savemat

RANDOM = np.random.default_rng(3)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Make every loader find its files in a folder given by the test."""
    folder = tmp_path / "set"
    folder.mkdir()
    for module in (cifar, dvs, nmnist, stl10, svhn):
        monkeypatch.setattr(module, "fetch", lambda name: folder)
    return folder


def records(count: int, label_bytes: int, classes: int) -> bytes:
    labels = RANDOM.integers(0, classes, (count, label_bytes)).astype(np.uint8)
    return np.hstack([labels, RANDOM.integers(0, 256, (count, 3072)).astype(np.uint8)]).tobytes()


def test_cifar10(place):
    inside = place / "cifar-10-binary" / "cifar-10-batches-bin"
    inside.mkdir(parents=True)
    for number in range(1, 6):
        (inside / f"data_batch_{number}.bin").write_bytes(records(2, 1, 10))
    (inside / "test_batch.bin").write_bytes(records(3, 1, 10))
    (inside / "batches.meta.txt").write_text("\n".join("abcdefghij") + "\n\n")
    found = rk.load_images("cifar10")
    assert (len(found.train), len(found.test), found.class_names) == (10, 3, tuple("abcdefghij"))
    (inside / "batches.meta.txt").write_text("a\n")
    with pytest.raises(UserError, match="lists 1 class names, expected 10"):
        rk.load_images("cifar10")


def test_cifar100(place):
    inside = place / "cifar-100-binary" / "cifar-100-binary"
    inside.mkdir(parents=True)
    (inside / "train.bin").write_bytes(records(4, 2, 100))
    (inside / "test.bin").write_bytes(records(3, 2, 100))
    (inside / "fine_label_names.txt").write_text("\n".join(f"class{index}" for index in range(100)))
    found = rk.load_images("cifar100")
    assert (len(found.train), len(found.test), found.classes) == (4, 3, 100)
    (inside / "test.bin").unlink()
    with pytest.raises(UserError, match=r"holds no test\.bin"):
        rk.load_images("cifar100")


def test_stl10(place):
    inside = place / "stl10_binary" / "stl10_binary"
    inside.mkdir(parents=True)
    for split in ("train", "test"):
        (inside / f"{split}_X.bin").write_bytes(RANDOM.bytes(2 * 3 * 96 * 96))
        (inside / f"{split}_y.bin").write_bytes(bytes([1, 10]))
    assert rk.load_images("stl10").test.labels.tolist() == [0, 9]


def test_svhn(place):
    for split in ("train", "test"):
        pixels = RANDOM.integers(0, 256, (32, 32, 3, 2)).astype(np.uint8)
        savemat(place / f"{split}_32x32.mat", {"X": pixels, "y": [[10], [1]]})
    assert rk.load_images("svhn").train.labels.tolist() == [0, 1]


def zipped(path: Path, split: str, count: int) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(count):
            t = np.sort(RANDOM.integers(0, 300_000, 20))
            content = encode_nmnist(t, *(RANDOM.integers(0, end, 20) for end in (34, 34, 2)))
            archive.writestr(f"{split}/{index % 10}/{index:05}.bin", content)


def test_nmnist_is_decoded_once_and_mapped(place, monkeypatch):
    zipped(place / "train.zip", "Train", 12)
    zipped(place / "test.zip", "Test", 3)
    first = rk.load_events("n-mnist")
    assert isinstance(first.train.t, np.memmap)
    assert first.train.labels.tolist() == [*range(10), 0, 1]
    decoded = nmnist.read_nmnist(_both(place))
    for name in ("t", "x", "y", "p", "offsets", "labels"):
        assert np.array_equal(getattr(first.train, name), getattr(decoded.train, name))
        assert getattr(first.train, name).dtype == getattr(decoded.train, name).dtype
    monkeypatch.setattr(nmnist, "decode_nmnist", None)  # a second decoding would fail
    assert np.array_equal(rk.load_events("n-mnist").test.x, first.test.x)


def _both(place: Path) -> Path:
    """Put the two archives of a folder into one."""
    path = place.parent / "both.zip"
    with zipfile.ZipFile(path, "w") as target:
        for part in ("train.zip", "test.zip"):
            with zipfile.ZipFile(place / part) as source:
                for name in source.namelist():
                    target.writestr(name, source.read(name))
    return path


@pytest.mark.parametrize("harm", ["truncated", "deleted", "other files"])
def test_damaged_store_is_decoded_again(place, harm, monkeypatch):
    zipped(place / "train.zip", "Train", 12)
    zipped(place / "test.zip", "Test", 3)
    expected = np.array(rk.load_events("n-mnist").train.t)
    if harm == "truncated":
        (place / "decoded-train" / "t").write_bytes(b"short")
    elif harm == "deleted":
        (place / "decoded-train" / "store.json").unlink()
    else:
        monkeypatch.setattr(event_store, "VERSION", 2)
    assert np.array_equal(rk.load_events("n-mnist").train.t, expected)


def test_failing_decoder_leaves_nothing(place):
    (place / "train.zip").write_bytes(b"no zip")
    with pytest.raises(UserError, match=r"train\.zip is damaged"):
        rk.load_events("n-mnist")
    assert sorted(path.name for path in place.iterdir()) == ["train.zip"]


def npy(rows: list[list[int]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array(rows))
    return buffer.getvalue()


def test_dvs_gesture(place):
    for split in ("Train", "Test"):
        for user in ("user01_led", "user02_lab"):
            folder = place / f"ibmGesture{split}" / f"ibmGesture{split}" / user
            folder.mkdir(parents=True)
            (folder / "3.npy").write_bytes(npy([[1, 2, 1, 0], [127, 0, 0, 7]]))
    found = rk.load_events("dvs-gesture")
    assert found.train.labels.tolist() == [3, 3]
    assert found.test.t.tolist() == [0, 7000, 0, 7000]
    assert found.class_names[3] == "right arm clockwise"
    (folder / "11.npy").write_bytes(npy([[1, 2, 1, 0]]))
    with pytest.raises(UserError, match="there is no gesture 11"):
        list(dvs._cut_gestures(place / "ibmGestureTest"))
    with pytest.raises(UserError, match="holds no gestures"):
        list(dvs._cut_gestures(place / "nowhere"))


def test_cifar10_dvs(place, monkeypatch):
    monkeypatch.setattr(dvs, "TRAIN_PER_OBJECT", 10)
    monkeypatch.setattr(dvs, "read_aedat", lambda path: ([int(path.stem.split("_")[-1])], [1], [2], [1]))
    for name in dvs.OBJECTS:
        folder = place / "CIFAR10DVS" / name / name
        folder.mkdir(parents=True)
        for number in range(12):
            (folder / f"cifar10_{name}_{number}.aedat4").touch()
    found = rk.load_events("cifar10-dvs")
    assert found.train.labels.tolist() == np.repeat(np.arange(10), 10).tolist()
    assert found.test.t.tolist() == [10, 11] * 10
    assert found.train.t.tolist() == [*range(10)] * 10
    (folder / "cifar10_truck_11.aedat4").unlink()
    (folder / "cifar10_truck_10.aedat4").unlink()
    with pytest.raises(UserError, match="has 10 recordings of truck"):
        list(dvs._objects(place / "CIFAR10DVS", "test"))


def test_folder_with_the_published_files_counts_as_shd(tmp_path, monkeypatch):
    """Results on a user's own copy of SHD are results on SHD; results on anything else are not."""
    import dataclasses
    import gzip

    from reprokit import load_recordings
    from reprokit.data import catalog
    from reprokit.data.manifest import digest_file
    from reprokit.embedded.spoken_toy import spoken_toy
    from reprokit.readers.shd import write_shd

    toy = spoken_toy()
    for split, part in (("train", toy.train), ("test", toy.test)):
        write_shd(tmp_path / f"shd_{split}.h5", part)
        plain = tmp_path / f"shd_{split}.h5"
        (tmp_path / f"shd_{split}.h5.gz").write_bytes(gzip.compress(plain.read_bytes(), 1))
        plain.unlink()
    assert load_recordings(tmp_path).name == tmp_path.name
    real = catalog.find_dataset("shd")
    files = tuple(dataclasses.replace(f, md5=digest_file(tmp_path / f.name).md5) for f in real.files)
    monkeypatch.setattr(catalog, "find_dataset", lambda _: dataclasses.replace(real, files=files))
    assert load_recordings(tmp_path).name == "shd"
