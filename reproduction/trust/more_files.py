"""Small good files of formats that the tests of the readers have no maker for."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Checkpoints, Ledger, read_aedat
from reprokit.claims.claims import load_claims
from reprokit.readers.aedat import read_gesture_labels
from reprokit.readers.nmnist import encode_nmnist, read_nmnist_file
from reprokit.run.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "shared/tests/data"), str(ROOT / "packages/denram/tests")]
from made_files import aedat2, events  # pyright: ignore[reportMissingImports]

CLAIMS = """
[[claim]]
id = "fig4d-noise00"
headline = "SHD without noise"
package = "denram"
command = "make reproduce-fig4d"
metric = "test_acc"
where = { n_in = 256, noise_std = 0.0, profile = "faithful" }
ledger = "fig4d/results.csv"
dataset = "shd"
value = 86.66
spread = 0.76
unit = "%"
factor = 100
seeds = [42, 50, 9]
tolerance = 1.5
source = "Fig. 4d"
source_kind = "code repository"
"""


def other_file(folder: Path, kind: str) -> tuple[Path, Callable[[Path], Any]]:
    """Write one good file of a format in `MORE` and return it with its reader."""
    path = folder / f"file.{kind}"
    return path, MORE[kind](path)


def _aedat2(path: Path) -> Callable[[Path], Any]:
    path.write_bytes(aedat2())
    return read_aedat


def _nmnist(path: Path) -> Callable[[Path], Any]:
    path.write_bytes(encode_nmnist(*events()))
    return read_nmnist_file


def _gestures(path: Path) -> Callable[[Path], Any]:
    rows = [f"{1 + number % 11},{1000 * number},{1000 * number + 900}\n" for number in range(12)]
    path.write_text("class,startTime_usec,endTime_usec\n" + "".join(rows))
    return read_gesture_labels


def _checkpoint(path: Path) -> Callable[[Path], Any]:
    store = Checkpoints(path.parent / "checkpoints")
    store.save(3, {"w": np.arange(40, dtype=np.float32), "n": np.arange(5)}, {"epoch": 3, "log": [1.5, "a"]})
    path.write_bytes(store.newest_first()[0].read_bytes())
    return read_checkpoint


def _ledger(path: Path) -> Callable[[Path], Any]:
    schema = {"run_id": str, "seed": int, "accuracy": float, "config": dict}
    ledger = Ledger(path, schema)
    for seed in range(6):
        ledger.append(
            {"run_id": f"id-{seed}", "seed": seed, "accuracy": seed / 7, "config": {"a": [seed, "x,y"]}}
        )
    return lambda file: Ledger(file, schema).rows()


def _dump(path: Path) -> Callable[[Path], Any]:
    from dalton.formats.dumps import read_dump, write_dump

    outputs = np.linspace(0.0, 1.0, 60, dtype=np.float32).reshape(5, 4, 3)
    write_dump(path.parent, 1, "test", {"dense1": outputs}, np.arange(5) % 3).rename(path)
    return read_dump


def _ecg(end: str) -> Callable[[Path], Callable[[Path], Any]]:
    """One file of a record of three; the others stay as they are."""

    def write(path: Path) -> Callable[[Path], Any]:
        from denram.data.mitdb import read_record
        from ecg_files import made_samples, write_record  # pyright: ignore[reportMissingImports]

        write_record(
            path.parent, "100", made_samples(300), [(20 * beat, 1 + beat % 5) for beat in range(1, 14)]
        )
        part = path.parent / f"100.{end}"
        part.rename(path)
        part.symlink_to(path)
        return lambda file: read_record(file.parent, "100")

    return write


def _claims(path: Path) -> Callable[[Path], Any]:
    path.write_text(CLAIMS)
    return load_claims


# What a file of the format looks like, by the end of its name.
MORE: dict[str, Callable[[Path], Callable[[Path], Any]]] = {
    "aedat2": _aedat2,
    "nmnist.bin": _nmnist,
    "gestures.csv": _gestures,
    "safetensors": _checkpoint,
    "ledger.csv": _ledger,
    "claims.toml": _claims,
    "dump.h5": _dump,
    "ecg.hea": _ecg("hea"),
    "ecg.atr": _ecg("atr"),
}
