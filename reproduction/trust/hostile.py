"""Files that would run code or leave their folder, given to every reader of every package: none may do either."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError

__all__ = ["hostile"]


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def bombs(folder: Path, marker: Path) -> list[Path]:
    """Write one file of each kind, all of which would make `marker`, alone and as the data of a folder."""
    import h5py
    import torch

    bomb = Bomb(marker)
    objects = np.array([bomb] * 4, dtype=object)
    named = (
        "train_images",
        "train_labels",
        "test_images",
        "test_labels",
        "train_t",
        "frames",
        "labels",
        "post",
    )
    (folder / "a.pkl").write_bytes(pickle.dumps({"data": bomb, "labels": bomb}))
    np.save(folder / "a.npy", objects, allow_pickle=True)
    np.savez(folder / "a.npz", **dict.fromkeys(named, objects))
    torch.save({"model_state_dict": bomb, "weights": bomb}, folder / "a.pt")
    with h5py.File(folder / "a.h5", "w") as file:
        for name in ("spikes/times", "spikes/units", "labels", "data_0"):
            file[name] = np.void(pickle.dumps(bomb))
            file[name].attrs["base_type"] = b"pickle"  # as hickle marks what it has pickled
            file[name].attrs["type"] = np.void(pickle.dumps(bomb))
    reduce = {"py/reduce": [{"py/function": "os.mkdir"}, {"py/tuple": [str(marker)]}]}  # as jsonpickle's
    (folder / "a.json").write_text(json.dumps({"package": "any", "config": reduce, "nested": "[" * 9}))
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "a.yaml").write_text(f"!!python/object/apply:os.mkdir ['{marker}']\n")
    leave = f"../{marker.name}"
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr(f"{leave}/1.png", b"x")
        archive.writestr("train/0/../../../1.bin", b"x")
        archive.write(folder / "a.npy", "train/0/a.npy")
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(f"{leave}/1.png")
        archive.addfile(info, io.BytesIO())
    folders = []
    for name, files in {  # the names that a reader of folders looks for
        "cifar": ("data_batch_1", "test_batch", "train", "test", "batches.meta"),
        "storage": tuple(f"{part}{kind}Storage.npy" for part in ("Train", "Test") for kind in ("Pattern", "Label")),
        "run": ("config.json", "summary.json", "weights.npy", "network.npz"),
        "shd": ("shd_train.h5", "shd_test.h5"),
        "recordings": ("train/0/a.npy", "train/1/a.npz", "test/0/a.npy"),
    }.items():  # fmt: skip
        for file in files:
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            source = path.suffix if path.suffix in (".npy", ".npz", ".h5", ".json") else ".pkl"
            path.write_bytes((folder / f"a{source}").read_bytes())
        folders.append(folder / name)
    return [*sorted(path for path in folder.iterdir() if path.is_file()), *folders]


def readers() -> dict[str, Callable[[Path], Any]]:
    """Everything that takes a path of data, weights, a network or a run, by the package that reads it."""
    import bdfa
    import dalton
    import denram
    import nalsm
    import reprokit
    import sbs
    from bdfa.data.own import read_own
    from dalton.data.loading import load
    from dalton.formats.dumps import read_dump
    from dalton.formats.original import read_original
    from denram.data.binning import Binning
    from denram.data.loading import load_data
    from nalsm.data.loading import load_dataset
    from nalsm.data.recordings import load_event_arrays
    from nalsm.model.network import LiquidNetwork
    from reprokit import config as configuration
    from reprokit.data.archive import extract
    from reprokit.run.checkpoint import read_checkpoint
    from sbs.data.loading import load_dataset as load_images_of_sbs
    from sbs.formats.original_config import read_original as read_original_of_sbs
    from sbs.formats.translate import read_config as read_config_of_sbs

    del bdfa, dalton, denram, nalsm, sbs
    found: dict[str, Callable[[Path], Any]] = {
        "reprokit.load_images": reprokit.load_images,
        "reprokit.load_events": reprokit.load_events,
        "reprokit.load_recordings": reprokit.load_recordings,
        "reprokit, configuration files": configuration.read_values,
        "reprokit, checkpoints": read_checkpoint,
        "reprokit, archives": lambda path: extract(path, path.parent / "out" / path.name),
        "bdfa, data": read_own,
        "dalton, data": lambda path: load(path, cache_dir=path.parent / "out"),
        "dalton, dumps": read_dump,
        "dalton, the original's checkpoints": read_original,
        "denram, data": lambda path: load_data(path, Binning()),
        "nalsm, data": lambda path: load_dataset(str(path)),
        "nalsm, event arrays": load_event_arrays,
        "nalsm, networks": LiquidNetwork.load,
        "sbs, data": lambda path: load_images_of_sbs(str(path)),
        "sbs, the original's configurations": read_original_of_sbs,
        "sbs, configurations": lambda path: read_config_of_sbs(str(path)),
    }
    for package in ("sbs", "dalton", "bdfa", "nalsm", "denram"):
        found[f"{package}, runs"] = lambda path, package=package: reprokit.read_run(path, package=package)
    return found


def hostile(place: Path) -> dict[str, Any]:
    """Give every reader every file.

    Returns:
        Readers, files, pairs that were refused in a sentence, pairs that ran code or wrote outside, and those that
        ended in anything else than an answer or a sentence.
    """
    marker = place / "marker"
    inside = place / "inside"
    (inside / "out").mkdir(parents=True)
    files, calls = bombs(inside, marker), readers()
    refused, executed, wrong = 0, [], []
    for name, read in calls.items():
        for file in files:
            try:
                read(file)
            except UserError:
                refused += 1
            except Exception as error:
                wrong.append(f"{name}, {file.name}: {type(error).__name__}: {error}"[:200])
            if marker.exists():
                marker.rmdir()
                executed.append(f"{name}, {file.name}: ran or wrote outside")
    return {
        "readers": len(calls),
        "files": len(files),
        "refused": refused,
        "executed": len(executed),
        "wrong": len(wrong),
        "which": [*executed, *wrong],
    }
