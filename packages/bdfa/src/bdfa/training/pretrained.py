"""The trained networks inside the package: `bdfa.pretrained`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

import torch
from reprokit import UserError
from reprokit.config import device_name, rebuild
from reprokit.run.pretrained import Packed, Pretrained, find_pretrained, pretrained_names

from bdfa.config import TrainConfig
from bdfa.data.loading import Pipeline
from bdfa.data.preprocess import Preprocessing
from bdfa.engines.engine import load_model_arrays, make_engine
from bdfa.training.prediction import Predictor, load
from bdfa.training.runs import open_run

_FITTED = ("shift", "scale", "projection", "inverse")


@overload
def pretrained(name: None = None) -> tuple[str, ...]: ...


@overload
def pretrained(
    name: str, *, engine: Literal["auto", "module", "fast"] = "auto", device: str = "auto"
) -> Predictor: ...


def pretrained(
    name: str | None = None, *, engine: Literal["auto", "module", "fast"] = "auto", device: str = "auto"
) -> Predictor | tuple[str, ...]:
    """Return a trained network of this package, ready to classify; no data set is needed.

        classes = bdfa.pretrained("mnist").predict(images).classes

    Args:
        name: Its name, which is that of its data set; None: return the names of all.
        engine: fast, module or auto, as in training.
        device: auto, cpu or cuda:K.

    Raises:
        UserError: No such name, no such device, or a damaged installation.
    """
    if name is None:
        return pretrained_names("bdfa")
    return predictor_of(find_pretrained("bdfa", name), engine=engine, device=device)


def predictor_of(
    found: Pretrained, *, engine: Literal["auto", "module", "fast"] = "auto", device: str = "auto"
) -> Predictor:
    """Rebuild the network of a folder that `packed` filled.

    Raises:
        UserError: It has another network or version, or the device is not available.
    """
    source = str(found.path / "config.json")
    config = replace(
        rebuild(TrainConfig, {"revision": 1, **found.config}, source), engine=engine, device=device
    )
    place = torch.device(device_name(device, torch.cuda.device_count()))
    channel, height, width = (int(size) for size in found.state["input_shape"])
    names = tuple(found.state["class_names"])
    made = make_engine([config], (channel, height, width), int(found.state["classes"]), place)
    parts = {"model": {}, "input": {}}
    for key, array in found.arrays.items():
        part, _, rest = key.partition("/")
        parts[part][rest] = array
    load_model_arrays(made.models, parts["model"], found.source)
    fitted = {key: torch.from_numpy(array) for key, array in parts["input"].items()}
    preprocessing = Preprocessing(found.state["mode"], **fitted)
    pipeline = Pipeline(config.color, preprocessing.to(device=place, dtype=getattr(torch, config.dtype)))
    return Predictor(config, names, (channel, height, width), made, pipeline, 0)


def packed(run: str | Path, which: Literal["last", "best"] = "last") -> Packed:
    """Return what is stored of a run of one network: weights and feedback, and how images are scaled.

    Raises:
        UserError: As `bdfa.load`; the run is not finished, or trained several networks together.
    """
    opened, loaded = open_run(Path(run)), load(run, which)
    if opened.stored.summary is None:
        raise UserError(f"{run} is not finished; continue it with `bdfa train`.")
    if len(opened.configs) > 1:
        raise UserError(
            f"{run} has {len(opened.configs)} networks trained together; give a run of one network."
        )
    # the names that a checkpoint has: model/0/parameter
    arrays = {
        key: array for key, array in opened.checkpoint(which).arrays.items() if key.startswith("model/")
    }
    preprocessing = loaded._pipeline.preprocessing
    fitted = {key: getattr(preprocessing, key) for key in _FITTED}
    arrays |= {f"input/{key}": value.cpu().numpy() for key, value in fitted.items() if value is not None}
    state = {
        "input_shape": list(loaded.input_shape),
        "class_names": list(loaded.class_names),
        "classes": max(len(loaded.class_names), 2),
        "mode": preprocessing.mode,
    }
    return Packed(opened.stored.config, arrays, state)
