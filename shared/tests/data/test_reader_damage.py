"""No reader accepts malformed files, and no code in a file is run (trust tests R8 and R12)."""

import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import reprokit as rk
from made_files import KINDS, image_tree, written
from reprokit import UserError
from reprokit.readers.dvs import read_cut_gesture

CUTS = 100


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


@pytest.mark.parametrize("load", [rk.load_images, rk.load_recordings, rk.load_events])
def test_unknown_source_lists_the_known_ones(load):
    with pytest.raises(UserError, match=r"'no/such/thing': neither a .* nor one of .*(digits|shd)"):
        load("no/such/thing")


@pytest.mark.parametrize(
    ("module", "use", "words"),
    [
        (
            "PIL.Image",
            lambda folder: rk.read_image_folder(folder),
            "needs Pillow; install it with: pip install pillow",
        ),
        ("tonic.io", lambda folder: rk.read_aedat(folder / "a.aedat"), "pip install tonic aedat"),
    ],
)
def test_missing_extras_say_what_to_install(tmp_path, monkeypatch, module, use, words):
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT4.0\r\n" + bytes(100))
    pixels = np.zeros((4, 4), np.uint8)
    image_tree(tmp_path, train__a__1_dot_png=pixels, test__a__1_dot_png=pixels)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=words):
        use(tmp_path)


def test_members_that_are_no_arrays_are_refused(tmp_path):
    """NumPy returns such a member as bytes, and a zip under the name of an .npy file as several files."""
    images, labels = np.zeros((2, 4, 4), np.uint8), np.array([0, 1])
    good = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    np.savez(tmp_path / "0.npz", **good)
    with zipfile.ZipFile(tmp_path / "0.npz", "a") as archive:
        archive.writestr("class_names.npy", b"cat dog")
    with pytest.raises(UserError, match=r"0\.npz is damaged .*an array was expected, found bytes"):
        rk.read_npz(tmp_path / "0.npz")
    shutil.move(tmp_path / "0.npz", tmp_path / "0.npy")
    with pytest.raises(UserError, match=r"0\.npy is damaged .*an array was expected, found several files"):
        read_cut_gesture(tmp_path / "0.npy")
