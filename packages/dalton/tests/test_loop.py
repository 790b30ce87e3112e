"""The loop: what a run leaves, the profiles' protocols, selection, resumption within and between epochs."""

import re
import warnings
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from dalton import SpikingCNN, evaluate_run, load_run, train
from dalton.model.build import build_network
from dalton.training import loop
from dalton.training.evaluation import Evaluation, load_data
from dalton.training.reporting import summary_lines
from reprokit import Checkpoints, UserError
from small_runs import arrays, assert_same, recordings, records, small


def test_a_run_learns_and_leaves_what_it_says(tmp_path):
    config = small(out=tmp_path / "run", method="surrgd", epochs=4, train_size=400, lr=1e-2)
    seen = []
    result = train(config, seen.append)
    log = records(tmp_path / "run")
    assert [record["epoch"] for record in log] == [1, 2, 3, 4] == [record["epoch"] for record in seen]
    assert log[-1]["train_loss"] < 0.85 * log[0]["train_loss"]
    assert result.summary["test_accuracy"] > 0.25
    for record in log:
        assert set(record["firing_rates"]) == {"conv1", "dense1", "dense2"}
        assert record["train_loss"] == pytest.approx(sum(record["layer_losses"].values()), rel=1e-5)
        assert len(record["batch_losses"]) == 20
    assert (result.summary["train_samples"], result.summary["validation_samples"]) == (400, 144)
    assert result.summary["dataset"] == "digits"
    assert isinstance(result.network, SpikingCNN)


def test_finished_run_is_returned(tmp_path):
    config = small(out=tmp_path / "run", epochs=1)
    first = train(config)
    stamp = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    again = train(config)
    assert again.summary == first.summary
    assert again.network is None
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == stamp
    with pytest.raises(UserError, match="seed 0 there, 1 now"):
        train(replace(config, seed=1))


