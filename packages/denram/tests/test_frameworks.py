"""A stacked model in Equinox and in Flax: ten lines train it, a run directory stores it."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from denram.layer.saving import named_arrays, restored
from reprokit import RunDirectory, UserError

STEPS = 12
LABELS = np.arange(16) % 2


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Two classes that differ in which of two channels fires first, (time, sample, channel)."""
    spikes = np.zeros((20, 16, 4), np.float32)
    for sample, label in enumerate(LABELS):
        early = np.random.default_rng(sample).integers(0, 4)
        spikes[early, sample, label : label + 2] = 1
        spikes[early + 6, sample, 1 - label : 3 - label] = 1
    return spikes


def nll(scores: jax.Array) -> jax.Array:
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(scores), LABELS[:, None], axis=1))


@pytest.mark.slow
def test_equinox_trains_and_is_kept(x: np.ndarray, tmp_path: Path) -> None:
    eqx = pytest.importorskip("equinox")
    from denram.equinox import Delays, Readout, Stack, Threshold

    keys = jax.random.split(jax.random.key(0), 3)
    model = Stack(
        Delays(4, 8, n_delays=2, max_delay=8, scale=4.0, key=keys[0]),
        Threshold(recurrent=8, key=keys[1]),
        Delays(8, 2, n_delays=2, max_delay=8, scale=2.0, key=keys[2]),
        Readout(),
    )
    optimiser = optax.adam(optax.linear_schedule(0.1, 0.0, STEPS))
    state = optimiser.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model: Stack, state: optax.OptState, sigma: float) -> tuple[Stack, optax.OptState, jax.Array]:
        loss, slope = eqx.filter_value_and_grad(lambda model: nll(model(x, sigma)))(model)
        updates, state = optimiser.update(slope, state)
        return eqx.apply_updates(model, updates), state, loss

    losses, fresh = [], (model, state)
    for count in range(STEPS):
        model, state, loss = step(model, state, jnp.float32(2.0))
        losses.append(float(loss))
        if count == STEPS // 2:
            with RunDirectory(tmp_path / "run", {"model": "stack"}) as run:
                run.checkpoints().save(count, named_arrays((model, state)), {})
    assert losses[-1] < 0.7 * losses[0]
    assert np.any(np.asarray(model.layers[0].delays) % 1 != 0), "delays learn"
    last = model
    with RunDirectory(tmp_path / "run", {"model": "stack"}) as run:
        latest = run.checkpoints().load_latest()
    model, state = restored(fresh, latest.arrays)
    for _ in range(latest.step, STEPS - 1):  # the schedule continues where it was: it counts updates
        model, state, _ = step(model, state, jnp.float32(2.0))
    for name, array in named_arrays(last).items():
        np.testing.assert_array_equal(named_arrays(model)[name], array)
    with pytest.raises(UserError, match=r"weights is missing; needed is float32 \(8, 9\)"):
        restored(model, {})


@pytest.mark.slow
def test_flax_trains_and_is_kept(x: np.ndarray, tmp_path: Path) -> None:
    nnx = pytest.importorskip("flax.nnx")
    from denram.flax import Delays, Readout, Stack, Threshold

    rngs = nnx.Rngs(0)
    model = Stack(
        Delays(4, 8, n_delays=2, max_delay=8, scale=4.0, rngs=rngs),
        Threshold(recurrent=8, rngs=rngs),
        Delays(8, 2, n_delays=2, max_delay=8, scale=2.0, rngs=rngs),
        Readout(),
    )
    optimiser = nnx.Optimizer(model, optax.adam(optax.linear_schedule(0.1, 0.0, STEPS)), wrt=nnx.Param)

    @nnx.jit
    def step(model: Stack, optimiser: nnx.Optimizer, sigma: jax.Array) -> jax.Array:
        loss, slope = nnx.value_and_grad(lambda model: nll(model(x, sigma)))(model)
        optimiser.update(model, slope)
        return loss

    first = np.asarray(model.layers[0].delays[...])
    losses = [float(step(model, optimiser, jnp.float32(2.0))) for _ in range(STEPS)]
    assert losses[-1] < 0.7 * losses[0]
    assert np.any(np.asarray(model.layers[0].delays[...]) != first), "delays learn"
    with RunDirectory(tmp_path / "run", {"model": "stack"}) as run:
        run.checkpoints().save(STEPS, named_arrays((nnx.state(model), nnx.state(optimiser))), {})
        latest = run.checkpoints().load_latest()
    kept = {name: array for name, array in latest.arrays.items()}
    expected = np.asarray(model(x, 0.0))
    empty = jax.tree.map(jnp.zeros_like, (nnx.state(model), nnx.state(optimiser)))
    found, _ = restored(empty, kept)
    nnx.update(model, jax.tree.map(jnp.zeros_like, nnx.state(model)))
    assert not np.array_equal(model(x, 0.0), expected)
    nnx.update(model, found)
    np.testing.assert_array_equal(model(x, 0.0), expected)


@pytest.mark.parametrize(("module", "library"), [("denram.equinox", "equinox"), ("denram.flax", "flax")])
def test_a_missing_library_is_one_sentence(module, library, monkeypatch):
    monkeypatch.delitem(sys.modules, module, raising=False)
    for name in [name for name in sys.modules if name == library or name.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        UserError, match=rf"{library} is not installed; pip install 'brainrules-denram\[{library}\]'"
    ):
        importlib.import_module(module)
    sys.modules.pop(module, None)
