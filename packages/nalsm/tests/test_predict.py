"""A run loaded to classify images or recordings: as its stored spike counts say, also on the command line."""

import csv
from dataclasses import replace
from pathlib import Path

import nalsm
import numpy as np
import pytest
from nalsm.cli import main
from nalsm.model.readout import LinearReadout
from nalsm.training.cost import inference_cost
from nalsm.training.pretrained import packed, predictor_of
from nalsm.training.runs import open_run, open_run_dataset
from nalsm_commands import command, run
from reprokit import UserError, load_images, run_id
from reprokit.run.pretrained import read_pretrained, write_pretrained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    assert run(command(folder)).returncode == 0
    return folder


def test_scores_are_those_of_the_stored_counts(trained: Path) -> None:
    opened = open_run(trained)
    counts, _ = opened.features("test")
    images = load_images("digits").test.images[: len(counts)]
    found = nalsm.load(trained).predict(images)
    assert np.array_equal(found.scores, opened.readout().scores(counts))
    assert np.array_equal(nalsm.load(trained, threads=2).predict(images[:, 0]).scores, found.scores)
    assert np.array_equal(nalsm.load(trained).predict(images[:9]).scores, found.scores[:9])


@pytest.mark.parametrize("neurons", [7, 64, 500, 1000])
def test_scores_of_a_sample_do_not_depend_on_the_others(neurons: int) -> None:
    rng = np.random.default_rng(neurons)
    weight = rng.normal(size=(neurons, 10)).astype(np.float32)
    readout = LinearReadout(weight, rng.normal(size=10).astype(np.float32), 0.3)
    counts = rng.integers(0, 20, (600, neurons)).astype(np.uint8)
    scores = readout.scores(counts)
    for few in (1, 2, 9, 100, 257):
        assert np.array_equal(readout.scores(counts[:few]), scores[:few])
        assert np.array_equal(readout.scores(counts[-few:]), scores[-few:])
    assert readout.scores(counts[:0]).shape == (0, 10)


def test_recordings_are_counted_in_milliseconds(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def part(samples: int) -> dict[str, np.ndarray]:
        events = 60 * samples
        columns = {
            "x": rng.integers(0, 4, events),
            "y": rng.integers(0, 3, events),
            "p": rng.integers(0, 2, events),
        }
        times = np.sort(rng.integers(0, 38_000, (samples, 60)), axis=1).ravel()
        return columns | {
            "t": times,
            "offsets": np.arange(samples + 1) * 60,
            "labels": np.arange(samples) % 3,
        }

    own = nalsm.save_event_arrays(tmp_path / "own.npz", part(30), part(6), (3, 4))
    changes = {"data": str(own), "initial_samples": "5", "duration": "40", "train_samples": "20",
               "validation_samples": "3", "test_samples": "6"}  # fmt: skip
    assert run(command(tmp_path / "run", **changes)).returncode == 0
    opened = open_run(tmp_path / "run")
    data, (counts, _) = open_run_dataset(opened), opened.features("test")
    events = data.source("test", np.arange(6), 0).events(40)
    raster = np.stack([events.at(t) for t in range(40)], axis=1)  # (sample, time, input)
    loaded, wanted = nalsm.load(tmp_path / "run"), opened.readout().scores(counts)
    assert np.array_equal(loaded.predict(raster).scores, wanted)
    assert np.array_equal(loaded.predict(raster.reshape(6, 40, 2, 3, 4)).scores, wanted)
    with pytest.raises(UserError, match="at least 40 ms"):
        loaded.predict(raster[:, :39])


def test_the_command_writes_what_python_returns(trained: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:5]
    np.save(tmp_path / "images.npy", images)
    words = [
        "predict",
        str(trained),
        "--data",
        str(tmp_path / "images.npy"),
        "--out",
        str(tmp_path / "out.csv"),
    ]
    assert main(words) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    found = nalsm.load(trained).predict(images)
    assert [int(row["class"]) for row in rows] == found.classes.tolist()
    assert [np.float32(row["score_1"]) for row in rows] == found.scores[:, 1].tolist()
    assert main([*words, "--which", "last"]) == 2


def test_what_depends_on_its_neighbours_is_refused(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_run(trained)
    faithful = replace(opened, config=replace(opened.config, carry_trace=True))
    monkeypatch.setattr("nalsm.training.prediction.open_run", lambda _: faithful)
    with pytest.raises(UserError, match="DEV-1, DEV-3"):
        nalsm.load(trained)


def test_a_packed_run_predicts_as_the_run_does_without_its_data(trained: Path, tmp_path: Path) -> None:
    images = load_images("digits").test.images[:5]
    kept = packed(trained)
    assert kept.arrays["post"].dtype.itemsize <= 2
    row = {"run_id": run_id(kept.config), "test_accuracy": 0.5, "test_samples": 20}
    found = predictor_of(read_pretrained(write_pretrained(tmp_path / "toy", kept, row)))
    assert np.array_equal(found.predict(images).scores, nalsm.load(trained).predict(images).scores)


def test_a_trained_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="pretrained model 'mnits' is unknown"):
        nalsm.pretrained("mnits")


def test_the_summary_counts_synapses_and_the_spikes_that_pass_through_them(trained: Path) -> None:
    opened = open_run(trained)
    network, found = opened.network, opened.stored.summary["inference"]
    synapses = int(network.active.sum())
    readout = network.liquid * 10
    assert found["parameters"] == synapses + readout + 10
    assert found["multiply_adds"] == synapses * opened.config.duration + readout
    raster = np.zeros((2, 3, network.neurons), np.uint8)
    raster[0, 1, 5] = raster[1, 0, network.neurons - 1] = raster[1, 2, network.neurons - 1] = 1
    counted = inference_cost(network, opened.readout(), 3, raster).synaptic_events
    leaving = [int(((network.pre == neuron) & network.active).sum()) for neuron in (5, network.neurons - 1)]
    assert counted == (leaving[0] + 2 * leaving[1]) / 2
    assert inference_cost(network, opened.readout(), 3, None).synaptic_events is None
