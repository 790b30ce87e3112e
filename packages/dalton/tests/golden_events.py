"""Our values for every array of `unit_events.npz`, recorded with the transforms the original uses.

`check(arrays)` returns {key: (our value, absolute tolerance)} and the keys that are inputs; everything is exact.
"""

from __future__ import annotations

import numpy as np
from dalton.data.frames import collate, denoise, downsample, to_frames

Checked = tuple[dict[str, tuple[object, float]], set[str]]


def check(arrays: dict[str, np.ndarray]) -> Checked:
    checks: dict[str, tuple[object, float]] = {}
    inputs: set[str] = set()
    frames: dict[str, np.ndarray] = {}
    for name in ("gesture", "gesture_short", "nmnist"):
        inputs |= {f"{name}_{column}" for column in ("x", "y", "p", "t", "sensor")}
        events = tuple(arrays[f"{name}_{column}"] for column in "txyp")
        kept = denoise(events)  # pyright: ignore[reportArgumentType]
        t, x, y, p = (column[kept] for column in events)
        checks |= _columns(f"{name}_denoised", t, x, y, p)
        side = int(arrays[f"{name}_sensor"][0])
        if side == 128:
            (x, y), side = downsample(x, y, 0.25), side // 4
            checks |= _columns(f"{name}_ds", t, x, y, p)
        frames[name] = to_frames((t, x, y, p), (2, side, side)).dense()
        assert frames[name].dtype == arrays[f"{name}_frames"].dtype
        checks[f"{name}_frames"] = (frames[name], 0.0)
    batch = collate([frames["gesture"], frames["gesture_short"]])
    assert str(arrays["collated_dtype"]) == f"torch.{batch.dtype}"
    inputs.add("collated_dtype")
    checks["collated_shape"] = (batch.shape, 0.0)
    checks["collated_sum_per_sample"] = (batch.sum(axis=(1, 2, 3, 4)), 0.0)
    checks["collated_tail_sum_sample1"] = (batch[1, len(frames["gesture_short"]) :].sum(), 0.0)
    return checks, inputs


def _columns(prefix: str, *columns: np.ndarray) -> dict[str, tuple[object, float]]:
    return {f"{prefix}_{key}": (column, 0.0) for key, column in zip("txyp", columns, strict=True)}
