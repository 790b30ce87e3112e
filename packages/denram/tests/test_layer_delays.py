"""Layers with continuous delays, noise, initial draws, neurons and readouts inside JAX."""

from contextlib import AbstractContextManager
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram import DelayNetwork, EventBatch, NetworkSpec, noisy_weights
from denram.layer import READOUTS, currents, init, noisy, threshold
from denram.layer.currents import _fast_length
from denram.layer.initial import delays_of_normals
from denram.model.delays import delay_times, resistances, steps_from_times
from reprokit import UserError

SPEC = NetworkSpec(n_in=6, n_delays=3, n_out=4, steps_in=20, max_delay=12, r_mu=25e9)


def float64() -> AbstractContextManager[object]:
    """`jax_enable_x64` inside a block, under the name that this JAX gives it."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights with a bias, whole delays, and spikes of shape (time, sample, channel)."""
    draw = np.random.default_rng(0)
    weights = draw.normal(size=(4, 19)).astype(np.float32)
    delays = draw.integers(0, 13, (4, 18)).astype(np.float32)
    return weights, delays, (draw.random((20, 5, 6)) < 0.2).astype(np.uint8)


def by_hand(weights: np.ndarray, delays: np.ndarray, x: np.ndarray, sigma: float, steps: int) -> np.ndarray:
    """The module's equation, tap by tap, in float64."""
    out = np.zeros((steps, x.shape[1], len(weights)))
    lags = np.arange(SPEC.max_delay + 1)
    for o in range(len(weights)):
        for k in range(delays.shape[1]):
            d = np.clip(delays[o, k], 0, SPEC.max_delay)
            g = np.exp(-0.5 * ((lags - d) / sigma) ** 2) if sigma else (lags == np.rint(d)).astype(float)
            for lag, share in zip(lags, g / g.sum(), strict=True):
                for t in range(lag, min(steps, lag + len(x))):
                    out[t, :, o] += weights[o, k] * share * x[t - lag, :, k // SPEC.n_delays]
        out[: len(x), :, o] += weights[o, -1]
    return out


def test_with_sigma_0_it_is_the_layer_with_fixed_delays(problem):
    weights, delays, spikes = problem
    network = DelayNetwork(delays, SPEC)
    expected = network.traces(weights, EventBatch.from_dense(spikes.transpose(1, 0, 2))).currents
    found = currents(weights, delays, spikes, max_delay=12)[: len(expected)]
    np.testing.assert_allclose(found, expected, atol=3e-6)
    assert np.array_equal(np.asarray(found) == 0, expected == 0), "silent steps must stay silent"


@pytest.mark.parametrize(("sigma", "reach"), [(0.0, None), (0.6, 4), (0.8, None), (3.0, None)])
def test_the_equation_tap_by_tap(problem, sigma, reach):
    weights, _, _ = problem
    draw = np.random.default_rng(1)
    delays, x = draw.uniform(-1, 13, (4, 18)), draw.normal(size=(20, 2, 6))
    found = currents(weights, delays, x, max_delay=12, sigma=sigma, steps=32, reach=reach)
    exact = by_hand(weights, delays, x, sigma, 32)
    np.testing.assert_allclose(found, exact, atol=1e-3 if sigma else 1e-5)
    whole = currents(weights, delays, x, max_delay=12, sigma=sigma, steps=32, reach=12)
    np.testing.assert_allclose(whole, exact, atol=1e-5)


def test_steps_and_bias_can_be_cut(problem):
    weights, delays, spikes = problem
    whole = currents(weights, delays, spikes, max_delay=12, steps=40)
    assert np.all(np.asarray(whole[32:]) == 0)
    cut = currents(weights, delays, spikes, max_delay=12, steps=15, bias_steps=10)
    expected = np.array(whole[:15])
    expected[10:] -= weights[:, -1]
    np.testing.assert_allclose(cut, expected, atol=3e-6)


def test_axonal_delays_are_synaptic_ones_that_are_equal(problem):
    weights, delays, spikes = problem
    layer = jax.jit(lambda delays, sigma: currents(weights, delays, spikes, max_delay=12, sigma=sigma))
    shared = delays[0] + 0.3
    for sigma in (0.0, 1.5):
        expected = layer(np.broadcast_to(shared, delays.shape), sigma)
        np.testing.assert_allclose(layer(shared, sigma), expected, atol=3e-6)


@pytest.mark.parametrize(("shape", "reach"), [((2, 6), 1), ((6,), 6)], ids=["windows", "whole line, axonal"])
def test_gradients_are_finite_differences_in_float64(shape, reach):
    draw = np.random.default_rng(0)
    delays = draw.uniform(0.1, 5.9, shape)
    delays.flat[0] = 0.0  # an end of the line still has a gradient
    values = (draw.normal(size=(2, 7)), delays, draw.normal(size=(9, 2, 3)))
    probe = draw.normal(size=(15, 2, 2))
    with float64():

        @jax.jit
        def loss(weights: jax.Array, delays: jax.Array, x: jax.Array, sigma: jax.Array) -> jax.Array:
            return jnp.sum(probe * currents(weights, delays, x, max_delay=6, sigma=sigma, reach=reach))

        derive = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))
        for sigma in (0.7, 2.0):
            found = derive(*values, sigma)
            assert abs(np.ravel(found[1])[0]) > 1e-3
            for place, (value, gradient) in enumerate(zip(values, found, strict=True)):
                assert gradient.dtype == np.float64
                for flat in range(1, value.size, 3):
                    step = np.zeros(value.size)
                    step[flat] = 1e-5
                    up, down = list(values), list(values)
                    up[place], down[place] = (value + sign * step.reshape(value.shape) for sign in (1, -1))
                    slope = (loss(*up, sigma) - loss(*down, sigma)) / 2e-5
                    assert slope == pytest.approx(float(np.ravel(gradient)[flat]), abs=1e-7, rel=1e-7)
        assert not np.any(derive(*values, 0.0)[1]), "at sigma 0 delays have no gradient"


