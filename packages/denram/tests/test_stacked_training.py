"""Delays that learn, several layers and recurrence, from the command line."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import denram
import numpy as np
import pytest
from denram import DelayNetwork, EventBatch, TrainConfig, initialise, train
from denram.cli import main
from denram.data.loading import DataSet, load_data
from denram.layer.stack import StackNetwork, initial_arrays
from denram.spec import NetworkSpec, Stack
from denram.training.stack_trainer import make_stack_trainer, sigma_of
from reprokit import UserError

SMALL = TrainConfig(
    data="spoken-toy",
    n_in=16,
    n_delays=2,
    steps=60,
    max_delay=20,
    r_mu=50e9,
    batch_size=64,
    lr=2e-3,
    nb_epochs=3,
    noise_std=0.05,
    devices=2,
    lr_delays=0.5,
    sigma=2.0,
    hidden=8,
)
LEARNED = replace(SMALL, train_delays=True)
STACKED = replace(LEARNED, layers=2, recurrent=True, noise_std=0.0)
FILES = ("weights.npy", "delays.npy", "metrics.jsonl", "summary.json", "config.json")
HIDDEN = ("weights-1.npy", "delays-1.npy", "recurrent-1.npy")


@pytest.fixture(scope="module")
def data() -> DataSet:
    return load_data("spoken-toy", SMALL.binning)


@pytest.fixture(scope="module")
def learned(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(replace(LEARNED, out=tmp_path_factory.mktemp("learned") / "run"), data).path


@pytest.fixture(scope="module")
def stacked(data: DataSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(replace(STACKED, out=tmp_path_factory.mktemp("stacked") / "run"), data).path


def records(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_a_stack_of_one_layer_is_the_network_of_the_paper():
    spec = NetworkSpec(n_in=6, n_delays=3, n_out=4, steps_in=20, max_delay=12, r_mu=25e9)
    drawn, arrays = initialise(spec, 5), initial_arrays(Stack(spec), 5)
    np.testing.assert_array_equal(arrays["weights"], drawn.weights)
    np.testing.assert_array_equal(arrays["delays"], drawn.delays)
    spikes = (np.random.default_rng(0).random((3, 20, 6)) < 0.2).astype(np.uint8)
    events = EventBatch.from_dense(spikes)
    found = StackNetwork({"delays": drawn.delays}, Stack(spec)).scores({"weights": drawn.weights}, events)
    np.testing.assert_allclose(
        found, DelayNetwork(drawn.delays, spec).scores(drawn.weights, events), atol=1e-5
    )


def test_delays_that_learn_end_as_whole_steps_of_an_ordinary_run(learned, data):
    run = denram.open_run(learned)
    first = initialise(run.config.network(1), LEARNED.seed).delays
    assert run.delays.shape == first.shape
    assert np.all(run.delays == np.rint(run.delays))
    assert np.all((run.delays >= 0) & (run.delays <= 20))
    assert np.mean(run.delays != first) > 0.2
    assert isinstance(run.network(), DelayNetwork)
    log = records(learned)
    assert (
        [record["sigma"] for record in log]
        == [sigma_of(LEARNED, epoch) for epoch in range(3)]
        == [2.0, 0.7071067811865476, 0.25]
    )
    assert log[-1]["train_loss"] < log[0]["train_loss"]
    assert "val_acc_unrounded" not in log[0]
    assert abs(log[-1]["val_acc_unrounded"] - log[-1]["val_acc"]) < 0.1, "rounding costs little"
    assert json.loads((learned / "summary.json").read_text())["n_parameters"] == 10 * (2 * 32 + 1)


def test_the_gaussian_narrows_and_is_gone_in_the_last_quarter():
    config = replace(LEARNED, nb_epochs=20, sigma=4.0)
    widths = [sigma_of(config, epoch) for epoch in range(20)]
    assert widths[0] == 4.0
    assert widths[14] == pytest.approx(0.25)
    assert np.all(np.diff(widths[:15]) < 0)
    assert widths[15:] == [0.0] * 5
    assert sigma_of(replace(config, train_delays=False), 0) == 0.0


def test_rounded_delays_rest_while_the_weights_settle(data):
    trainer = make_stack_trainer(replace(LEARNED, nb_epochs=4), data)
    trainer.arrays = {**trainer.arrays, "delays": trainer.arrays["delays"] + np.float32(0.3)}
    trainer.epoch = 3
    before = np.rint(trainer.arrays["delays"])
    weights = np.array(trainer.arrays["weights"])
    trainer.run_epoch()
    np.testing.assert_array_equal(trainer.arrays["delays"], before)
    assert np.any(np.asarray(trainer.arrays["weights"]) != weights)


@pytest.mark.parametrize("kind", ["learned", pytest.param("stacked", marks=pytest.mark.slow)])
def test_an_interrupted_run_ends_with_the_same_bits(kind, data, tmp_path, request):
    whole, config = request.getfixturevalue(kind), {"learned": LEARNED, "stacked": STACKED}[kind]
    config = replace(config, out=tmp_path / "run")

    def stop(line: str) -> None:
        if line.startswith("1 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, say=stop)
    said: list[str] = []
    train(config, data, say=said.append)
    assert "resuming after epoch 1" in said
    for name in FILES + (HIDDEN if kind == "stacked" else ()):
        assert (config.out / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.slow
def test_commands_read_a_run_of_several_layers(stacked, data, tmp_path, capsys):
    assert main(["info", str(stacked)]) == 0
    shown = capsys.readouterr().out
    for line in ("recurrent-1 8 x 8", "weights-1 8 x 33", "delays 10 x 16"):
        assert line in " ".join(shown.split())
    assert (
        main(["evaluate", str(stacked), "--which", "last", "--noise-std", "0", "0.1", "--devices", "2"]) == 0
    )
    assert "0.1" in capsys.readouterr().out
    assert main(["plot", str(stacked), "--out", str(tmp_path)]) == 0
    assert {file.name for file in tmp_path.glob("*.png")} == {"curves.png", "confusion.png", "raster.png"}
    dense = data.test.events.take(np.arange(3)).dense().transpose(1, 0, 2)
    scores = denram.load(stacked).predict(dense).scores
    assert scores.shape == (3, 10)
    one = denram.load(stacked).predict(dense[2:]).scores
    np.testing.assert_allclose(one[0], scores[2], atol=1e-5)
    capsys.readouterr()
    for form in ("original", "nir"):
        assert main(["export", str(stacked), "--to", form]) == 2
        assert (
            "has 2 layers; the export formats support only networks of one layer" in capsys.readouterr().err
        )
    assert main(["evaluate", str(stacked), "--engine", "events"]) == 2
    assert "has several layers; choose auto or fft" in capsys.readouterr().err


def test_commands_read_a_run_whose_delays_learned(learned, tmp_path, capsys):
    assert main(["export", str(learned), "--out", str(tmp_path)]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "d_42.npy"), np.load(learned / "delays.npy"))
    assert main(["info", str(learned)]) == 0
    assert main(["evaluate", str(learned), "--which", "last"]) == 0
    last = denram.open_run(learned, "last")
    assert np.all(last.delays == np.rint(last.delays))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            "--train-delays --profile faithful",
            "train_delays is True; it needs profile fixed",
        ),
        ("--layers 2 --profile faithful", "layers is 2; it needs profile fixed"),
        ("--recurrent", "recurrent is True; it needs a hidden layer: give --layers 2"),
        ("--layers 2 --engine events", "engine is 'events'; it cannot be combined with layers"),
        ("--sigma 3", r"sigma is 3.0; it has no effect, because delays are not trained \(--train-delays\)"),
        ("--lr-delays 3", "lr_delays is 3.0; it has no effect"),
        ("--hidden 32", "hidden is 32; it has no effect, because there is no hidden layer"),
        ("--train-delays --sigma 0", "sigma is 0.0; it must be a positive number"),
        ("--layers 0", "layers is 0; it must be at least 1"),
    ],
)
def test_settings_that_do_not_fit_are_one_sentence(options, message, capsys):
    assert main(["train", "--data", "spoken-toy", *options.split()]) == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert re.search(message, shown), shown


def test_defaults_name_the_same_runs_as_before():
    later = {"train_delays", "sigma", "lr_delays", "layers", "hidden", "hidden_scale", "recurrent"}
    assert not later & set(TrainConfig().content())
    assert later <= set(asdict(TrainConfig()))
    assert replace(TrainConfig(), train_delays=True).content()["train_delays"] is True


@pytest.mark.slow
def test_options_of_learning_and_of_hidden_layers_act(data):
    slow, fast = (make_stack_trainer(replace(LEARNED, lr_delays=rate), data) for rate in (0.1, 0.5))
    batch, rates = np.arange(64), {"weights": 0.0}
    first = np.asarray(slow.arrays["delays"])
    slow._step(batch, 0, {**rates, "delays": 0.1}, 2.0)
    fast._step(batch, 0, {**rates, "delays": 0.5}, 2.0)
    moves = [np.abs(np.asarray(trainer.arrays["delays"]) - first).max() for trainer in (slow, fast)]
    assert moves == pytest.approx([0.1, 0.5], rel=1e-3), "Adam's first step is the rate"
    plain = initial_arrays(STACKED.stack(10), 1)
    wide = initial_arrays(replace(STACKED, hidden_scale=4.0, hidden=9).stack(10), 1)
    assert plain["weights-1"].shape == (8, 33)
    assert wide["weights-1"].shape == (9, 33)
    assert wide["recurrent-1"].shape == (9, 9)
    assert wide["weights-1"].std() == pytest.approx(2 * plain["weights-1"].std(), rel=0.2)
    assert "recurrent-1" not in initial_arrays(replace(STACKED, recurrent=False).stack(10), 1)


def test_training_that_diverges_stops(data):
    trainer = make_stack_trainer(LEARNED, data)
    trainer.arrays = {**trainer.arrays, "weights": trainer.arrays["weights"] * np.float32(np.nan)}
    with pytest.raises(UserError, match="epoch 0: the loss is nan or its gradient is not finite"):
        trainer.run_epoch()
