"""TensorBoard events: what a run writes can be read back; without TensorBoard the option is refused."""

import json
import sys
from dataclasses import replace

import pytest
from reprokit import UserError
from sbs.presets import preset
from sbs.training.loop import train
from sbs.training.tracking import Tracker

UPDATES = 3


def events(folder):
    reading = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard"
    )
    found = reading.EventAccumulator(str(folder))
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_leaves_loss_error_and_histograms(tmp_path):
    pytest.importorskip("tensorboard", reason="needs tensorboard")
    base = preset("digits-smoke")
    config = replace(
        base,
        network=replace(base.network, number_of_spikes=20),
        learning=replace(base.learning, updates=UPDATES, batch_size=16),
        data=replace(base.data, limit_train=100, limit_test=40),
        test_every=0,
    )
    train(config, tmp_path, tensorboard=True)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    found = events(tmp_path / "tensorboard")
    assert [event.step for event in found.Scalars("Train Loss")] == list(range(1, UPDATES + 1))
    assert found.Scalars("Test Error")[-1].value == pytest.approx(100 - records[-1]["accuracy"], abs=1e-4)
    assert {"Weights 0", "Epsilon XY 0"} <= set(found.Tags()["histograms"])


def test_without_tensorboard_the_library_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match="pip install tensorboard"):
        Tracker(tmp_path)
    assert not list(tmp_path.iterdir())
