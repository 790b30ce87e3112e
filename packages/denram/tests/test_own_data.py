"""Own recordings in SHD layout: channels, time units and windows; what is kept is reported, losses are refused."""

import re
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from denram import cli, load_data, open_run
from denram.config import TrainConfig
from denram.data.loading import load_data as load
from denram.spec import Binning
from denram.training.loop import identity
from reprokit import UserError


def write_recordings(
    folder: Path, *, channels=64, scale=1.0, kind=np.float32, longest=0.7, begin=0.0
) -> Path:
    """32 recordings in each part, in which every channel fires."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        with h5py.File(folder / f"shd_{part}.h5", "w") as file:
            times = file.create_dataset("spikes/times", (32,), h5py.vlen_dtype(kind))
            units = file.create_dataset("spikes/units", (32,), h5py.vlen_dtype(np.uint16))
            for index in range(32):
                count = 4 * channels
                times[index] = np.sort((begin + rng.uniform(0, longest, count)) * scale).astype(kind)
                units[index] = rng.permutation(np.arange(count) % channels).astype(np.uint16)
            file["labels"] = np.arange(32) % 4
    return folder


def train(folder: Path, out: Path, *flags: str) -> int:
    words = f"train --data {folder} --nb-epochs 1 --batch-size 8 --n-delays 2 --out {out}"
    return cli.main([*words.split(), *flags])


@pytest.mark.parametrize("channels", [64, 70, 140, 1024])
def test_channels_are_those_of_the_files(tmp_path, capsys, channels):
    folder = write_recordings(tmp_path / "data", channels=channels)
    assert train(folder, tmp_path / "run", "--n-in", str(channels)) == 0
    count = 64 * 4 * channels
    out = capsys.readouterr().out
    assert f"kept {count} of {count} spikes, {channels} of {channels} channels ever fire" in out
    run = open_run(tmp_path / "run")
    assert run.config.channels == channels
    assert run.data().channels == channels
    assert cli.main(["evaluate", str(tmp_path / "run"), "--devices", "2"]) == 0


def test_more_inputs_than_channels_keep_every_spike(tmp_path, capsys):
    folder = write_recordings(tmp_path / "data")
    assert train(folder, tmp_path / "run", "--n-in", "100") == 0
    assert "kept 16384 of 16384 spikes, 64 of 100 channels ever fire" in capsys.readouterr().out


def test_thinning_own_data_is_refused_until_allowed(tmp_path, capsys):
    folder = write_recordings(tmp_path / "data", channels=128)
    assert train(folder, tmp_path / "run", "--n-in", "64") == 2
    message = capsys.readouterr().err
    assert "shd_train.h5: 8192 of 16384 spikes are of channels that are not kept" in message
    assert "give --n-in 128" in message
    assert not (tmp_path / "run").exists()
    with pytest.warns(UserWarning, match="not kept"):
        assert train(folder, tmp_path / "run", "--n-in", "64", "--allow-loss") == 0
    assert "kept 16384 of 32768 spikes, 64 of 64 channels ever fire" in capsys.readouterr().out


def test_given_channels_act_and_are_refused_where_they_cannot(tmp_path):
    folder = write_recordings(tmp_path / "data")
    thinned = load_data(folder, Binning(n_in=64), channels=700)
    assert thinned.channels == 700
    with pytest.raises(UserError, match="allowed: channels 0 to 31"):
        load_data(folder, Binning(n_in=32), channels=32)
    with pytest.raises(UserError, match="spoken-toy has 700 channels"):
        load_data("spoken-toy", Binning(n_in=64), channels=64)
    with pytest.raises(UserError, match="spoken-toy has 700 channels and times in seconds"):
        load_data("spoken-toy", Binning(n_in=64), time_unit="ms")


@pytest.mark.parametrize(
    ("unit", "scale", "kind"),
    [("ms", 1e3, np.float32), ("us", 1e6, np.float64), ("ms", 1e3, np.int32), ("us", 1e6, np.int64)],
)
def test_times_in_other_units(tmp_path, capsys, unit, scale, kind):
    folder = write_recordings(tmp_path / "data", scale=scale, kind=kind)
    if np.issubdtype(kind, np.floating):
        assert train(folder, tmp_path / "run", "--n-in", "64") == 2
        assert re.search(
            rf"shd_train.h5: \d+ of 8192 spikes .* give --time-unit {unit}", capsys.readouterr().err
        )
    assert train(folder, tmp_path / "run", "--n-in", "64", "--time-unit", unit) == 0
    assert "kept 16384 of 16384 spikes, 64 of 64" in capsys.readouterr().out
    assert open_run(tmp_path / "run").data().train.n_kept == 8192


def test_spikes_after_the_steps_are_counted_and_refused_until_allowed(tmp_path):
    folder = write_recordings(tmp_path / "data", longest=1.3)
    with pytest.raises(UserError, match=r"spikes come after the 150 steps of 0.005 s .* give more --steps"):
        load_data(folder, Binning(n_in=64))
    with pytest.warns(UserWarning, match="spikes come after the 150 steps"):
        load_data(folder, Binning(n_in=64), allow_loss=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_data(folder, Binning(n_in=64, steps_in=280)).train.n_cut == 0


@pytest.mark.parametrize(("begin", "scale", "unit"), [(0.3, 1.0, "s"), (4.0, 1.0, "s"), (1e9, 1e6, "us")])
def test_a_clock_that_does_not_begin_at_zero_is_named_and_can_be_set(tmp_path, begin, scale, unit):
    options = {"begin": begin, "scale": scale, "kind": np.float64}
    folder = write_recordings(tmp_path / "data", **options)
    with pytest.raises(
        UserError, match=r"half of the recordings begin after \S+ s: give --start first-event, or"
    ):
        load_data(folder, Binning(n_in=64), time_unit=unit)
    moved = load_data(folder, Binning(n_in=64), time_unit=unit, start="first-event")
    assert moved.train.n_cut == 0
    steps = load_data(
        write_recordings(tmp_path / "zero"), Binning(n_in=64), start="first-event"
    ).train.events.steps
    assert np.mean(moved.train.events.steps != steps) < 0.001  # float32 at a step's edge
    with pytest.raises(UserError, match="start is 'begin'; it must be one of zero, first-event"):
        load_data(folder, Binning(n_in=64), start="begin")


def test_the_clock_of_a_known_set_stays():
    with pytest.raises(
        UserError, match="the clock of spoken-toy is the published one; leave start to own data"
    ):
        load_data("spoken-toy", Binning(n_in=64), start="first-event")
    assert "start" not in TrainConfig().content()
    assert TrainConfig(start="first-event").content()["start"] == "first-event"


def test_a_shorter_step_says_what_it_loses(tmp_path, capsys):
    folder = write_recordings(tmp_path / "data")
    flags = ("--n-in", "64", "--dt", "0.001")
    assert train(folder, tmp_path / "run", *flags) == 2
    assert "spikes come after the 150 steps of 0.001 s" in capsys.readouterr().err
    with pytest.warns(UserWarning, match="come after"):
        assert train(folder, tmp_path / "run", *flags, "--allow-loss") == 0
    assert re.search(r"9\d\.\d% of the delays are at the longest, 200 timesteps", capsys.readouterr().out)


def test_the_known_sets_keep_their_numbers_and_run_ids():
    data = load("spoken-toy", Binning(n_in=100))
    assert (data.channels, data.train.n_cut) == (700, 0)
    assert {"channels", "time_unit", "start", "allow_loss"}.isdisjoint(identity(TrainConfig(n_in=100), data))
