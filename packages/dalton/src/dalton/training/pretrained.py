"""The trained networks inside the package: `dalton.pretrained`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, overload

from reprokit import UserError
from reprokit.config import rebuild
from reprokit.run.pretrained import Packed, Pretrained, find_pretrained, pretrained_names

from dalton.config import TrainConfig
from dalton.model.build import PREFIX, build_network, choose_device, load_weights, weights_of
from dalton.names import EngineName
from dalton.threads import set_threads
from dalton.training.evaluation import load_run
from dalton.training.prediction import Predictor

_FIXED = "readout_"  # readouts of the three-factor rule: never trained, so the seed recreates them


@overload
def pretrained(name: None = None) -> tuple[str, ...]: ...


@overload
def pretrained(
    name: str, *, engine: EngineName | None = None, device: str = "auto", threads: int | None = None
) -> Predictor: ...


def pretrained(
    name: str | None = None,
    *,
    engine: EngineName | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Predictor | tuple[str, ...]:
    """Return a trained network of this package, ready to classify; no data set is needed.

        classes = dalton.pretrained("mnist").predict(images).classes

    Args:
        name: Its name, which is that of its data set; None: return the names of all.
        engine: native (compiled), torch or auto; None: the run's own.
        device: auto, cpu, cuda:K or a GPU's number.
        threads: CPU threads; None: torch's own choice.

    Raises:
        UserError: No such name, no such device, or a damaged installation.
    """
    if name is None:
        return pretrained_names("dalton")
    return predictor_of(find_pretrained("dalton", name), engine=engine, device=device, threads=threads)


def predictor_of(
    found: Pretrained,
    *,
    engine: EngineName | None = None,
    device: str = "auto",
    threads: int | None = None,
) -> Predictor:
    """Rebuild the network of a folder that `packed` filled.

    Raises:
        UserError: It has another network or version, or the device is not available.
    """
    config = rebuild(TrainConfig, found.config, str(found.path / "config.json"))
    config = replace(config, device=device, threads=threads, engine=engine or config.engine)
    place = choose_device(device)
    set_threads(threads)
    channel, height, width = (int(size) for size in found.state["input_shape"])
    names = tuple(found.state["class_names"])
    net = build_network(config, (channel, height, width), int(found.state["classes"]))
    load_weights(net, found.arrays, found.source, optional=(_FIXED,))
    return Predictor(net.to(place), config, names, bool(found.state["events"]), int(found.state["steps"]))


def packed(run: str | Path, which: Literal["best", "last"] = "best") -> Packed:
    """Return what is stored of a run: trained weights, the shape of its input and how long samples are shown.

    Raises:
        UserError: As `dalton.load`; the run is not finished, or started from weights in a file.
    """
    loaded = load_run(run, which, device="cpu")
    if loaded.run.stored.summary is None:
        raise UserError(f"{run} is not finished; continue it with `dalton train`.")
    if loaded.config.init_weights is not None:
        raise UserError(
            f"{run} started from weights in a file, which would be lost; give a run without them."
        )
    weights = weights_of(loaded.net)
    arrays = {key: array for key, array in weights.items() if not key.startswith(PREFIX + _FIXED)}
    state = {
        "input_shape": list(loaded.net.input_shape),
        "class_names": list(loaded.data.class_names),
        "classes": loaded.net.classes,
        "events": loaded.data.events,
        "steps": loaded.data.test.steps,
        "epoch": loaded.epoch,
    }
    return Packed(loaded.run.stored.config, arrays, state)
