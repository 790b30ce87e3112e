"""Networks that have diverged or died stop training with a sentence, in every engine."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from denram import (
    DelayNetwork,
    EventBatch,
    LossAndGradient,
    NetworkSpec,
    TrainConfig,
    initialise,
    load_data,
    open_run,
    train,
)
from denram.rules.noise_aware import _check_step
from denram.spec import Binning
from denram.training.trainer import make_trainer
from reprokit import UserError

SMALL = TrainConfig(data="spoken-toy", n_in=64, n_delays=2, nb_epochs=3, batch_size=40)
ENGINES = ("events", "fft")


@pytest.fixture(scope="module")
def data():
    return load_data("spoken-toy", Binning(n_in=64))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("as_array", [np.asarray, jnp.asarray])
def test_weights_that_are_not_finite_are_refused(engine, as_array):
    spec = NetworkSpec(n_in=8, n_delays=2, n_out=3, steps_in=20, max_delay=10, r_mu=20e9)
    drawn = initialise(spec, 0)
    events = EventBatch.from_dense((np.random.default_rng(0).random((4, 20, 8)) < 0.1).astype(np.uint8))
    network = DelayNetwork(drawn.delays, spec, engine=engine)
    for bad in (np.nan, np.inf):
        weights = drawn.weights.copy()
        weights[1, 3] = bad
        for call in (
            network.scores,
            network.traces,
            lambda w, e: network.loss_and_gradient(w, e, np.zeros(4, int)),
        ):
            with pytest.raises(UserError, match="weights holds values that are not finite"):
                call(as_array(weights), events)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_training_that_diverges_stops_and_keeps_finite_files(tmp_path, data, engine, profile):
    config = replace(SMALL, engine=engine, profile=profile, lr=1e6 if profile == "faithful" else 1e38)
    with pytest.raises(UserError, match=r"epoch \d|not finite"):
        train(replace(config, out=tmp_path / "run"), data)
    if (tmp_path / "run/weights.npy").exists():
        assert np.isfinite(open_run(tmp_path / "run").weights).all()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_network_in_which_nothing_fires_stops(data, engine):
    trainer, _ = make_trainer(replace(SMALL, engine=engine, noise_std=0.0), data)
    trainer.learner = trainer.learner._replace(weights=-np.abs(trainer.learner.weights) - np.float32(0.1))
    with pytest.raises(UserError, match=r"epoch 0: every output stayed silent .*--lr, now 0\.0002"):
        trainer.run_epoch()


def test_only_faithful_goes_on_after_an_infinite_loss():
    out = LossAndGradient(np.inf, 0.0, np.zeros((1, 2), np.float32), np.ones((1, 1), np.float32))
    _check_step(out, 0, 1e-3, "faithful")
    with pytest.raises(UserError, match="epoch 0: the loss is inf"):
        _check_step(out, 0, 1e-3, "fixed")
