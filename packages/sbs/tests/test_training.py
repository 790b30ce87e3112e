"""Training: it learns, accumulates, starts from earlier weights, tests when asked, and is exactly
repeatable.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from reprokit import Checkpoints, RunDirectory, UserError
from sbs.config import StartConfig
from sbs.data.loading import load_dataset
from sbs.formats.weights import save_original
from sbs.model.networks import sbs_layers
from sbs.presets import preset
from sbs.streams import SampleOrder
from sbs.training.evaluation import accuracy_against_spikes, evaluate
from sbs.training.loop import train
from sbs.training.runs import load_model


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def small(**learning):
    """A run of seconds: few spikes, few updates."""
    base = preset("digits-smoke")
    defaults = {"updates": 4, "batch_size": 16}
    return replace(
        base,
        network=replace(base.network, number_of_spikes=40),
        learning=replace(base.learning, **(defaults | learning)),
        data=replace(base.data, limit_train=200, limit_test=60),
        test_every=0,
        checkpoint_every=1,
    )


def weights_of(model):
    return [layer.weights.detach().clone() for layer in sbs_layers(model.network)]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(second), strict=True))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run of 60 updates: its folder, configuration, model and what was reported."""
    config = preset("digits-smoke")
    config = replace(config, learning=replace(config.learning, updates=60), test_every=0)
    folder, lines = tmp_path_factory.mktemp("learned") / "run", []
    return folder, config, train(config, folder, report=lines.append), lines


def test_digits_are_learned(learned):
    folder, config, model, lines = learned
    accuracy = RunDirectory(folder, config.content()).summary()["accuracy"]
    assert accuracy > 75
    assert len(lines) == 1
    assert model.step == 60
    for layer in sbs_layers(model.network):
        assert torch.allclose(layer.weights.sum(0), torch.ones(layer.weights.shape[1]), atol=1e-5)
        assert layer.weights.min() > 0


def test_same_seed_same_bits_other_seed_other_bits(tmp_path, digits):
    first, second = (train(small(), tmp_path / name, dataset=digits) for name in "ab")
    other = train(replace(small(), seed=1), tmp_path / "c", dataset=digits)
    assert same(first, second)
    assert not same(first, other)


def test_a_finished_run_is_loaded_not_repeated(tmp_path, digits):
    first = train(small(), tmp_path / "run", dataset=digits)
    log = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    again = train(small(), tmp_path / "run", dataset=digits)
    assert same(first, again)
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == log
    assert same(first, load_model(tmp_path / "run"))


def test_another_configuration_in_the_same_folder_is_refused(tmp_path, digits):
    train(small(), tmp_path / "run", dataset=digits)
    with pytest.raises(UserError, match="seed"):
        train(replace(small(), seed=7), tmp_path / "run", dataset=digits)
    layers = (replace(small().network.layers[0], neurons=12), *small().network.layers[1:])
    other = replace(small(), network=replace(small().network, layers=layers))
    with pytest.raises(UserError, match=r"another configuration: network\.layers"):
        train(other, tmp_path / "run", dataset=digits)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["multiplicative", "adam"])
def test_resume_at_each_of_ten_steps_is_bit_equal(tmp_path, digits, optimizer):
    config = small(updates=10, optimizer=optimizer, loss="mixed", schedule_every=2, weight_patience=1)
    config = replace(
        config,
        network=replace(config.network, number_of_spikes=15),
        data=replace(config.data, limit_train=100, limit_test=5),
    )
    whole = train(config, tmp_path / "whole", dataset=digits)
    for stop in range(1, 11):
        folder = tmp_path / f"stop-{stop}"

        def interrupt(line, stop=stop):
            if f"update {stop}:" in line:
                raise Stopped

        tested = replace(config, test_every=1)
        reference = whole if stop == 1 else None
        with pytest.raises(Stopped):
            train(tested, folder, dataset=digits, report=interrupt)
        resumed = train(tested, folder, dataset=digits)
        assert same(resumed, reference or whole)
    records = RunDirectory(folder, tested.content()).records()
    assert [record["update"] for record in records] == list(range(1, 11))