def test_fast_lengths_of_transforms():
    assert [_fast_length(n) for n in (1, 2, 7, 11, 121, 350, 351)] == [2, 2, 8, 12, 128, 360, 360]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": np.ones((4, 17), np.float32)}, "weights has 17 columns"),
        ({"weights": np.ones((4, 19), np.int32)}, "weights is int32"),
        ({"delays": np.ones((3, 18), np.float32)}, r"delays has shape \(3, 18\)"),
        ({"x": np.ones((20, 5, 5), np.float32)}, "x has 5 channels"),
        ({"x": np.ones(20, np.float32)}, r"x is float32 of shape \(20,\)"),
        ({"sigma": -1.0}, "sigma is -1.0"),
        ({"sigma": float("nan")}, "sigma is nan"),
        ({"max_delay": 2.5}, "max_delay is 2.5"),
        ({"steps": 0}, "steps is 0"),
    ],
)
def test_what_does_not_fit_is_one_sentence(problem, changed, message):
    weights, delays, spikes = problem
    given = {"weights": weights, "delays": delays, "x": spikes, "max_delay": 12} | changed
    with pytest.raises(UserError, match=message):
        currents(given.pop("weights"), given.pop("delays"), given.pop("x"), **given)


def test_noise_is_straight_through_at_the_largest_weight_too(problem):
    probe, weights, key = problem[0], problem[0].copy(), jax.random.key(3)
    weights[0, 0] = 0

    def loss(weights: jax.Array, std: jax.Array) -> tuple[jax.Array, jax.Array]:
        read = noisy(weights, key, std)
        return jnp.sum(probe * jnp.sin(read)), read

    derive = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
    (_, read), (gradient, for_std) = derive(weights, 0.3)
    np.testing.assert_allclose(gradient, probe * np.cos(read), atol=1e-6)
    assert read[0, 0] == 0, "exact zeros stay zero"
    amplitude = np.std(np.asarray(read - weights)[weights != 0])
    assert amplitude == pytest.approx(0.3 * np.abs(weights).max(), rel=0.3)
    (above, _), _ = derive(weights, 0.301)
    (below, _), _ = derive(weights, 0.299)
    assert float(for_std) == pytest.approx(float(above - below) / 0.002, rel=1e-2)
    assert np.array_equal(derive(weights, 0.0)[0][1], weights)
    for wrong, message in ((-0.1, "std is -0.1"), (float("inf"), "std is inf")):
        with pytest.raises(UserError, match=message):
            noisy(weights, key, wrong)
    with pytest.raises(UserError, match="weights is int32"):
        noisy(jnp.arange(3, dtype=jnp.int32), key, 0.1)


def test_noisy_weights_of_jax_arrays_are_straight_through_too(problem):
    weights, epsilon = (
        jnp.asarray(problem[0]),
        np.random.default_rng(6).normal(size=(4, 19)).astype(np.float32),
    )
    slope = jax.jit(jax.grad(lambda w, std: jnp.sum(jnp.sin(noisy_weights(w, epsilon, std)))))(weights, 0.3)
    np.testing.assert_allclose(slope, np.cos(noisy_weights(problem[0], epsilon, 0.3)), atol=1e-6)