def test_same_seed_same_bits_other_seed_other_bits(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train(small(out=tmp_path / name, seed=seed, epochs=1))
    assert_same(tmp_path / "a", tmp_path / "b")
    assert arrays(tmp_path / "a")["net/conv1"].tobytes() != arrays(tmp_path / "c")["net/conv1"].tobytes()


def test_best_epoch_is_chosen_on_validation_or_under_faithful_on_test(tmp_path, monkeypatch):
    """DEV-21."""
    course = {"validation": [0.2, 0.5, 0.5, 0.3], "test": [0.9, 0.1, 0.3, 0.2]}

    def evaluated(self, split):
        right = round(10 * course[split][self.epoch - 1])
        return Evaluation(torch.zeros(10, dtype=torch.int64), (torch.arange(10) >= right).long())

    monkeypatch.setattr(loop._Loop, "_evaluate", evaluated)
    fixed = train(small(out=tmp_path / "fixed", epochs=4)).summary
    faithful = train(small(out=tmp_path / "faithful", epochs=4, profile="faithful")).summary
    assert (fixed["selected_epoch"], fixed["selected_by"], fixed["selected_test_accuracy"]) == (
        2,
        "validation",
        0.1,
    )
    assert (faithful["selected_epoch"], faithful["selected_by"]) == (1, "test")
    assert (faithful["validation_samples"], faithful["test_accuracy"]) == (0, 0.2)
    best = Checkpoints(tmp_path / "fixed" / "best").load_latest()
    assert best is not None
    assert best.state == {"epoch": 2, "accuracy": 0.5}


def test_adam_forgets_every_epoch_under_faithful(tmp_path):
    """DEV-20: after two epochs of four batches Adam's counter is 4 or 8."""
    for profile, count in (("fixed", 10), ("faithful", 5)):
        train(small(out=tmp_path / profile, profile=profile))
        assert arrays(tmp_path / profile)["adam/conv1/step"] == count


def test_online_training_accuracy_is_marked(tmp_path):
    """DEV-26: it is measured on labels that the weights are just being fitted to."""
    for setting, leaks in (("bptt", False), ("online", True), ("rtrl", True)):
        result = train(small(out=tmp_path / setting, method="tfr", setting=setting, epochs=1))
        assert result.summary["train_accuracy_leaks"] is leaks
        assert result.summary["burn_in"] == (2 if leaks else 0)


@pytest.mark.parametrize(
    "options",
    [
        {"arch": "small_runs:DROPPED"},
        {"method": "tfr", "setting": "online", "profile": "faithful", "burn_in": 3},
        {"method": "surrgd", "augment": True, "loss": "ce"},
    ],
    ids=["dalton-dropout", "tfr-online-faithful", "surrgd-augment"],
)
def test_interrupted_anywhere_ends_bit_equal(options, tmp_path, monkeypatch):
    config = small(checkpoint_batches=2, **options)
    train(replace(config, out=tmp_path / "whole"))
    real, stop = loop.train_step, 0

    class Stop(Exception):
        pass

    def limited(*args, **kwargs):
        nonlocal stop
        stop -= 1
        if stop < 0:
            raise Stop
        return real(*args, **kwargs)

    monkeypatch.setattr(loop, "train_step", limited)
    for batches in (1, 3, 5, 2, 100):  # stops before, between and after checkpoints, in both epochs
        stop = batches
        try:
            train(replace(config, out=tmp_path / "parts"))
        except Stop:
            continue
    assert_same(tmp_path / "whole", tmp_path / "parts")


def test_checkpoint_every_k_epochs(tmp_path):
    saved = []
    real = Checkpoints.save

    def save(self, step, values, state):
        if self.directory.name == "checkpoints":
            saved.append(state["epoch"])
        return real(self, step, values, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", save)
        train(small(out=tmp_path / "run", epochs=5, checkpoint_epochs=2))
    assert saved == [2, 4, 5]


@pytest.mark.parametrize("engine", ["torch", "auto"])
@pytest.mark.parametrize("setting", ["bptt", "online"])
@pytest.mark.parametrize(("method", "lr"), [("dalton", 1e30), ("tfr", 1e20), ("tfr", 1e38), ("surrgd", 1e38)])
def test_diverged_training_is_an_error(tmp_path, method, setting, lr, engine):
    """NaN in the weights is noticed, although potentials that are NaN never fire."""
    if method == "surrgd" and setting == "online":
        pytest.skip("surrgd has no online form")
    config = small(out=tmp_path / "run", lr=lr, epochs=3, method=method, setting=setting, engine=engine)
    for _ in range(2):  # started again it ends alike
        with pytest.raises(
            UserError, match=r"epoch 1, batch [12]: .*(conv|dense)\d .* --lr .*; use a smaller --lr"
        ):
            train(config)
    assert not (tmp_path / "run" / "summary.json").exists()
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"lr": 1.0, "epochs": 9}, ["conv1 .*, dense1 .*, dense2", "use a smaller --lr"]),
        ({"lr": 1.0, "epochs": 1, "train_size": 400}, ["epoch 1", "smaller --lr"]),
        ({"lr": 1.0, "epochs": 4, "train_size": 400, "method": "surrgd"}, ["epoch 2", "smaller --lr"]),
        ({"lr": 1.0, "epochs": 4, "train_size": 400, "setting": "online"}, ["epoch [123]", "smaller --lr"]),
        ({"gain": 1e-3, "epochs": 5}, ["epoch 5", "100 % of the validation", "conv1 0 %", "larger --gain"]),
        (
            {"gain": 1e-3, "epochs": 9, "validation": 0.0, "setting": "online", "method": "tfr"},
            ["100 % of the test"],
        ),
    ],
)
@pytest.mark.parametrize("engine", [pytest.param("torch", marks=pytest.mark.slow), "auto"])
def test_a_dead_network_ends_the_training(tmp_path, options, parts, engine):
    """All samples get the same class outputs: with a learning rate of 1 every neuron always does the same."""
    config = small(out=tmp_path / "run", steps=20, arch="A1", engine=engine, **options)
    for _ in range(2):
        with pytest.raises(UserError) as error:
            train(config)
        for part in ("training died", *parts):
            assert re.search(part, str(error.value)), (part, str(error.value))
    assert not (tmp_path / "run" / "summary.json").exists()
    assert (
        not (tmp_path / "run" / "metrics.jsonl").exists()
        or len(records(tmp_path / "run")) < options["epochs"]
    )


