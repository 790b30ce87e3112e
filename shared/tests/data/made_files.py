"""Small valid files of every kind that the readers support, for tests to read and to damage."""

import gzip
import io
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import reprokit as rk
from PIL import Image
from reprokit.readers.nmnist import encode_nmnist
from scipy.io import savemat

RANDOM = np.random.default_rng(0)


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
    """A version 2 file of the DVS128, whose addresses have 15 bits."""
    t = np.sort(RANDOM.integers(0, 9000, count))
    address = RANDOM.integers(0, 1 << 15, count)
    return b"#!AER-DAT2.0\r\n# a comment\r\n" + np.stack([address, t], axis=1).astype(">u4").tobytes()


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


def image_tree(folder: Path, **files: np.ndarray | bytes) -> Path:
    for name, pixels in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pixels if isinstance(pixels, bytes) else png(pixels))
    return folder


def tar_of(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"inside/{name}.bin")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
