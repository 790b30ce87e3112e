"""Heartbeats: the encoder against its definition, beats and windows, splits, the study from the command line."""

import csv
from pathlib import Path

import numpy as np
import pytest
from denram import cli, load_data, open_run
from denram.config import HEARTBEAT, TrainConfig
from denram.data import heartbeat
from denram.data.ecg_toy import toy_record
from denram.data.heartbeat import DS1, DS2, balanced, chosen, encode, level_crossings, load_heartbeat
from denram.data.mitdb import EcgRecord
from denram.reproduce import heartbeat as study
from denram.reproduce.recurrent import draws, fires, initial, noisy, scores
from ecg_files import GAIN, ZERO, write_record
from hypothesis import given, settings
from hypothesis import strategies as st
from reprokit import UserError

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "mitdb"
BINNING = TrainConfig(**HEARTBEAT).binning


def crossings_by_definition(x: list[int], level: int) -> list[tuple[int, int]]:
    """Sample and direction (0 up, 1 down) of each spike; integers, so nothing is rounded."""
    found, reached = [], x[0]
    for step, value in enumerate(x):
        while value - reached >= level:
            reached += level
            found.append((step, 0))
        while reached - value >= level:
            reached -= level
            found.append((step, 1))
    return found


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 60).flatmap(
        lambda n: st.lists(st.lists(st.integers(-400, 400), min_size=n, max_size=n), min_size=1, max_size=3)
    ),
    st.integers(1, 90),
)
def test_level_crossings_equal_their_definition(rows, level):
    """In mV as a record has them: float32 multiples of 1 / 200."""
    up, down = level_crossings(np.array(rows, np.float32) / np.float32(GAIN), level / GAIN)
    for row, values in enumerate(rows):
        found = [(int(step), way) for way, part in enumerate((up, down)) for step in part[1][part[0] == row]]
        assert sorted(found) == sorted(crossings_by_definition(values, level))


def step_record(**changes) -> EcgRecord:
    """One beat at sample 200; lead I steps up by 0.35 mV 36 samples before it, lead II down by 0.25 mV after it."""
    signal = np.zeros((2, 400), np.float32)
    signal[0, 164:], signal[1, 236:] = 0.35, -0.25
    about = {"name": "1", "leads": ("MLII", "V1"), "rate": 360.0, "signal": signal}
    marks = {"marks": np.array([200]), "codes": np.array([5], np.uint8)}
    return EcgRecord(**{**about, **marks, **changes})


def test_a_beat_is_its_window_and_its_spikes_have_their_channels():
    beats = encode(step_record())
    assert beats.units.tolist() == [0, 0, 0, 3, 3]  # three levels up in lead I, two down in lead II
    np.testing.assert_allclose(
        beats.times, [72 / 360] * 3 + [144 / 360] * 2
    )  # the window begins 0.3 s = 108 samples early
    assert beats.labels.tolist() == [1]
    assert encode(step_record(), (0.2, 0.1)).units.tolist() == [0, 3, 3]
    swapped = step_record(leads=("V5", "MLII"))
    assert encode(swapped).units.tolist() == [2, 2, 2, 1, 1]


def test_beats_of_other_kinds_and_at_the_ends_are_left_out():
    marks, codes = np.array([107, 108, 150, 256, 257]), np.array([1, 2, 6, 10, 5], np.uint8)
    beats = encode(step_record(marks=marks, codes=codes))
    assert beats.labels.tolist() == [0, 1]
    np.testing.assert_allclose(beats.marks, [108 / 360, 256 / 360])