def test_networks_of_many_keys_have_one_shape():
    specs = [replace(SPEC, distribution=name) for name in ("lognormal", "uniform", "pattern")]
    keys = jax.random.split(jax.random.key(0), 3)
    many, *others = jax.jit(jax.vmap(lambda key: [init(key, spec) for spec in specs]))(keys)
    assert many.weights.shape == (3, 4, 19)
    assert many.delays.shape == (3, 4, 18)
    assert np.all(np.asarray(many.weights[..., :-1]) > 0)
    assert np.any(np.asarray(many.weights[..., -1]) < 0)
    assert np.all(np.asarray(many.delays) == np.round(many.delays))
    assert not np.array_equal(many.delays[0], many.delays[1])
    for drawn, last in zip(others, (12, 8), strict=True):
        assert drawn.delays.shape == (3, 4, 18)
        assert (np.min(drawn.delays), np.max(drawn.delays)) == (0, last)


def test_delays_of_normals_are_those_of_the_engine():
    normals = np.random.default_rng(2).normal(size=(20, 500)).astype(np.float32)
    spec = replace(SPEC, max_delay=40)
    expected = steps_from_times(delay_times(resistances(normals, spec), spec), spec)
    assert np.mean(np.asarray(delays_of_normals(jnp.asarray(normals), spec)) == expected) > 0.999


HIDDEN = NetworkSpec(n_in=6, n_delays=2, n_out=3, steps_in=20, max_delay=8, r_mu=20e9, weight_scale=1.0)
LABELS = np.arange(4) % 3
Layers = dict[str, jax.Array]


def descend(keys: jax.Array, x: np.ndarray) -> tuple[Layers, jax.Array]:
    """Steps of recurrent networks, one for each key, under jit, vmap, scan and grad, with a Gaussian that ends at 0."""

    def one(key: jax.Array) -> tuple[Layers, jax.Array]:
        first = init(key, HIDDEN)
        layers = {
            "weights": first.weights,
            "delays": first.delays,
            "recurrent": jnp.zeros((3, 3), jnp.float32),
        }

        def loss(layers: Layers, sigma: jax.Array) -> jax.Array:
            drive = currents(layers["weights"], layers["delays"], x, max_delay=8, sigma=sigma)
            spikes = threshold(drive, 0.8, recurrent=layers["recurrent"])
            scores = jax.nn.log_softmax(READOUTS["mean"](spikes))
            return -jnp.mean(jnp.take_along_axis(scores, LABELS[:, None], axis=1))

        def step(layers: Layers, sigma: jax.Array) -> tuple[Layers, jax.Array]:
            value, slope = jax.value_and_grad(loss)(layers, sigma)
            return jax.tree.map(lambda p, g: p - np.float32(1) * g, layers, slope), value

        return jax.lax.scan(step, layers, jnp.asarray([2.0, 2.0, 2.0, 2.0, 0.0], jnp.float32))

    return jax.jit(jax.vmap(one))(keys)


@pytest.fixture(scope="module")
def spikes() -> np.ndarray:
    return (np.random.default_rng(0).random((20, 4, 6)) < 0.3).astype(np.uint8)


@pytest.fixture(scope="module")
def usual(spikes) -> tuple[dict[str, jax.Array], jax.Array]:
    return descend(jax.random.split(jax.random.key(0, impl="threefry2x32"), 2), spikes)


@pytest.mark.slow
def test_recurrent_networks_of_several_seeds_learn(usual):
    layers, losses = usual
    assert losses.shape == (2, 5)
    assert np.all(losses[:, 3] < losses[:, 0])
    assert np.mean(np.asarray(layers["delays"]) % 1 != 0) > 0.5, "delays moved"
    assert np.any(layers["recurrent"] != 0)


@pytest.mark.slow
def test_settings_of_jax_change_nothing(usual, spikes):
    with float64(), jax.numpy_dtype_promotion("strict"), jax.default_prng_impl("rbg"):
        layers, losses = descend(jax.random.split(jax.random.key(0, impl="threefry2x32"), 2), spikes)
        own = jax.random.key(0)  # the user's own generator: other draws, the same types
        drawn = jax.jit(lambda key: noisy(init(key, HIDDEN).weights, key, 0.1))(own)
    assert all(array.dtype == np.float32 for array in (*layers.values(), losses, drawn))
    np.testing.assert_allclose(losses, usual[1], rtol=1e-5)
