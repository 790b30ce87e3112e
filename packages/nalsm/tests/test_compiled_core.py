"""The compiled module checks every array against the network before it touches memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nalsm import NeuronParameters, PlasticityParameters, kernel_available
from nalsm.parameters import kernel_options
from nalsm_small import small_network, small_rates

if not kernel_available():
    pytest.skip("the core is not built", allow_module_level=True)
from nalsm import _kernel

NETWORK = small_network()
POST, PRE = NETWORK.post[NETWORK.active], NETWORK.pre[NETWORK.active]
SYNAPSES, NEURONS, SAMPLES, DURATION = len(POST), NETWORK.neurons, 3, 20
CORE = _kernel.Core(NETWORK.excitatory, NETWORK.inhibitory, NETWORK.inputs, POST, PRE, _kernel.isa())
OPTIONS = kernel_options(NeuronParameters(), PlasticityParameters(rule="stdp"), DURATION)
EVENTS = small_rates(SAMPLES).events(DURATION)
REFUSED = (ValueError, TypeError)


def source(**changes: Any) -> Any:
    given = {
        "probability": None, "first": EVENTS.first, "channels": EVENTS.channels, "sample": np.arange(SAMPLES),
        "seed": 1,
    } | changes  # fmt: skip
    return _kernel.Source(**given)


def rates(**changes: Any) -> Any:
    return source(
        **({"probability": small_rates(SAMPLES).probability, "first": None, "channels": None} | changes)
    )


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def sequence(**changes: Any) -> dict[str, Any]:
    given = {
        "options": OPTIONS, "source": source(), "presentations": SAMPLES, "weights": floats(SYNAPSES),
        "trace": floats(NEURONS), "calcium": floats(NEURONS), "carry": True, "record": True,
    } | changes  # fmt: skip
    return CORE.sequence(**given)


def independent(**changes: Any) -> dict[str, Any]:
    given = {
        "options": OPTIONS, "source": source(), "presentations": SAMPLES, "weights": floats(SYNAPSES),
        "trace": floats(SAMPLES, NEURONS), "record": True, "threads": 2, "final_weights": floats(SAMPLES, SYNAPSES),
    } | changes  # fmt: skip
    return CORE.independent(**given)


def stream(**changes: Any) -> Any:
    given = {"core": CORE, "options": OPTIONS, "weights": floats(SYNAPSES), "trace": floats(NEURONS)}
    return _kernel.Stream(**(given | {"calcium": floats(NEURONS)} | changes))


def run(**changes: Any) -> dict[str, Any]:
    shown = source(first=EVENTS.first[:1], sample=np.arange(1))
    return stream().run(**({"source": shown, "duration": DURATION, "record": True} | changes))


def restore(**changes: Any) -> None:
    state = stream().state()
    names = ("potential", "refractory", "residue", "current", "rates")
    stream().restore(**({name: state[name] for name in names} | {"elapsed": 0} | changes))


def test_what_is_right_is_taken() -> None:
    for work in (sequence, independent, run):
        assert work()["raster"].any()
    assert independent(source=rates())["raster"].any()
    restore()


def spoilt(array: np.ndarray) -> dict[str, np.ndarray]:
    """Return an array in every form that the core does not support."""
    return {
        "short": array[..., :-1].copy(),
        "long": np.concatenate([array, array[..., :1]], axis=-1),
        "empty": array[:0],
        "one axis more": array[None],
        "one axis less": array.ravel()[:1].reshape(()),
        "double": array.astype(np.float64),
        "integer": array.astype(np.int64),
        "half": array.astype(np.float16),
        "strided": np.repeat(array, 2, axis=-1)[..., ::2],
        "swapped": array.astype(array.dtype.newbyteorder()),
        "read-only": _read_only(array),
        "text": np.full(array.shape, "a"),
    }


def _read_only(array: np.ndarray) -> np.ndarray:
    found = array.copy()
    found.flags.writeable = False
    return found


WRITTEN = [
    (sequence, "weights", (SYNAPSES,)),
    (sequence, "trace", (NEURONS,)),
    (sequence, "calcium", (NEURONS,)),
    (independent, "trace", (SAMPLES, NEURONS)),
    (independent, "final_weights", (SAMPLES, SYNAPSES)),
]


@pytest.mark.parametrize("form", spoilt(floats(2, 2)))
@pytest.mark.parametrize(("work", "name", "shape"), WRITTEN)
def test_arrays_that_are_written(
    work: Callable[..., Any], name: str, shape: tuple[int, ...], form: str
) -> None:
    with pytest.raises((*REFUSED, BufferError)):
        work(**{name: spoilt(floats(*shape))[form]})


READ = [
    (independent, "weights", (SYNAPSES,)),
    (stream, "weights", (SYNAPSES,)),
    (stream, "trace", (NEURONS,)),
    (stream, "calcium", (NEURONS,)),
    (restore, "potential", (NEURONS,)),
    (restore, "refractory", (NEURONS,)),
    (restore, "residue", (NEURONS,)),
    (restore, "current", (NETWORK.liquid,)),
    (restore, "rates", (4,)),
]


@pytest.mark.parametrize(
    "form", ["short", "long", "empty", "one axis more", "one axis less", "double", "integer", "text"]
)
@pytest.mark.parametrize(("work", "name", "shape"), READ)
def test_arrays_that_are_read(work: Callable[..., Any], name: str, shape: tuple[int, ...], form: str) -> None:
    with pytest.raises(REFUSED):
        work(**{name: spoilt(floats(*shape))[form]})


@pytest.mark.parametrize(
    "changes",
    [
        {"post": POST[:-1]},
        {"pre": PRE[:-1]},
        {"post": POST[None]},
        {"post": POST.astype(np.float32)},
        {"post": np.where(POST == 0, NETWORK.liquid, POST)},
        {"post": np.where(POST == 0, -1, POST)},
        {"pre": np.where(PRE == 0, NEURONS, PRE)},
        {"pre": np.where(PRE == 0, -1, PRE)},
        {"post": POST[::-1].copy()},
        {"excitatory": -1},
        {"inputs": 0},
        {"inhibitory": 2**31 - 1, "excitatory": 2**31 - 1},
        {"inputs": 2**40},
        {"isa": "mmx"},
    ],
)
def test_wirings(changes: dict[str, Any]) -> None:
    given = {
        "excitatory": NETWORK.excitatory, "inhibitory": NETWORK.inhibitory, "inputs": NETWORK.inputs, 
        "post": POST, "pre": PRE, "isa": _kernel.isa(),
    } | changes  # fmt: skip
    with pytest.raises(REFUSED):
        _kernel.Core(**given)


CHANNELS = EVENTS.channels
LATE = EVENTS.first.copy()
LATE[1, -1] = len(CHANNELS) + 1
BACK = EVENTS.first.copy()
BACK[1, 3] = BACK[1, 2] - 1
EARLY = EVENTS.first.copy()
EARLY[0, 0] = -1


@pytest.mark.parametrize("work", [independent, sequence])
@pytest.mark.parametrize(
    "changes",
    [
        {"first": EVENTS.first[:-1]},
        {"first": EVENTS.first[:, :-1]},
        {"first": EVENTS.first.ravel()},
        {"first": LATE},
        {"first": BACK},
        {"first": EARLY},
        {"first": EVENTS.first.astype(np.float64)},
        {"channels": np.full_like(CHANNELS, NETWORK.inputs)},
        {"channels": np.full_like(CHANNELS, -1)},
        {"channels": CHANNELS[:-1]},
        {"channels": CHANNELS[None]},
        {"sample": np.arange(SAMPLES - 1)},
        {"sample": np.arange(SAMPLES)[None]},
    ],
)
def test_events(work: Callable[..., Any], changes: dict[str, Any]) -> None:
    with pytest.raises(REFUSED):
        work(source=source(**changes))


@pytest.mark.parametrize("work", [independent, sequence])
@pytest.mark.parametrize(
    "shape", [(SAMPLES, NETWORK.inputs - 1), (SAMPLES - 1, NETWORK.inputs), (SAMPLES * NETWORK.inputs,)]
)
def test_probabilities(work: Callable[..., Any], shape: tuple[int, ...]) -> None:
    with pytest.raises(REFUSED):
        work(source=rates(probability=np.full(shape, 0.1)))


def test_sources_of_nothing_and_of_both() -> None:
    with pytest.raises(REFUSED):
        source(first=None)
    with pytest.raises(REFUSED):
        source(probability=small_rates(SAMPLES).probability)


@pytest.mark.parametrize("work", [independent, sequence])
@pytest.mark.parametrize("presentations", [-1, 0, SAMPLES - 1, SAMPLES + 1, 2**62])
def test_numbers_of_presentations(work: Callable[..., Any], presentations: int) -> None:
    with pytest.raises(REFUSED):
        work(presentations=presentations)


@pytest.mark.parametrize("work", [independent, sequence, lambda **changes: stream(**changes)])
@pytest.mark.parametrize(
    "changes",
    [
        {"duration": 0},
        {"duration": -1},
        {"duration": 2**31 - 1},
        {"plasticity": 4},
        {"plasticity": -1},
        {"duration": "a"},
    ],
)
def test_options(work: Callable[..., Any], changes: dict[str, Any]) -> None:
    with pytest.raises((*REFUSED, RuntimeError)):
        work(options=OPTIONS | changes)


def test_calcium_and_threads() -> None:
    calcium = kernel_options(NeuronParameters(), PlasticityParameters(rule="calcium"), DURATION)
    with pytest.raises(REFUSED):
        independent(options=calcium)
    with pytest.raises(REFUSED):
        independent(threads=0)


@pytest.mark.parametrize("changes", [{"duration": DURATION + 1}, {"duration": 0}, {"source": source()}])
def test_streams(changes: dict[str, Any]) -> None:
    with pytest.raises(REFUSED):
        run(**changes)
