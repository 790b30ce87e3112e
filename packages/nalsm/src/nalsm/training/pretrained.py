"""The trained liquids inside the package: `nalsm.pretrained`."""

from __future__ import annotations

from pathlib import Path
from typing import overload

import numpy as np
from reprokit import StoredRun, UserError
from reprokit.config import rebuild
from reprokit.run.pretrained import Packed, Pretrained, find_pretrained, pretrained_names, smallest

from nalsm.checks import whole
from nalsm.config import Config
from nalsm.data.loading import RateImages
from nalsm.model.network import LiquidNetwork
from nalsm.model.readout import LinearReadout
from nalsm.names import SPLITS, Engine
from nalsm.training.prediction import Predictor, load
from nalsm.training.runs import FinishedRun, stored_settings


@overload
def pretrained(name: None = None) -> tuple[str, ...]: ...


@overload
def pretrained(
    name: str, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor: ...


def pretrained(
    name: str | None = None, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor | tuple[str, ...]:
    """Return a trained liquid and readout of this package, ready to classify; no data set is needed.

        classes = nalsm.pretrained("mnist").predict(images).classes

    Args:
        name: Its name, which is that of its data set; None: return the names of all.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: Samples simulated at once; results do not depend on it.

    Raises:
        UserError: No such name, no such device, or a damaged installation.
    """
    if name is None:
        return pretrained_names("nalsm")
    return predictor_of(find_pretrained("nalsm", name), engine=engine, device=device, threads=threads)


def predictor_of(
    found: Pretrained, *, engine: Engine = "auto", device: str = "auto", threads: int = 1
) -> Predictor:
    """Rebuild the liquid of a folder that `packed` filled; of its images only the scale is stored.

    Raises:
        UserError: It has another version, or the device is not available.
    """
    config = rebuild(Config, stored_settings(found.config), str(found.path / "config.json"))
    arrays, state = found.arrays, found.state
    network = LiquidNetwork(
        post=arrays["post"].astype(np.int32),
        pre=arrays["pre"].astype(np.int32),
        sign=arrays["sign"],
        position=arrays["position"].astype(np.int16),
        **state["network"],
    )
    run = FinishedRun(
        StoredRun(found.path, "nalsm", found.config, {}, [], None), config, network, arrays["weights"]
    )
    readout = LinearReadout(arrays["readout_weight"], arrays["readout_bias"], float(state["maximum"]))
    none = np.zeros((0, *state["image_shape"]), np.uint8)
    data = RateImages(
        state["name"],
        int(state["classes"]),
        images=dict.fromkeys(SPLITS, none),
        label=dict.fromkeys(SPLITS, np.zeros(0, np.int64)),
        maximum=dict.fromkeys(SPLITS, float(state["scale"])),
        highest=float(state["highest"]),
        own=bool(state["own"]),
    )
    return Predictor(
        run, data, run.liquid(engine=engine, device=device), readout, whole("threads", threads, 1)
    )


def packed(run: str | Path) -> Packed:
    """Return what is stored of a run on images: wiring, weights, readout and the scale of brightness.

    Raises:
        UserError: As `nalsm.load`; the run is not finished, or is on recordings.
    """
    loaded = load(run)
    opened, data, network = loaded.run, loaded.data, loaded.run.network
    if opened.stored.summary is None:
        raise UserError(f"{run} is not finished; continue it with `nalsm train`.")
    if not isinstance(data, RateImages):
        raise UserError(f"{run} is a run on recordings; only runs on images can be packed.")
    arrays = {
        "post": smallest(network.post),
        "pre": smallest(network.pre),
        "sign": network.sign,
        "position": smallest(network.position),
        "weights": opened.weights,
        "readout_weight": loaded.readout.weight.astype(np.float32, copy=False),
        "readout_bias": loaded.readout.bias.astype(np.float32, copy=False),
    }
    state = {
        "network": {
            name: getattr(network, name) for name in ("excitatory", "inhibitory", "inputs", "metadata")
        },
        "maximum": loaded.readout.maximum,
        "name": data.name,
        "classes": data.classes,
        "image_shape": list(data.images["test"].shape[1:]),
        "scale": data.maximum["test"],
        "highest": data.highest,
        "own": data.own,
    }
    return Packed(opened.stored.config, arrays, state)
