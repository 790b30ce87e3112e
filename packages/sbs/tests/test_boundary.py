"""The border to C++: arrays of wrong shape, dtype, layout or alignment are refused before memory is read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs.engines import kernel
from sbs.engines.geometry import Geometry
from sbs.engines.kernel import Call

_kernel = pytest.importorskip("sbs._kernel")

SAMPLES, CHANNELS, SPIKES, NEURONS, X, Y = 2, 3, 5, 4, 3, 2
NAMES = (
    *(
        "image",
        "geometry",
        "weights",
        "h_initial",
        "epsilon_t",
        "epsilon_xy",
        "forgetting",
        "one_hot",
        "seed",
    ),
    *("first_position", "uniform", "lower", "spikes", "keep_spikes", "threads", "isa"),
)
ARRAYS = ("image", "weights", "h_initial", "epsilon_t", "epsilon_xy", "uniform", "spikes")


def right() -> dict[str, Any]:
    """Arguments of `_kernel.infer` that fit together: kernel (3, 3) on a 5 x 4 image."""
    draw = np.random.default_rng(0)
    return {
        "image": draw.random((SAMPLES, CHANNELS, 5, 4), np.float32),
        "geometry": [3, 3, 1, 1, 1, 1, 0, 0],
        "weights": draw.random((CHANNELS * 9, NEURONS), np.float32),
        "h_initial": np.full(NEURONS, 1 / NEURONS, np.float32),
        "epsilon_t": np.ones(SPIKES, np.float32),
        "epsilon_xy": np.full((X, Y), 0.1, np.float32),
        "forgetting": 0.0,
        "one_hot": False,
        "seed": 1,
        "first_position": 0,
        "uniform": draw.random((SAMPLES, SPIKES, X, Y), np.float32),
        "lower": False,
        "spikes": draw.integers(0, CHANNELS * 9, (SAMPLES, SPIKES, X, Y), np.int32),
        "keep_spikes": False,
        "threads": 1,
        "isa": "auto",
    }


def infer(**changes: Any) -> Any:
    values = right() | changes
    return _kernel.infer(*(values[name] for name in NAMES))


def test_what_fits_is_taken() -> None:
    assert infer()[0].shape == (SAMPLES, X, Y, NEURONS)
    assert infer(uniform=None, spikes=None)[0].shape == (SAMPLES, X, Y, NEURONS)
    assert infer(epsilon_xy=np.full((X, Y, 3, 3), 0.1, np.float32))[2]
    assert infer(image=right()["image"][::-1, :, ::-1])[2]


@pytest.mark.parametrize("name", ARRAYS)
def test_wrong_shapes_are_refused(name: str) -> None:
    array = right()[name]
    wrong = [array[None], array.reshape(-1) if array.ndim > 1 else array.reshape(1, -1), array[:0]]
    for axis, length in enumerate(array.shape):
        wrong += [array.take(range(length - 1), axis), np.concatenate([array, array], axis)]
    wrong += [] if array.ndim < 2 else [np.ascontiguousarray(array.swapaxes(-1, -2))]
    for value in wrong:
        with pytest.raises(ValueError, match=r"^sbs kernel: "):
            infer(**{name: value})


@pytest.mark.parametrize("name", ARRAYS)
def test_no_array_is_converted(name: str) -> None:
    array = right()[name]
    for value in (
        array.astype(np.float64),
        array.astype(np.int64),
        array.tolist(),
        array.astype(array.dtype.newbyteorder()),
    ):
        with pytest.raises(TypeError, match="incompatible function arguments"):
            infer(**{name: value})
    if name != "image":  # of any strides
        with pytest.raises(TypeError, match="incompatible function arguments"):
            infer(**{name: np.repeat(array, 2, -1)[..., ::2]})


@pytest.mark.parametrize("name", ARRAYS)
def test_memory_off_its_boundary_is_refused(name: str) -> None:
    array = right()[name]
    odd = np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)
    assert not odd.flags.aligned
    with pytest.raises(ValueError, match="not aligned"):
        infer(**{name: odd})


def test_strides_that_are_no_whole_entries_are_refused() -> None:
    record = np.zeros((SAMPLES, CHANNELS, 5, 4), np.dtype([("value", np.float32), ("flag", np.uint8)]))
    with pytest.raises(ValueError, match="image is not aligned"):
        infer(image=record["value"])
    with pytest.raises(ValueError, match="image is not aligned"):
        _kernel.patches(record["value"], right()["geometry"], 1)


@pytest.mark.parametrize("place", range(8))
@pytest.mark.parametrize("number", [-1, -(2**63), 2**62, 2**63 - 1])
def test_impossible_geometries_are_refused(place: int, number: int) -> None:
    geometry = right()["geometry"]
    geometry[place] = number
    with pytest.raises(ValueError, match=r"^sbs kernel: "):
        infer(geometry=geometry)
    with pytest.raises(ValueError, match=r"^sbs kernel: "):
        _kernel.patches(right()["image"], geometry, 1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uniform": np.ones((SAMPLES, SPIKES, X, Y), np.float32), "spikes": None}, "outside 0 <= u < 1"),
        ({"uniform": np.full((SAMPLES, SPIKES, X, Y), -0.1, np.float32)}, "outside 0 <= u < 1"),
        ({"spikes": np.full((SAMPLES, SPIKES, X, Y), CHANNELS * 9, np.int32)}, "does not exist"),
        ({"one_hot": True}, "as many neurons as channels"),
        ({"threads": 0}, "threads must be positive"),
        ({"isa": "mmx"}, "no mmx"),
    ],
)
def test_values_that_lead_out_of_memory_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        infer(**changes)


@pytest.mark.parametrize("engine", ["kernel", "reference"])
@pytest.mark.parametrize("name", [*ARRAYS, "values"])
def test_both_engines_refuse_in_one_sentence(engine: Any, name: str) -> None:
    values = {key: torch.from_numpy(value) for key, value in right().items() if isinstance(value, np.ndarray)}
    call = Call(
        Geometry((3, 3)),
        values["epsilon_t"],
        1.0,
        values["h_initial"],
        engine=engine,
        uniform=values["uniform"],
    )
    call = replace(call, spikes=values["spikes"]) if name == "spikes" else call

    def run(**changes: torch.Tensor) -> None:
        now = values | changes
        fields = {key: now[key] for key in ("epsilon_t", "h_initial", "uniform")}
        spikes = now["spikes"] if name == "spikes" else None
        kernel.infer(now["image"], now["weights"], now["epsilon_xy"], replace(call, **fields, spikes=spikes))

    run()
    if name == "values":
        with pytest.raises(UserError, match="outside 0 <= u < 1"):
            run(uniform=torch.ones_like(values["uniform"]))
        return
    wrong = values[name]
    for value in (wrong[None], wrong[:0], torch.cat([wrong, wrong], -1)):
        with pytest.raises(UserError, match=r"must be|too small"):
            run(**{name: value})
