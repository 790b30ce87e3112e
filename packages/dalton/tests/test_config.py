"""Options: the original's constants and names, and how the profiles set them."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from dalton import TrainConfig
from dalton.names import duration
from dalton.training.runs import run_directory
from reprokit import UserError, run_id
from reprokit.config import rebuild
from small_runs import small


def test_constants_of_the_original():
    config = TrainConfig()
    expected = {
        "threshold": 1.0, "surrogate_scale": 5.0, "reset": "hard", "weight_scale": 2.0, "readout_init": "uniform",
        "dtype": "float32", "loss": "mse", "lr": 1e-3, "lr_decay": 0.5, "lr_decay_epochs": 30, "augment": False,
        "tau_cur": 1e-3, "bias": 0.0, "time_window": 1000, "downsample": "avgpool",
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    steps = {"mnist": 40, "fashion-mnist": 50, "cifar10": 60}
    assert {name: duration(name, False).train for name in steps} == steps
    frames = {"dvs-gesture": (500, 1790), "cifar10-dvs": (500, 1141), "n-mnist": (300, 300)}
    assert {n: (duration(n, True).train, duration(n, True).test) for n in frames} == frames


def test_names_of_the_original():
    config = TrainConfig(method="DALTON_RTRL_SCNN", dataset="DVS_MNIST", arch="3")
    assert (config.method, config.setting, config.dataset, config.arch) == (
        "dalton",
        "online",
        "n-mnist",
        "A3",
    )
    assert TrainConfig(method="srgt_gd_scnn").method == "surrgd"
    assert [TrainConfig(dataset=n).dataset for n in ("MNIST", "FMNIST", "CIFAR10", "DVS_GESTURE", "DVS_CIFAR10")] == [
        "mnist", "fashion-mnist", "cifar10", "dvs-gesture", "cifar10-dvs",
    ]  # fmt: skip
    assert (TrainConfig(arch="a2").arch, TrainConfig(arch="own.module:net").arch) == ("A2", "own.module:net")
    with pytest.raises(UserError, match="leave one out"):
        TrainConfig(method="DALTON_RTRL_SCNN", setting="rtrl")


def test_the_reader_is_part_of_the_id_only_when_it_is_not_the_default():
    config = TrainConfig(dataset="DVS_GESTURE")
    assert "reader" not in config.content()
    assert replace(config, reader="tonic").content()["reader"] == "tonic"
    with pytest.raises(UserError, match="--reader is 'hdf5'; it must be one of reprokit, tonic"):
        TrainConfig(reader="hdf5")


def test_learning_rate_halves_at_the_start_of_every_30th_epoch():
    config = TrainConfig(lr=1e-3)
    assert [config.rate(epoch) for epoch in (1, 29, 30, 59, 60, 90)] == [
        1e-3,
        1e-3,
        5e-4,
        5e-4,
        2.5e-4,
        1.25e-4,
    ]
    assert replace(config, lr_decay_epochs=0).rate(300) == 1e-3


def test_dev20_dev21_protocol_of_the_profiles():
    """DEV-20 and DEV-21: Adam forgets every epoch, and the test set chooses the best one, only under faithful."""
    fixed, faithful = TrainConfig(), TrainConfig(profile="faithful")
    assert (fixed.resolved_optimizer_reset(), faithful.resolved_optimizer_reset()) == (False, True)
    assert (fixed.resolved_validation(), faithful.resolved_validation()) == (0.1, 0.0)
    assert replace(faithful, validation=0.2, reset_optimizer_each_epoch=False).resolved_validation() == 0.2


def test_dev22_burn_in():
    """DEV-22: the original's 50 steps, whatever the sequence, against a quarter of short ones."""
    fixed = TrainConfig(method="tfr", setting="online")
    assert [fixed.resolved_burn_in(steps) for steps in (40, 60, 300, 1790)] == [10, 15, 50, 50]
    assert TrainConfig().resolved_burn_in(40) == 0
    faithful = replace(fixed, profile="faithful")
    assert faithful.resolved_burn_in(60) == 50
    for steps in (40, 50):  # the original crashes on MNIST and learns nothing on FMNIST
        with pytest.raises(UserError, match="nothing would be learnt"):
            faithful.resolved_burn_in(steps)
    with pytest.raises(UserError, match=r"--burn-in is 8.*8 time-steps"):
        replace(fixed, steps=8, burn_in=8)


def test_dev25_every_configuration_has_a_folder_of_its_own():
    """DEV-25: the original writes A4 and A5, pooled and strided, other batch sizes into one folder."""
    base = TrainConfig()
    others = [
        replace(base, **change)
        for change in (
            {"arch": "A5"},
            {"downsample": "stride"},
            {"batch_size": 250},
            {"augment": True},
            {"seed": 1},
        )
    ]
    assert len({run_directory(config) for config in [base, *others]}) == 6
    assert run_directory(replace(base, threads=1, checkpoint_epochs=5)) == run_directory(base)


def test_content_rebuilds_and_follows_files(tmp_path):
    config = small(tau_cur=None)
    content = json.loads(json.dumps(config.content()))
    assert run_id(rebuild(TrainConfig, content, "config.json").content()) == run_id(config.content())
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    for path in (first, second):
        path.write_text(json.dumps({"train": [1]}))
    same = [replace(config, subset=path).content()["subset"] for path in (first, second)]
    assert same[0] == same[1] != str(first)
    second.write_text(json.dumps({"train": [2]}))
    assert replace(config, subset=second).content()["subset"] != same[0]
    with pytest.raises(UserError, match="is not a file"):
        replace(config, init_weights=Path("nowhere.npz"))
    with pytest.raises(UserError, match="wrong"):
        rebuild(TrainConfig, {"wrong": 1}, "options.json")


def test_every_option_is_documented():
    import inspect

    from dalton import config
    from dalton import config as options

    source = inspect.getsource(options) + inspect.getsource(config)
    for field in fields(TrainConfig):
        assert f"    {field.name}: " in source, field.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "daltn"}, "did you mean 'dalton'"),
        ({"setting": "onlin"}, "did you mean 'online'"),
        ({"profile": "original"}, "fixed, faithful"),
        ({"downsample": "max"}, "maxpool"),
        ({"loss": "bce"}, "mse, ce"),
        ({"gain": 0.0}, "gain is 0.0; it must be a positive"),
        ({"gain": -1.0}, "positive"),
        ({"tau_cur": 0.0}, "positive number or None"),
        ({"bias": float("nan")}, "finite"),
        ({"threshold": 0.0}, "positive"),
        ({"lr": float("inf")}, "positive"),
        ({"batch_size": 0}, "positive integer"),
        ({"epochs": -1}, "zero or a positive"),
        ({"steps": 0}, "positive integer"),
        ({"validation": 1.0}, "below 1"),
        ({"seed": -1}, "between 0"),
        ({"lr_decay": 2.0}, "at most 1"),
        ({"method": "surrgd", "setting": "online"}, "not defined for --method surrgd"),
        ({"loss": "ce"}, "use --loss mse"),
        ({"loss": "ce", "method": "DALTON_RTRL_SCNN"}, "use --loss mse"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else None,
)
def test_refusals(change, words):
    with pytest.raises(UserError, match=words):
        small(**change)
