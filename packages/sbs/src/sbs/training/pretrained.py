"""The trained networks inside the package: `sbs.pretrained`."""

from pathlib import Path
from typing import Literal, overload

from reprokit import Checkpoint, UserError, read_run
from reprokit.run.pretrained import Packed, Pretrained, find_pretrained, pretrained_names

from sbs.checks import whole
from sbs.config import Engine, from_mapping
from sbs.training.prediction import Predictor, load
from sbs.training.runs import Arrays, Model, load_network, pack, pack_shape, run_on, shape_of


@overload
def pretrained(name: None = None) -> tuple[str, ...]: ...


@overload
def pretrained(
    name: str,
    *,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
) -> Predictor: ...


def pretrained(
    name: str | None = None,
    *,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
) -> Predictor | tuple[str, ...]:
    """Return a trained network of this package, ready to classify; no data set is needed.

        classes = sbs.pretrained("mnist").predict(images).classes

    Args:
        name: Its name, which is that of its data set; None: return the names of all.
        engine: What draws spikes: auto, kernel (the compiled core) or reference (torch).
        device: auto, cpu or cuda:K.
        threads: Threads of the core and of torch; None: the run's number.
        seed: Seed of the spikes; None: the run's.

    Raises:
        UserError: No such name, an impossible number, or a damaged installation.
    """
    if name is None:
        return pretrained_names("sbs")
    found = predictor_of(find_pretrained("sbs", name))
    run_on(found.model.network, engine, device, found.model.config.threads if threads is None else threads)
    return Predictor(found.model, found.seed if seed is None else whole("seed", seed, 0), found.largest)


def predictor_of(found: Pretrained) -> Predictor:
    """Rebuild the network of a folder that `packed` filled.

    Raises:
        UserError: It has another network or version.
    """
    config = from_mapping(found.config, str(found.path / "config.json"))
    weights = Checkpoint(0, found.arrays, found.state)
    shape = shape_of(weights, found.path)
    network = shape.network(config)
    load_network(network, weights, found.path)
    return Predictor(
        Model(network, config, shape, int(found.state["updates"])), config.seed, found.state["largest"]
    )


def packed(run: str | Path, which: Literal["last", "best"] = "last") -> Packed:
    """Return what is stored of a run: weights, the shape of its input and the value that is full intensity.

    Raises:
        UserError: As `sbs.load`; the run is not finished.
    """
    stored, loaded = read_run(run, package="sbs"), load(run, which)
    if stored.summary is None:
        raise UserError(f"{run} is not finished; continue it with `sbs train`")
    arrays: Arrays = {}
    state = {
        "network": pack(loaded.model.network.state_dict(), "network", arrays),
        "shape": pack_shape(loaded.model.shape),
        "largest": loaded.largest,
        "updates": loaded.model.step,
    }
    return Packed(stored.config, arrays, state)