def test_equal_samples_are_no_dead_network(tmp_path):
    same = np.full((40, 8, 8), 200, np.uint8)
    labels = np.arange(40, dtype=np.int64) % 10
    np.savez(tmp_path / "same.npz", x_train=same, y_train=labels, x_test=same, y_test=labels)
    config = small(
        dataset=str(tmp_path / "same.npz"), train_size=None, test_size=None, out=tmp_path / "run", epochs=1
    )
    assert train(config).summary["epochs"] == 1


def test_no_epochs_leave_the_initial_network(tmp_path):
    result = train(small(out=tmp_path / "run", epochs=0))
    assert (result.summary["test_accuracy"], result.summary["selected_epoch"]) == (None, 0)
    assert 0 <= evaluate_run(tmp_path / "run").accuracy <= 1
    assert "test accuracy        -" in summary_lines(result.summary)


def test_evaluation_repeats_what_the_run_reported(tmp_path):
    config = small(out=tmp_path / "run", method="tfr", setting="online", arch="small_runs:DROPPED")
    train(config)
    last = records(tmp_path / "run")[-1]
    assert evaluate_run(tmp_path / "run", "test", "last").accuracy == last["test_accuracy"]
    assert evaluate_run(tmp_path / "run", "validation", "last").accuracy == last["validation_accuracy"]
    found = evaluate_run(tmp_path / "run", "train")
    assert len(found.labels) == 90
    assert int(found.confusion(10).diagonal().sum()) == int((found.predictions == found.labels).sum())
    loaded = load_run(tmp_path / "run", "last")
    assert loaded.net.conv1.detach().numpy().tobytes() == arrays(tmp_path / "run")["net/conv1"].tobytes()
    with pytest.raises(UserError, match="last or best"):
        evaluate_run(tmp_path / "run", which="newest")
    with pytest.raises(UserError, match="train, validation or test"):
        evaluate_run(tmp_path / "run", "tset")
    with pytest.raises(UserError, match="holds no run"):
        load_run(tmp_path)


def test_ragged_batches_and_given_samples(tmp_path):
    """Any batch size works (DEV-27), and listed samples are used in their order."""
    import json

    subset = tmp_path / "subset.json"
    subset.write_text(
        json.dumps({"train": [5, 3, 8, 1, 0, 2, 9], "test": ["test/0/1440.png", "test/1/1437.png"]})
    )
    config = small(
        subset=subset, train_size=None, test_size=None, batch_size=3, validation=0.0, shuffle=False
    )
    data = load_data(config)
    assert data.train.rows.tolist() == [5, 3, 8, 1, 0, 2, 9]
    assert len(data.test) == 2
    result = train(replace(config, out=tmp_path / "run", epochs=1))
    assert (result.summary["train_samples"], result.summary["test_samples"]) == (7, 2)
    assert len(records(tmp_path / "run")[0]["batch_losses"]) == 3


@pytest.mark.parametrize(("method", "setting"), [("dalton", "online"), ("tfr", "rtrl"), ("surrgd", "bptt")])
def test_event_recordings(method, setting, tmp_path):
    """DEV-23: under faithful the smaller last batches of recordings are left out, and the test set is shuffled."""
    source = recordings(tmp_path / "tiny-events.zip")
    options = {
        "dataset": str(source), "cache_dir": tmp_path / "cache", "steps": 6, "train_size": None, "test_size": None,
        "batch_size": 4, "method": method, "setting": setting, "validation": 0.0, "epochs": 1,
    }  # fmt: skip
    batches = {}
    for profile in ("fixed", "faithful"):
        burn_in = None if setting == "bptt" else 2
        config = small(**options, profile=profile, burn_in=burn_in, out=tmp_path / profile)
        result = train(config)
        assert result.summary["dataset"] == "tiny-events"
        batches[profile] = len(records(tmp_path / profile)[0]["batch_losses"])
        portion = load_data(config).test
        found = [index.tolist() for index in portion.batch_indices(4, epoch=1)]
        order = [number for index in found for number in index]
        assert (len(order), order == sorted(order)) == ((10, True) if profile == "fixed" else (8, False))
    assert batches == {"fixed": 3, "faithful": 2}