def test_classes_are_made_equal_and_records_become_speakers():
    beats = encode(toy_record(beats=30))
    halves = [chosen(beats, np.arange(12)), chosen(beats, np.arange(12, len(beats.labels)))]
    joined = balanced(halves, (101, 106), "here")
    assert np.bincount(joined.labels).tolist() == [10, 10]
    assert set(joined.speakers.tolist()) == {101, 106}
    ventricular = np.flatnonzero(beats.labels == 1)
    kept = np.flatnonzero(joined.labels == 1)
    for new, old in zip(kept, ventricular, strict=True):
        window = slice(joined.offsets[new], joined.offsets[new + 1])
        np.testing.assert_array_equal(joined.times[window], beats.times[beats.sample == old])
        np.testing.assert_array_equal(joined.units[window], beats.units[beats.sample == old])
    with pytest.raises(UserError, match="here: there are no ventricular beats; choose another record"):
        balanced([chosen(beats, np.flatnonzero(beats.labels == 0))], None, "here")


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder with tiny files for every record of DS1 and DS2, in place of the published ones."""
    toy = toy_record(beats=12)
    for number in (*DS1, *DS2):
        samples = np.rint(toy.signal.T * GAIN + ZERO + number % 7).astype(int)
        write_record(
            tmp_path, str(number), samples, list(zip(toy.marks.tolist(), toy.codes.tolist(), strict=True))
        )
    monkeypatch.setattr(heartbeat, "fetch", lambda name: {"mitdb": tmp_path}[name])
    return tmp_path


def test_splits_are_those_of_de_chazal_and_one_subject_is_in_one_part(mirror):
    assert (len(DS1), len(DS2), set(DS1) & set(DS2)) == (22, 22, set())
    assert not {102, 104, 107, 217} & {*DS1, *DS2}  # paced
    published, between = (load_heartbeat(f"heartbeat-{name}") for name in ("ds1-ds2", "patients"))
    assert set(published.train.speakers) == set(between.train.speakers) == set(DS1)
    assert set(published.test.speakers) == set(DS2)
    assert set(between.test.speakers) == set(DS2) - {202}  # 201 and 202 are one subject
    assert load_heartbeat("heartbeat-ds1-ds2", folder=mirror).test.labels.mean() == 0.5


def test_within_a_patient_the_later_part_tests(mirror):
    splits = load_heartbeat("heartbeat-208")
    beats = encode(heartbeat.read_record(mirror, "208"), (0.1, 0.1))
    early = beats.marks < 0.6 * 13 * 288 / 360
    assert len(splits.train) == 2 * np.sum(beats.labels[early] == 1)
    assert len(splits.test) == 2 * np.sum(beats.labels[~early] == 1)
    assert (splits.train.speakers, splits.channels, splits.class_names) == (
        None,
        4,
        ("normal", "ventricular"),
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: load_heartbeat("heartbeat-x"),
            "unknown heartbeat set 'heartbeat-x'; choose from heartbeat-toy",
        ),
        (lambda: TrainConfig(levels=(0.1, 0.0)), r"levels is 0\.1 0; it must be one number of mV above 0"),
        (lambda: TrainConfig(levels=(0.1, 0.1, 0.1)), "levels is .* or one for each"),
        (
            lambda: TrainConfig(levels=(0.2,)).check_used(),
            "levels is .* has no effect, because only heartbeats",
        ),
        (
            lambda: load_data("heartbeat-toy", BINNING, start="first-event"),
            "leave channels, time_unit and start to",
        ),
        (lambda: load_data("heartbeat-toy", TrainConfig(n_in=64).binning), "the data have 4 channels"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_the_preset_trains_and_the_run_finds_its_data_again(tmp_path, capsys):
    words = ["train", "heartbeat", "--data", "heartbeat-toy", "--nb-epochs", "2", "--batch-size", "16"]
    assert cli.main([*words, "--levels", "0.1", "0.2", "--out", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "4 of 4 channels ever fire" in out
    run = open_run(tmp_path / "run")
    assert run.config.levels == (0.1, 0.2)
    assert run.data().fingerprint == run.stored.config["data_fingerprint"]
    assert "levels" not in TrainConfig().content()


def test_recurrent_scores_equal_a_loop():
    import jax

    weights, rng = initial(jax.random.key(0), 4, 3, 2), np.random.default_rng(0)
    spikes, leak = (rng.random((12, 5, 4)) < 0.5).astype(np.uint8), 0.8

    found = np.asarray(jax.jit(scores, static_argnames="leak")(weights, spikes, leak=leak))
    inward, loop, bias, outward, offset = map(np.asarray, weights)
    for sample in range(5):
        potential, spiked, output, top = np.zeros(3), np.zeros(3), np.zeros(2), np.full(2, -np.inf)
        for x in spikes[:, sample]:
            potential = leak * potential * (1 - spiked) + x @ inward + spiked @ loop + bias
            spiked = (potential >= 1).astype(float)
            output = leak * output + spiked @ outward + offset
            top = np.maximum(top, output)
        np.testing.assert_allclose(found[sample], top, rtol=1e-5)


def test_the_surrogate_gradient_and_the_noise():
    import jax

    potential = np.array([0.0, 0.9, 1.0, 1.5], np.float32)
    spiked, back = jax.vjp(fires, potential)
    assert spiked.tolist() == [0, 0, 1, 1]
    np.testing.assert_allclose(
        back(np.full(4, 2.0, np.float32))[0], 2 / (1 + 5 * np.abs(potential - 1)) ** 2, rtol=1e-5
    )
    weights = initial(jax.random.key(0), 4, 3, 2)
    epsilon = draws(jax.random.key(1), 4, 3, 2)
    assert all(map(np.array_equal, noisy(weights, epsilon, 0.0), weights))
    read = noisy(weights, epsilon, 0.1)
    assert 0.02 < np.std(np.asarray(read.inward - weights.inward)) / np.abs(weights.inward).max() < 0.3


def test_the_grid_of_the_study():
    runs = study.grid("paper")
    count = {
        key: sum((source, network) == key for source, network, _ in runs) for key in {run[:2] for run in runs}
    }
    assert count == {
        **{("heartbeat-208", name): 25 + 15 for name in ("delays", "no-delays")},
        **{("heartbeat-patients", name): 25 + 15 for name in ("delays", "no-delays")},
        **{("heartbeat-ds1-ds2", name): 5 for name in ("delays", "no-delays")},
        **{(f"heartbeat-{name}", "recurrent"): 5 * (4 + 4) for name in ("208", "patients")},
    }
    for _, network, config in runs:
        if isinstance(config, TrainConfig):
            assert config.n_delays == 2 or (config.noise_std == 0 and config.n_delays in (4, 8, 16))
            assert config.n_in * 2 * 2 == 16
            assert (config.max_delay == 0) == (network == "no-delays")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The study at the smallest scale, from the command line."""
    out = tmp_path_factory.mktemp("heartbeat")
    small = study.Protocol({"heartbeat-toy": 2}, (0.0, 0.2), (42,), (4,))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(study.PROTOCOLS, "smoke", small)
        assert cli.main(["reproduce", "--only", "heartbeat", "--out", str(out)]) == 0
    return out


