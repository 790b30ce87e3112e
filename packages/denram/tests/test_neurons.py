"""Leaky integrators and threshold neurons inside JAX, step by step, and their surrogate gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram.layer import READOUTS, fires, integrate, threshold
from denram.model.neuron import membrane
from reprokit import UserError


def test_neurons_step_by_step():
    drive = np.random.default_rng(4).normal(size=(15, 2, 3)).astype(np.float32)
    back = np.random.default_rng(5).normal(size=(3, 3)).astype(np.float32)
    potential, spikes, plain = np.zeros((2, 3)), np.zeros((2, 3)), np.zeros((2, 3))
    found, free = threshold(drive, 0.8, level=0.7, recurrent=back), integrate(drive, 0.8)
    for t, now in enumerate(drive):
        potential = 0.8 * (potential - 0.7 * spikes) + now + spikes @ back.T
        spikes, plain = (potential >= 0.7).astype(float), 0.8 * plain + now
        np.testing.assert_array_equal(found[t], spikes)
        np.testing.assert_allclose(free[t], plain, atol=1e-5)
    assert 0.1 < np.mean(found) < 0.9
    np.testing.assert_array_equal(integrate(drive, 0.8, rectified=True), membrane(drive, 0.8))
    alone = threshold(drive, 0.8, level=0.7)
    np.testing.assert_array_equal(alone, threshold(drive, 0.8, level=0.7, recurrent=np.zeros((3, 3))))
    for name, expected in (("peak", drive.max(0)), ("mean", drive.mean(0)), ("last", drive[-1])):
        np.testing.assert_allclose(READOUTS[name](drive), expected, atol=1e-6)


def test_the_surrogate_is_a_fast_sigmoids_slope():
    above = np.array([-1.0, 0.0, 0.5], np.float32)
    fired, slope = jax.jit(jax.vmap(jax.value_and_grad(lambda value: fires(value, 2.0))))(above)
    assert np.array_equal(fired, [0, 1, 1])
    np.testing.assert_allclose(slope, 1 / (1 + 2 * np.abs(above)) ** 2, rtol=1e-6)
    with pytest.raises(UserError, match="recurrent has shape"):
        threshold(jnp.ones((3, 2, 2)), 0.5, recurrent=jnp.ones((3, 3)))
    with pytest.raises(UserError, match="currents is int32"):
        integrate(jnp.ones((3, 2), jnp.int32), 0.5)
    with pytest.raises(
        UserError, match=r"currents is float32 of shape \(3,\); needed are floats, \(time, \.\.\., neuron\)"
    ):
        integrate(jnp.ones(3), 0.5)
    assert integrate(jnp.ones((2, 1)), 0.5).shape == (2, 1)
    assert integrate(jnp.ones((2, 3, 2, 1)), 0.5)[1].tolist() == [[[1.5]] * 2] * 3
