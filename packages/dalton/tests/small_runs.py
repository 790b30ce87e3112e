"""Options of runs that take a fraction of a second, and what tests compare of two runs."""

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from dalton import Architecture, ConvSpec, TrainConfig
from reprokit import Checkpoints

TINY = Architecture((ConvSpec(4, 3, pool=2),), (16, 8), name="tiny")
DROPPED = Architecture((ConvSpec(4, 3), ConvSpec(4, 3, pool=2, dropout=0.2)), (16, 8), name="dropped")
WIDE = Architecture((ConvSpec(6, 3, pool=2),), (64, 32), name="wide")
CLOCK = ("seconds", "peak_memory_mb")


def small(**changes: Any) -> TrainConfig:
    options: dict[str, Any] = {
        "dataset": "digits", "arch": "small_runs:TINY", "epochs": 2, "steps": 8, "train_size": 90, "test_size": 40,
        "batch_size": 20, "threads": 1, "engine": "torch",
    }  # fmt: skip
    return TrainConfig(**(options | changes))


FLAGS = [
    "--dataset", "digits", "--arch", "small_runs:TINY", "--epochs", "1", "--steps", "8", "--train-size", "60",
    "--test_size", "20", "--batch_size", "20", "--threads", "1", "--engine", "torch",
]  # fmt: skip


def arrays(path: Path, folder: str = "checkpoints") -> dict[str, np.ndarray]:
    found = Checkpoints(path / folder).load_latest()
    assert found is not None
    return found.arrays


def records(path: Path) -> list[dict[str, Any]]:
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in CLOCK} for line in lines]


def summary(path: Path) -> dict[str, Any]:
    return {k: v for k, v in json.loads((path / "summary.json").read_text()).items() if k not in CLOCK}


def assert_same(one: Path, other: Path) -> None:
    """Weights, moments, log and summary of two runs are equal to the last bit."""
    for folder in ("checkpoints", "best"):
        left, right = arrays(one, folder), arrays(other, folder)
        assert left.keys() == right.keys()
        for name in left:
            assert left[name].tobytes() == right[name].tobytes(), (folder, name)
    assert records(one) == records(other)
    assert summary(one) == summary(other)


def events(times: list[int], x: int, y: int) -> bytes:
    """N-MNIST's five bytes an event: x, y, polarity with the upper bits of the time, the lower bits."""
    return b"".join(struct.pack(">BBBH", x, y, t >> 16, t & 0xFFFF) for t in times)


def recordings(path: Path, **special: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("Train", "Test"):
            for digit in range(10):
                archive.writestr(f"{split}/{digit}/0000{digit}.bin", events([0, 900, 2500], 3, 4))
        for name, content in special.items():
            archive.writestr(f"Train/{name[-1]}/00099.bin", content)
    return path