@pytest.mark.slow
def test_the_study_has_a_row_for_each_run_and_a_figure(smoke):
    with (smoke / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["network"], row["noise_std"]) for row in rows] == [
        (name, noise) for noise in ("0.0", "0.2") for name in ("delays", "no-delays", "recurrent")
    ]
    for row in rows:
        assert (row["claim"], row["dataset"], row["scale"]) == ("heartbeat", "heartbeat-toy", "smoke")
        assert row["n_parameters"] == {"recurrent": "46"}.get(row["network"], "18")
        assert row["n_synapses"] == {"recurrent": "40"}.get(row["network"], "16")
        assert 0 <= float(row["test_acc"]) <= 1
        assert row["data_digest"]
    assert (smoke / "heartbeat.png").read_bytes().startswith(b"\x89PNG")
    assert len((smoke / "heartbeat.csv").read_text().splitlines()) == 1 + len(rows)


def test_options_of_the_figure_do_not_act_on_the_study(tmp_path, capsys):
    words = ["reproduce", "--only", "heartbeat", "--out", str(tmp_path), "--engine", "fft"]
    assert cli.main(words) == 2
    assert "--engine does not act on the heartbeat study; leave it out" in capsys.readouterr().err


def test_real_beats_of_record_208():
    if not REAL.is_dir():
        pytest.skip(f"real records not found at {REAL}")
    splits = load_heartbeat("heartbeat-208", folder=REAL)
    assert (len(splits.train), len(splits.test)) == (1334, 650)