def test_a_resumed_run_goes_on_learning_epsilon_per_kernel_element(tmp_path, digits):
    config = small(updates=4, epsilon_rate=0.01)
    layers = tuple(replace(layer, learn_epsilon=layer.kind == "sbs") for layer in config.network.layers)
    network = replace(config.network, layers=layers, epsilon_per_kernel=True, gradient="v1.1")
    config = replace(config, network=network, test_every=1)
    whole = train(config, tmp_path / "whole", dataset=digits)

    def interrupt(line):
        if "update 2:" in line:
            raise Stopped

    with pytest.raises(Stopped):
        train(config, tmp_path / "run", dataset=digits, report=interrupt)
    resumed = train(config, tmp_path / "run", dataset=digits)
    for first, second in zip(sbs_layers(whole.network), sbs_layers(resumed.network), strict=True):
        assert torch.equal(first.epsilon_xy, second.epsilon_xy)
    assert len(sbs_layers(resumed.network)[0].epsilon_xy.unique()) > 1


def test_optimiser_and_schedule_state_are_restored(tmp_path, digits):
    config = small(updates=6, schedule="plateau", schedule_every=1, weight_patience=1, weight_factor=0.5)
    config = replace(config, checkpoint_every=3)
    train(config, tmp_path / "run", dataset=digits)
    last = Checkpoints(tmp_path / "run" / "checkpoints").load_latest()
    assert last is not None
    assert last.step == 6
    assert any("learner" in name for name in last.arrays)
    rates = [record["weight_rate"] for record in RunDirectory(tmp_path / "run", config.content()).records()]
    assert len(rates) == 6


def test_accumulated_batches_update_once(tmp_path, digits):
    config = small(updates=2, batch_size=8, batches_per_update=4)
    train(config, tmp_path / "run", dataset=digits)
    assert [r["update"] for r in RunDirectory(tmp_path / "run", config.content()).records()] == [1, 2]


def test_tests_happen_when_asked(tmp_path, digits):
    config = replace(small(updates=5), test_every=2)
    train(config, tmp_path / "a", dataset=digits)
    tested = [
        r["update"] for r in RunDirectory(tmp_path / "a", config.content()).records() if "accuracy" in r
    ]
    assert tested == [2, 4, 5]
    quiet = replace(config, test_during_learning=False)
    train(quiet, tmp_path / "b", dataset=digits)
    tested = [r["update"] for r in RunDirectory(tmp_path / "b", quiet.content()).records() if "accuracy" in r]
    assert tested == [5]


def test_training_starts_from_earlier_weights(tmp_path, digits):
    """DEV-23: the files it starts from stay as they are."""
    model = train(small(), tmp_path / "run", dataset=digits)
    save_original(model.network, tmp_path / "w", tmp_path / "e", 3)
    slow = small(updates=1, weight_rate=1e-12)
    begin = train(
        replace(slow, start=StartConfig("", 3, str(tmp_path / "w"), str(tmp_path / "e"))), tmp_path / "x"
    )
    for before, after in zip(weights_of(model), weights_of(begin), strict=True):
        assert torch.allclose(before, after, rtol=1e-4)
    overload = train(replace(slow, start=StartConfig(overload=str(tmp_path / "w"))), tmp_path / "y")
    assert same(begin, overload)
    assert sorted(path.name for path in (tmp_path / "w").iterdir()) == [
        f"Weight_L{i}_S3.npy" for i in range(3)
    ]


def test_every_image_is_shown_once_per_epoch():
    order = SampleOrder(10, seed=3)
    shown = np.concatenate([order.batch(number, 4) for number in range(5)])
    assert sorted(shown[:10]) == list(range(10))
    assert sorted(shown[10:]) == list(range(10))
    assert not np.array_equal(shown[:10], shown[10:])
    assert np.array_equal(SampleOrder(10, seed=3).batch(3, 4), shown[12:16])
    assert len(SampleOrder(3, seed=0).batch(0, 8)) == 8


def test_evaluation_leaves_network_and_generator_as_they_were(tmp_path, digits):
    model = train(small(), tmp_path / "run", dataset=digits)
    model.network.train()
    torch.manual_seed(11)
    state = torch.get_rng_state()
    spikes = [layer.number_of_spikes for layer in sbs_layers(model.network)]
    few = evaluate(model.network, model.presentation, digits.test.first(30), number_of_spikes=7)
    assert few.total == 30
    assert model.network.training
    assert torch.equal(torch.get_rng_state(), state)
    assert [layer.number_of_spikes for layer in sbs_layers(model.network)] == spikes


def test_more_spikes_more_accuracy(learned):
    model = learned[2]
    curve = accuracy_against_spikes(model.network, model.presentation, load_dataset("digits").test, [5, 200])
    assert [count for count, _ in curve] == [5, 200]
    assert curve[1][1].accuracy > curve[0][1].accuracy + 20
