"""Every binding of the compiled module refuses arrays and numbers that do not fit, before it touches memory."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

# cpp/tests/sanitize.sh names its own build of the module
_kernel = pytest.importorskip(
    os.environ.get("DALTON_KERNEL", "dalton._kernel"), reason="the core is not built"
)
STEPS, BATCH, TYPES = 3, 2, (np.float32, np.float64)
types = pytest.mark.parametrize("dtype", TYPES)
WRITTEN = {
    "encode": {"state", "spikes"}, "unpack": {"values"}, "forward": {"v", "c", "potentials", "emitted"},
    "fire": {"v", "c", "potentials", "emitted"}, "currents": {"result", "switches"}, "errors": {"z", "transferred"},
    "weight_gradient": {"result"}, "adjoint": {"result"}, "fold": {"rows"}, "unfold": {"weight"},
    "panels": {"result"}, "pack": {"bits"},
}  # fmt: skip


def core(dtype: type) -> Any:
    return (_kernel.CoreDouble if dtype == np.float64 else _kernel.CoreFloat)(_kernel.isa())


def words(units: int) -> int:
    return -(-units // 64) + 1


def calls(dtype: type, pool: int = 1) -> dict[str, tuple[Callable[..., Any], dict[str, Any]]]:
    """Return a right call of every binding: a convolution 3 x 3 of padded channels, 6 x 5 to 4 x 3, 5 of them real."""
    made, lanes = core(dtype), core(dtype).lanes
    pad = 64 // np.dtype(dtype).itemsize
    extent, images = _kernel.Extent(STEPS, BATCH, 2), (STEPS, BATCH)
    geometry = _kernel.Geometry(6, 5, pad, 3, 3, 1, 4, 3, pad, 5, pool)
    neuron = (_kernel.NeuronDouble if dtype == np.float64 else _kernel.NeuronFloat)(0.4, 1.0, 5.0, True)
    maps, fold = _kernel.Maps(6, 5, 2, 4), _kernel.Fold(5, 2, 3, 3, 1, 1, pad, pad)
    height, width = 4 // pool, 3 // pool
    units, below = height * width * pad, 6 * 5 * pad
    rng = np.random.default_rng(0)

    def values(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    def bits(size: int) -> Any:
        return rng.integers(0, 2**62, (*images, words(size)))

    switches = rng.integers(0, 4, (*images, height, width, pad)).astype(np.uint8) if pool > 1 else None
    spikes, weight, u = bits(below), values(3, 3, pad, pad), values(*images, height, width, pad)
    z, state = u.copy(), values(BATCH, height, width, pad)
    panels = values(-(-pad // lanes), 9, 5, lanes)
    layer = {"geometry": geometry, "extent": extent, "spikes": spikes, "weight": weight, "scale": 1.0}
    fires = {
        "keep": bits(units), "v": state, "c": state.copy(), "potentials": u, "emitted": bits(units),
    }  # fmt: skip
    back = {"errors": z, "switches": switches, "result": values(3, 3, pad, pad)}
    found: dict[str, dict[str, Any]] = {
        "encode": {
            "maps": maps, "extent": extent, "x": values(BATCH, 2, 6, 5), "held": True, "gain": 1.0, "bias": 0.0,
            "state": values(BATCH, 2, 6, 5), "spikes": bits(6 * 5 * 4),
        },
        "unpack": {
            "maps": maps, "extent": extent, "bits": bits(6 * 5 * 4), "value": 1.0, "values": values(*images, 2, 6, 5),
        },
        "pack": {
            "maps": maps, "extent": extent, "bytes": np.ones((*images, 2, 6, 5), np.uint8), "bits": bits(6 * 5 * 4),
        },
        "forward": {**layer, "neuron": neuron, **fires},
        "fire": {"units": units, "neuron": neuron, "extent": extent, **fires},
        "currents": {**layer, "result": u, "switches": switches},
        "errors": {
            "units": units, "neuron": neuron, "extent": extent, "potentials": u, "z": z, "keep": bits(units),
            "scale": 0.5, "transferred": values(*u.shape), "rectify": True, "transfer_scale": 2.0,
        },
        "weight_gradient": {"geometry": geometry, "extent": extent, "spikes": spikes, **back},
        "adjoint": {
            "geometry": geometry, "extent": extent, "vectors": 1, "weight": panels, **back,
            "result": values(*images, 6, 5, pad),
        },
        "fold": {"fold": fold, "weight": values(5, 2, 3, 3), "rows": weight},
        "unfold": {"fold": fold, "rows": weight, "weight": values(5, 2, 3, 3)},
        "panels": {"geometry": geometry, "vectors": 1, "rows": weight, "result": panels},
    }  # fmt: skip
    if pool > 1:
        del found["forward"]
    return {
        name: (_kernel.pack if name == "pack" else getattr(made, name), given)
        for name, given in found.items()
    }


def wrong(array: Any, written: bool) -> Iterator[tuple[str, Any]]:
    """Yield arrays of another type, shape, order or place than `array`, most of them of the same size."""
    for other in (np.float16, np.float32, np.float64, np.uint64, np.uint8):
        if array.dtype != other:
            yield f"type {other.__name__}", np.ones_like(array, dtype=other)
    if array.dtype.itemsize > 1:
        yield "byte order", array.astype(array.dtype.newbyteorder())
    for axis in range(array.ndim):
        yield f"axis {axis} longer", np.repeat(array, 2, axis)
        yield f"axis {axis} empty", np.ascontiguousarray(np.take(array, [], axis))
        if array.shape[axis] > 1:
            yield f"axis {axis} shorter", np.ascontiguousarray(np.delete(array, 0, axis))
            spread = np.repeat(array, 2, axis)
            yield f"axis {axis} strided", spread[(slice(None),) * axis + (slice(None, None, 2),)]
            yield f"axis {axis} backwards", np.flip(array, axis)
            yield f"axis {axis} broadcast", np.broadcast_to(np.take(array, [0], axis), array.shape)
    if array.shape[0] != array.shape[1]:
        yield "axes swapped", np.ascontiguousarray(array.swapaxes(0, 1))
    yield "order", np.asfortranarray(array)
    yield "nothing", np.empty(0, array.dtype)
    raw = np.zeros(array.nbytes + 1, np.uint8)
    unaligned = raw[1:].view(array.dtype).reshape(array.shape)
    if array.dtype.itemsize > 1:
        yield "not aligned", unaligned
    if written:
        fixed = array.copy()
        fixed.flags.writeable = False
        yield "read-only", fixed
    yield "a list", array.tolist()


def assert_refused(use: Callable[..., Any], given: dict[str, Any], what: str) -> None:
    before = {key: value.copy() for key, value in given.items() if isinstance(value, np.ndarray)}
    try:
        use(**given)
    except (TypeError, ValueError):
        pass
    else:
        pytest.fail(f"accepted {what}")
    for key, value in before.items():
        np.testing.assert_array_equal(given[key], value, err_msg=f"{what}: {key} was written")


# where the first axis is not a time-step: any shape of the right size is a weight
SIZED = {("fold", "rows"), ("unfold", "rows"), ("adjoint", "weight"), ("panels", "result")}


POOLED = [(name, 2) for name in ("currents", "weight_gradient", "adjoint")]


@types
@pytest.mark.parametrize(("name", "pool"), [*((name, 1) for name in WRITTEN), *POOLED])
def test_wrong_arrays_are_refused(dtype, name, pool):
    use, given = calls(dtype, pool)[name]
    use(**calls(dtype, pool)[name][1])
    arrays = [key for key, value in given.items() if isinstance(value, np.ndarray)]
    assert arrays
    for key in arrays:
        for what, array in wrong(given[key], key in WRITTEN[name]):
            if what == "axes swapped" and (name, key) in SIZED:
                continue
            if what.startswith("axis") and isinstance(array, np.ndarray) and array.shape == given[key].shape:
                assert not array.flags.c_contiguous
            assert_refused(use, {**given, key: array}, f"{name}({key}: {what})")


@types
def test_optional_arrays_belong_together(dtype):
    for name in ("forward", "fire"):
        use, given = calls(dtype)[name]
        for key in ("v", "c"):
            assert_refused(use, {**given, key: None}, f"{name} without {key}")
        use(**{**given, "v": None, "c": None, "keep": None})
    for pool in (1, 2):
        for name in ("currents", "weight_gradient", "adjoint"):
            use, given = calls(dtype, pool)[name]
            other = np.zeros((STEPS, BATCH, 4, 3, 16), np.uint8) if pool == 1 else None
            assert_refused(use, {**given, "switches": other}, f"{name} with other switches")


@types
def test_wrong_numbers_are_refused(dtype):
    for name, key, values in (
        ("fire", "units", (0, -16, 3, 2**62)), ("errors", "units", (0, -16, 3, 2**62)),
        ("adjoint", "vectors", (0, -1, 2, 5, 2**62)), ("panels", "vectors", (0, -1, 2, 5, 2**62)),
    ):  # fmt: skip
        use, given = calls(dtype)[name]
        for value in values:
            if value == 2 and core(dtype).lanes * 2 <= 64 // np.dtype(dtype).itemsize:
                continue  # a panel of two vectors exists there
            assert_refused(use, {**given, key: value}, f"{name}({key}={value})")
    use, given = calls(dtype)["encode"]
    assert_refused(use, {**given, "held": False}, "an image as frames")
    use, given = calls(dtype, 2)["currents"]
    assert_refused(
        calls(dtype)["forward"][0], {**calls(dtype)["forward"][1], "geometry": given["geometry"]}, "pool"
    )


SIZES = {
    "Geometry": (6, 5, 16, 3, 3, 1, 4, 3, 16, 5, 1), "Fold": (5, 2, 3, 3, 1, 1, 16, 16), "Extent": (3, 2, 2),
    "Maps": (6, 5, 2, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_numbers_of_a_layer_fit_one_another(name):
    make, right = getattr(_kernel, name), SIZES[name]
    make(*right)
    for place in range(len(right)):
        for value in (0, -1, -(2**62), 2**62, 2**63, 1.5, "3", None):
            with pytest.raises((TypeError, ValueError)):
                make(*right[:place], value, *right[place + 1 :])
    for other in {
        "Geometry": [
            (6, 5, 16, 7, 3, 1, 1, 3, 16, 5, 1), (6, 5, 16, 3, 3, 1, 5, 3, 16, 5, 1),
            (6, 5, 16, 3, 3, 2, 4, 3, 16, 5, 1),
            (6, 5, 16, 3, 3, 1, 4, 3, 16, 17, 1), (6, 5, 16, 3, 3, 1, 4, 3, 16, 5, 4), 
            (40, 40, 16, 3, 3, 1, 38, 38, 16, 5, 17),
            (2**31, 2**31, 16, 2**31, 2**31, 1, 1, 1, 16, 5, 1), (1, 1, 2**31, 1, 1, 1, 1, 1, 16, 5, 1),
        ],
        "Fold": [(17, 2, 3, 3, 1, 1, 16, 16), (5, 17, 3, 3, 1, 1, 16, 16), (5, 2, 2**31, 2**31, 1, 1, 16, 16)],
        "Extent": [(2**40, 2**40, 1)],
        "Maps": [(6, 5, 5, 4), (2**31, 2**31, 2, 4)],
    }[name]:  # fmt: skip
        with pytest.raises(ValueError, match="dalton kernel: "):
            make(*other)


def test_every_binding_is_in_the_table():
    for kind in (_kernel.CoreFloat, _kernel.CoreDouble):
        methods = {name for name in vars(kind) if not name.startswith("_")} - {"lanes"}
        assert methods | {"pack"} == set(WRITTEN)
    kinds = {"CoreFloat", "CoreDouble", "NeuronFloat", "NeuronDouble", *SIZES}
    assert {name for name in vars(_kernel) if not name.startswith("_")} == kinds | {
        "isa",
        "has_isa",
        "all_isa",
        "pack",
    }
    with pytest.raises(ValueError, match="no instruction set mmx"):
        _kernel.CoreFloat("mmx")
