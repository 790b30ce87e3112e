"""A run loaded to classify: scores agree with those of its data; bad samples are refused."""

import csv
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import denram
import numpy as np
import pytest
from denram import cli
from denram.training.prediction import Predictor
from denram.training.pretrained import packed, predictor_of
from reprokit import Recordings, UserError, load_recordings, run_id
from reprokit.readers.shd import write_shd
from reprokit.run.pretrained import read_pretrained, write_pretrained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "run"
    config = denram.TrainConfig(
        data="spoken-toy", n_in=64, n_delays=4, nb_epochs=1, batch_size=32, devices=2, out=folder
    )
    denram.train(config)
    return folder


def expected(run: Path) -> np.ndarray:
    opened = denram.open_run(run)
    return opened.network().scores(opened.weights, opened.data().test.events)


def test_all_forms_of_spikes_give_the_scores_of_the_run(run: Path) -> None:
    loaded, test = denram.load(run), load_recordings("spoken-toy").test
    wanted = expected(run)
    dense = denram.open_run(run).data().test.events.dense().transpose(1, 0, 2)
    columns = {"times": test.times, "units": test.units, "offsets": test.offsets}
    for samples in (dense, test, columns):
        found = loaded.predict(samples)
        assert np.array_equal(found.scores, wanted)
        assert np.array_equal(found.classes, wanted.argmax(1))


@pytest.mark.filterwarnings("ignore:.*not kept")
def test_own_recordings_are_on_the_clock_and_in_the_unit_of_the_run(run: Path, tmp_path: Path) -> None:
    toy = load_recordings("spoken-toy")
    for name, part in (("train", toy.train), ("test", toy.test)):
        keep = part.units < (60 if name == "train" else 30)  # the run's channels decide the thinning
        kept = np.concatenate([[0], np.cumsum(keep)])[part.offsets]
        times = np.round(part.times[keep] * 1000 + 2000)  # ms on a clock that began 2 s before
        write_shd(
            tmp_path / f"shd_{name}.h5",
            Recordings(times.astype(np.float32), part.units[keep], kept, part.labels),
        )
    opened = denram.open_run(run)
    config = replace(
        opened.config, data=str(tmp_path), n_in=30, time_unit="ms", start="first-event", allow_loss=True
    )  # fmt: skip
    read = denram.load_data(tmp_path, config.binning, time_unit="ms", start="first-event", allow_loss=True)
    assert read.channels == 60
    there = SimpleNamespace(config=config, data=lambda: read)
    stored = load_recordings(tmp_path, channels=None).test  # half-precision times, as the run would read them
    columns = {"times": stored.times, "units": stored.units, "offsets": stored.offsets}
    events = Predictor(there, opened.network(), "auto")._events(columns)  # type: ignore[arg-type]
    assert np.array_equal(events.dense(), read.test.events.dense())


def test_the_command_writes_what_python_returns(run: Path, tmp_path: Path) -> None:
    test = load_recordings("spoken-toy").test
    end = test.offsets[6]
    np.savez(tmp_path / "own.npz", times=test.times[:end], units=test.units[:end], offsets=test.offsets[:7])
    words = ["predict", str(run), "--data", str(tmp_path / "own.npz"), "--out", str(tmp_path / "out.csv")]
    assert cli.main(words) == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    wanted = expected(run)[:6]
    assert [int(row["class"]) for row in rows] == wanted.argmax(1).tolist()
    assert [np.float32(row["score_0"]) for row in rows] == wanted[:, 0].tolist()


@pytest.mark.parametrize(
    ("samples", "says"),
    [
        (np.zeros((2, 3, 64)), r"takes 0 and 1, \(sample, 150, 64\)"),
        (np.full((1, 150, 64), 2), "values other than 0 and 1"),
        (np.zeros((0, 150, 64)), "no sample"),
        ({"times": np.zeros(1), "units": np.zeros(1, int)}, "add offsets"),
        ({"times": np.zeros(1), "units": np.zeros(2, int), "offsets": np.array([0, 1])}, "do not fit"),
        ({"times": np.zeros(1), "units": np.full(1, 700), "offsets": np.array([0, 1])}, "channel 700"),
    ],
)
def test_other_samples_are_refused(run: Path, samples: object, says: str) -> None:
    loaded = denram.load(run)
    with pytest.raises(UserError, match=says):
        loaded.predict(samples)


def test_a_packed_run_predicts_as_the_run_does_without_its_data(run: Path, tmp_path: Path) -> None:
    spikes = load_recordings("spoken-toy").test
    kept = packed(run)
    assert kept.arrays["delays"].dtype == np.uint8
    row = {"run_id": run_id(kept.config), "test_accuracy": 0.5, "test_samples": 20}
    found = predictor_of(read_pretrained(write_pretrained(tmp_path / "toy", kept, row)))
    assert np.array_equal(found.predict(spikes).scores, denram.load(run).predict(spikes).scores)


def test_a_trained_network_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="pretrained model 'mnits' is unknown"):
        denram.pretrained("mnits")


def test_the_summary_counts_connections_and_the_spikes_that_pass_through_them(run: Path) -> None:
    opened = denram.open_run(run)
    events, (outputs, weights) = opened.data().test.events, opened.weights.shape
    found = opened.result()["inference"]
    assert found["parameters"] == outputs * weights
    assert found["multiply_adds"] == outputs * weights * (150 + 200)
    assert found["synaptic_events"] == events.dense().sum() / len(events) * 4 * outputs
