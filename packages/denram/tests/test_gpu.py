"""On a GPU: the FFT engine as the compiled engine on the CPU, and networks trained together as each alone."""

from dataclasses import replace

import denram
import jax
import numpy as np
import pytest
from denram import EventBatch, TrainConfig, from_arrays, train, train_together
from denram.engines.network import computing_on
from denram.model.readout import undecided

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _gpu():
    if jax.default_backend() != "gpu":
        pytest.skip("needs a GPU that JAX can use")


@pytest.mark.parametrize("n_in", [5, 256, 700])
@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_scores_losses_and_gradients_are_those_of_the_cpu(n_in, profile):
    spec = denram.NetworkSpec(n_in=n_in, profile=profile)
    drawn, rng = denram.initialise(spec, 1), np.random.default_rng(n_in)
    events = EventBatch.from_dense(rng.random((32, spec.steps_in, n_in)) < 0.05)
    labels = rng.integers(0, spec.n_out, 32)
    found = {}
    for device in ("cpu", "cuda:0"):
        with computing_on(device):
            network = denram.DelayNetwork(drawn.delays, spec)
            assert device == "cpu" or network.engine_used == "fft"
            found[device] = network.loss_and_gradient(drawn.weights, events, labels)
    here, there = found["cpu"], found["cuda:0"]
    np.testing.assert_allclose(there.scores, here.scores, rtol=2e-5, atol=2e-5)
    other = np.argmax(there.scores, axis=1) != np.argmax(here.scores, axis=1)
    assert other.sum() <= undecided(np.asarray(here.scores), 1e-4)
    assert there.loss == pytest.approx(here.loss, rel=1e-5)
    largest = np.abs(np.asarray(here.gradient)).max()
    np.testing.assert_allclose(there.gradient, here.gradient, atol=1e-4 * largest)


def test_a_seed_gives_the_same_network_on_every_device():
    spec = denram.NetworkSpec(n_in=256)
    with computing_on("cpu"):
        here = denram.initialise(spec, 42)
    for mine, theirs in zip(denram.initialise(spec, 42), here, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_runs_trained_together_are_the_runs_alone(profile, tmp_path):
    base = TrainConfig(
        data="mine", n_in=16, n_delays=4, steps=40, duration=0.2, max_delay=20, r_mu=50e9, batch_size=8,
        lr=5e-3, nb_epochs=3, profile=profile, device="cuda:0",
    )  # fmt: skip
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    samples = [(rng.uniform(0.03 * k, 0.1 + 0.03 * k, 40), rng.integers(0, 16, 40)) for k in labels]
    data = from_arrays((samples, labels), (samples, labels), base.binning, time_unit="s", name="mine")
    settings = ((1, 0.0), (1, 0.1), (2, 0.1))
    group = [replace(base, seed=seed, noise_std=noise) for seed, noise in settings]
    found = train_together([replace(c, out=tmp_path / f"t{n}") for n, c in enumerate(group)], data)
    for n, config in enumerate(group):
        alone = train(replace(config, out=tmp_path / f"a{n}"), data)
        assert found[n].config == alone.config
        mine, theirs = (denram.open_run(run.path) for run in (found[n], alone))
        np.testing.assert_array_equal(mine.delays, theirs.delays)
        np.testing.assert_allclose(mine.weights, theirs.weights, atol=2e-4)
        assert mine.result()["test_acc"] == pytest.approx(theirs.result()["test_acc"], abs=0.05)