def test_initial_weights_from_a_file_and_weight_scale(tmp_path):
    config = small()
    net = build_network(config, (1, 8, 8), 10)
    given = {name: t.numpy() + 1 for name, t in net.state_dict().items() if name != "readout_conv1"}
    np.savez(tmp_path / "w.npz", **given)
    loaded = build_network(replace(config, init_weights=tmp_path / "w.npz"), (1, 8, 8), 10)
    assert torch.equal(loaded.conv1, net.conv1 + 1)
    assert torch.equal(loaded.readout_conv1, net.readout_conv1)
    scaled = build_network(replace(config, weight_scale=1.0), (1, 8, 8), 10)
    assert torch.equal(scaled.dense1, net.dense1 / 2)
    assert torch.equal(scaled.conv1, net.conv1)
    assert torch.equal(scaled.out, net.out)
    normal = build_network(replace(config, weight_scale=1.0, readout_init="normal"), (1, 8, 8), 10)
    plain = build_network(replace(config, readout_init="normal"), (1, 8, 8), 10)
    assert torch.equal(normal.out, plain.out / 2)
    np.savez(tmp_path / "bad.npz", conv1=np.zeros(3))
    with pytest.raises(UserError, match="conv1 has shape"):
        build_network(replace(config, init_weights=tmp_path / "bad.npz"), (1, 8, 8), 10)
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as archive:
        archive.writestr("conv1.npy", b"no array")
    with pytest.raises(UserError, match=r"bad\.npz is damaged .*expected, found bytes\); write it again"):
        build_network(replace(config, init_weights=tmp_path / "bad.npz"), (1, 8, 8), 10)


@pytest.mark.parametrize(("method", "setting"), [("tfr", "bptt"), ("tfr", "online"), ("dalton", "bptt")])
def test_dumps(method, setting, tmp_path):
    pytest.importorskip("hickle")
    from dalton.formats.dumps import read_dump

    config = small(out=tmp_path / "run", method=method, setting=setting, dumps=True, epochs=2)
    train(config)
    training = read_dump(tmp_path / "run" / "epoch_2_training_all_rol_pred_and_true_clss.hdf5")
    test = read_dump(tmp_path / "run" / "epoch_2_test_all_rol_pred_and_true_clss.hdf5")
    last = records(tmp_path / "run")[-1]
    assert np.mean(training["dense_lyr_2"] == training["true_cls"]) == pytest.approx(last["train_accuracy"])
    predicted = test["dense_lyr_2"].mean(1).argmax(1)
    assert np.mean(predicted == test["true_cls"]) == pytest.approx(last["test_accuracy"])
    assert ("conv_lyr_1" in test) == (method == "tfr")
    if method == "tfr":
        assert len(training["conv_lyr_1"]) == (90 if setting == "bptt" else 0)
        assert test["conv_lyr_1"].shape == test["dense_lyr_2"].shape


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({}, True),
        ({"tau_cur": 2e-2}, True),
        ({"lr": 1e-4}, False),
        ({"tau_cur": 5e-3}, True),
        ({"tau_cur": 4e-3}, False),
        ({"tau_cur": None}, False),
        ({"setting": "bptt"}, False),
        ({"method": "tfr"}, False),
    ],
)
def test_a_learning_rate_too_large_for_a_long_filter_is_warned_of(changes, warned, tmp_path):
    """The default stays, since run ids and recorded numbers belong to it; the warning names the remedy."""
    given = {"method": "dalton", "setting": "online", "tau_cur": 1e-2} | changes
    config = small(epochs=0, out=tmp_path / "run", **given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(config)
    said = [str(warning.message) for warning in caught]
    assert len(said) == warned
    assert all("use --lr 1e-4" in text for text in said)
