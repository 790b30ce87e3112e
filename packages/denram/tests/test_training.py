"""The training loop: selection, profiles, determinism, report lines."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from denram.config import TrainConfig
from denram.data.loading import load_data
from denram.spec import Binning
from denram.training.loop import identity, train
from denram.training.reporting import EPOCH_HEADER, epoch_line
from denram.training.runs import open_run
from denram.training.trainer import Selection, make_trainer
from reprokit import UserError, run_id

SMALL = TrainConfig(data="spoken-toy", n_in=100, n_delays=4, nb_epochs=3, batch_size=32, lr=2e-3, devices=3)


@pytest.fixture(scope="module")
def data():
    return load_data("spoken-toy", Binning(n_in=100))


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_training_learns_and_leaves_a_complete_run_directory(tmp_path, data, profile):
    lines = []
    config = replace(SMALL, profile=profile, nb_epochs=8, out=tmp_path / "run")
    result = train(config, data, say=lines.append)
    assert result.summary["test_acc"] > 0.3  # chance is 0.1
    assert result.summary["epochs"] == 8
    assert {file.name for file in result.path.iterdir()} >= {
        "config.json", "metrics.jsonl", "summary.json", "weights.npy", "delays.npy", "checkpoints"
    }  # fmt: skip
    run = open_run(result.path)
    assert run.weights.shape == (result.config["n_out"], 401)
    assert run.delays.shape == (result.config["n_out"], 400)
    records = run.stored.records
    assert [record["epoch"] for record in records] == list(range(8))
    assert EPOCH_HEADER in lines
    best = records[result.summary["best_epoch"]]
    assert best["new_best"]
    assert (
        best["val_acc"]
        == result.summary["val_acc"]
        == max(record["val_acc"] for record in records if record["new_best"])
    )
    again = []
    assert train(config, data, say=again.append).summary == result.summary  # finished: reported, not repeated
    assert EPOCH_HEADER not in again


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tmp_path, data):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(replace(SMALL, seed=seed, out=tmp_path / name), data)
    first, second, third = ((tmp_path / name / "weights.npy").read_bytes() for name in "abc")
    assert first == second
    assert first != third
    assert (tmp_path / "a/metrics.jsonl").read_bytes() == (tmp_path / "b/metrics.jsonl").read_bytes()


def test_run_id_depends_on_the_numbers_and_not_on_places(data):
    first = run_id(identity(SMALL, data))
    assert first == run_id(identity(replace(SMALL, out=Path("elsewhere"), data="moved", threads=2), data))
    assert first != run_id(identity(replace(SMALL, seed=7), data))


def test_dev_12_outputs_follow_the_data_except_in_faithful(data):
    assert identity(SMALL, data)["n_out"] == 10
    assert identity(replace(SMALL, profile="faithful"), data)["n_out"] == 20
    assert identity(replace(SMALL, n_out=13), data)["n_out"] == 13
    with pytest.raises(UserError, match="n_out is 9, but the data have 10 classes"):
        identity(replace(SMALL, n_out=9), data)


def test_dev_15_faithful_tests_at_every_new_best_and_fixed_at_the_end(data):
    for profile, tested in (("faithful", True), ("fixed", False)):
        trainer, _ = make_trainer(replace(SMALL, profile=profile), data)
        record = trainer.run_epoch()
        assert record["new_best"]
        assert (record["test_acc"] is not None) == tested
        assert len(trainer.test()) == (1 if tested else 3)


def test_dev_16_faithful_wants_a_gain_of_one_percent():
    offers = [0.5, 0.504, 0.505, 0.5, 0.6]
    faithful, fixed = Selection(True, patience=3), Selection(False, patience=3)
    assert [faithful.offer(e, acc, 0.0) for e, acc in enumerate(offers)] == [True, False, True, False, True]
    assert [fixed.offer(e, acc, 0.0) for e, acc in enumerate(offers)] == [True, True, True, False, True]


def test_patience_counts_small_gains_in_faithful_and_is_reset_by_a_new_best():
    selection = Selection(True, patience=2)
    for epoch, accuracy in enumerate((0.5, 0.501)):
        selection.offer(epoch, accuracy, 0.0)
    assert not selection.exhausted
    selection.offer(2, 0.502, 0.0)
    assert selection.exhausted
    assert selection.epoch == 0


def test_training_stops_when_patience_is_used_up(tmp_path, data):
    config = replace(SMALL, lr=1e-12, noise_std=0.0, patience=2, nb_epochs=20, out=tmp_path / "run")
    result = train(config, data)
    assert result.summary["stopped_early"]
    assert result.summary["epochs"] == result.summary["best_epoch"] + 3


def test_faithful_run_without_any_right_answer_says_so(tmp_path, data):
    trainer, _ = make_trainer(replace(SMALL, profile="faithful"), data)
    with pytest.raises(UserError, match="no epoch of this run"):
        trainer.summary()


def test_epoch_line_has_the_columns_of_the_header():
    record = {"epoch": 12, "train_loss": 1.94804, "train_acc": 0.442, "val_acc": 0.6206, "test_acc": None}
    line = epoch_line(record, 7.123)
    assert line == "12     | 1.9480          | 0.4420          | 0.6206          |                 | 7.12"
    assert [i for i, c in enumerate(line) if c == "|"] == [i for i, c in enumerate(EPOCH_HEADER) if c == "|"]


def test_noise_level_zero_moves_the_noise_stream_as_the_original_does(data):
    keys = []
    for noise in (0.0, 0.1):
        trainer, _ = make_trainer(replace(SMALL, profile="faithful", noise_std=noise), data)
        trainer.run_epoch()
        keys.append(trainer.learner.key)
    np.testing.assert_array_equal(*keys)
