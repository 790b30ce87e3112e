"""Golden checks of normalisation, whitening and the learning-rate schedule, for ``test_golden.py``.

Each function takes the arrays of one golden file and returns ``{key: (ours, golden)}`` for every numerical
key but its inputs (``INPUTS``, shell patterns); the caller compares them and fails on keys that none of
these account for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from bdfa.data.preprocess import fit, rgb_to_yuv
from bdfa.training.schedule import Schedule

Arrays = Mapping[str, np.ndarray]
Pairs = dict[str, tuple[np.ndarray, np.ndarray]]
INPUTS = {
    "data_normalize": ("train", "test"),
    "data_whiten": ("train", "test"),
    "lr_schedule": ("err_train", "err_train2", "lr0", "*.epoch", "*.epoch_step"),
}


def check_normalize(golden: Arrays) -> Pairs:
    """File ``data_normalize``: the four normalisations and the colour conversion."""
    train, test = torch.from_numpy(golden["train"]), torch.from_numpy(golden["test"])
    pairs: Pairs = {}
    for mode in ("simple", "channel", "image", "scale"):
        fitted = fit(train, mode)
        low, high = ("min", "max") if mode == "scale" else ("mean", "std")
        ours = {
            "train": fitted.apply(train),
            "test": fitted.apply(test),
            low: fitted.shift,
            high: fitted.scale,
        }
        pairs |= {f"{mode}.{key}": (_like(value, golden[f"{mode}.{key}"]), golden[f"{mode}.{key}"])
                  for key, value in ours.items()}  # fmt: skip
    return pairs | {"yuv.train": (rgb_to_yuv(train).numpy(), golden["yuv.train"])}


def check_whiten(golden: Arrays) -> Pairs:
    """File ``data_whiten``: ZCA exactly, PCA up to the sign of each eigenvector."""
    train, test = torch.from_numpy(golden["train"]), torch.from_numpy(golden["test"])
    pairs: Pairs = {}
    for mode in ("zca", "pca"):
        fitted = fit(train, mode)
        ours = {"train": fitted.apply(train), "test": fitted.apply(test), "mean": fitted.shift,
                "P": fitted.projection, "invP": fitted.inverse}  # fmt: skip
        for key, value in ours.items():
            found, wanted = _like(value, golden[f"{mode}.{key}"]), golden[f"{mode}.{key}"]
            if mode == "pca" and key != "mean":
                found, wanted = np.abs(found), np.abs(wanted)
            pairs[f"{mode}.{key}"] = (found, wanted)
    return pairs


def check_schedule(golden: Arrays) -> Pairs:
    """File ``lr_schedule``: the rate of every epoch run and the running mean after it."""
    pairs: Pairs = {}
    for key in (key for key in golden if key.endswith(".lr")):
        name = key.removesuffix(".lr")
        errors = golden["err_train2" if name in ("auto2", "every3_2") else "err_train"]
        step, epochs = int(golden[f"{name}.epoch_step"]), int(golden[f"{name}.epoch"])
        meaning = {0: "auto", -1: "none"}.get(step, step)
        schedule = Schedule(float(golden["lr0"]), epochs, meaning, last_epoch_skipped=True)
        state, rates, means = schedule.begin(), [], []
        for error in errors:
            if state.stopped:
                break
            rates.append(state.rate)
            state = schedule.advance(state, float(error))
            means.append(state.mean)
        pairs[key] = (np.array(rates), golden[key])
        pairs[f"{name}.err_mean"] = (np.array(means), golden[f"{name}.err_mean"])
    return pairs


def _like(value: torch.Tensor | None, golden: np.ndarray) -> np.ndarray:
    assert value is not None
    assert value.numel() == golden.size, f"{tuple(value.shape)} against {golden.shape}"
    return value.numpy().reshape(golden.shape)


CHECKS: dict[str, Callable[[Arrays], Pairs]] = {
    "data_normalize": check_normalize,
    "data_whiten": check_whiten,
    "lr_schedule": check_schedule,
}
