"""The trained networks inside the package: `denram.pretrained`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import overload

import numpy as np
from reprokit import StoredRun, UserError
from reprokit.config import rebuild
from reprokit.run.pretrained import Packed, Pretrained, find_pretrained, pretrained_names, smallest

from denram.config import TrainConfig
from denram.engines.network import computing_on
from denram.spec import Engine
from denram.training.prediction import Predictor, load
from denram.training.runs import NOT_FIELDS, Run, Which


@overload
def pretrained(name: None = None) -> tuple[str, ...]: ...


@overload
def pretrained(
    name: str, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor: ...


def pretrained(
    name: str | None = None, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor | tuple[str, ...]:
    """Return a trained network of this package, ready to classify; no data set is needed.

        classes = denram.pretrained("spoken-digits").predict(spikes).classes

    Args:
        name: Its name, which is that of its data set; None: return the names of all.
        engine: events (compiled), fft (JAX) or auto.
        device: auto (JAX's choice), cpu, or cuda:K, which the fft engine needs.
        threads: Threads of the event engine.

    Raises:
        UserError: No such name, an engine or device that is not available, or a damaged installation.
    """
    if name is None:
        return pretrained_names("denram")
    return predictor_of(find_pretrained("denram", name), engine=engine, device=device, threads=threads)


def predictor_of(
    found: Pretrained, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor:
    """Rebuild the network of a folder that `packed` filled.

    Raises:
        UserError: It has another version, or the engine or device is not available.
    """
    source = str(found.path / "config.json")
    config = rebuild(TrainConfig, found.config, source, ignore=NOT_FIELDS, channels=found.state["channels"])
    stored = StoredRun(found.path, "denram", found.config, {}, [], None)
    run = Run(stored, config, found.arrays["weights"], found.arrays["delays"].astype(np.float32))
    with computing_on(device):
        network = run.network(engine=engine, threads=threads)
    return Predictor(run, network, device)


def packed(run: str | Path, which: Which = "best") -> Packed:
    """Return what is stored of a run of one layer: weights, delays in whole steps, and the channels of its data.

    Raises:
        UserError: As `denram.load`; the run is not finished, or has several layers.
    """
    loaded = load(run, which)
    opened = loaded.run
    opened.result()
    if opened.config.layers > 1:
        raise UserError(f"{run} has {opened.config.layers} layers; only networks of one layer can be packed.")
    arrays = {"weights": opened.weights, "delays": smallest(opened.delays)}
    config = replace(opened.config, channels=loaded._channels)
    return Packed(opened.stored.config, arrays, {"channels": config.channels})
