"""The part spike-curve: one setting of the training changed at a time, and recorded weights under the same code."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from reprokit import UserError
from reprokit.run.study import ReproduceOptions, chosen
from sbs.cli import main
from sbs.config import check
from sbs.data.loading import load_dataset
from sbs.formats.weights import save_npz
from sbs.model.networks import sbs_layers
from sbs.presets import preset
from sbs.reproduce.figures import draw
from sbs.reproduce.plan import reproduce, tasks
from sbs.reproduce.spike_curves import larger_steps, recorded_identity, recorded_model, variants
from sbs.training.runs import InputShape

SMALL = preset("digits-smoke")
SMALL = replace(
    SMALL,
    learning=replace(SMALL.learning, updates=1, batch_size=4),
    data=replace(SMALL.data, limit_train=12, limit_test=10),
    network=replace(SMALL.network, number_of_spikes=8),
    test_during_learning=False,
)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("sbs.reproduce.plan.preset", lambda name: SMALL)
    monkeypatch.setattr("sbs.reproduce.plan.SPIKE_COUNTS", {"smoke": (2, 4)})


@pytest.fixture
def weights(tmp_path):
    """Weights of the small network, in a file with something else next to them."""
    network = InputShape.of(SMALL, load_dataset("digits")).network(replace(SMALL, seed=9))
    file = save_npz(network, tmp_path / "recorded.npz")
    with np.load(file) as arrays:
        np.savez(file, **dict(arrays), accuracy=np.ones(3))  # type: ignore[arg-type]
    return file, network


def test_each_variant_changes_one_setting():
    base = preset("mnist-v2")
    plain = base.content()
    found = {}
    for name, config in variants(base).items():
        check(config)
        content = config.content()
        assert content.pop("name") == f"mnist-v2-{name}"
        found[name] = {
            f"{room}.{key}": value
            for room in ("network", "learning")
            for key, value in content[room].items()
            if value != plain[room][key]
        }
        assert {key: value for key, value in content.items() if key not in ("network", "learning")} == {
            key: value for key, value in plain.items() if key not in ("network", "learning", "name")
        }
    assert found == {
        "few-spikes": {"network.number_of_spikes": 400},
        "slow-decay": {"network.exponent": 0.25},
        "sparse": {"learning.weight_threshold": 1e-5},
        "forgetting": {"network.forgetting_offset": 0.1},
    }


def test_recorded_weights_are_read_where_they_are(weights, tmp_path):
    file, network = weights
    model = recorded_model(SMALL, file, load_dataset("digits"))
    for ours, theirs in zip(sbs_layers(model.network), sbs_layers(network), strict=True):
        np.testing.assert_allclose(ours.weights.detach(), theirs.weights.detach(), rtol=1e-6)
    first = recorded_identity(SMALL, file, 4)
    assert str(tmp_path) not in json.dumps(first)
    assert first != recorded_identity(SMALL, file, 5)
    np.savez(file, weights_L0=np.ones((2, 2)))
    assert first != recorded_identity(SMALL, file, 4)
    with pytest.raises(UserError, match=r"weights_L0 has shape \(2, 2\)"):
        recorded_model(SMALL, file, load_dataset("digits"))
    with pytest.raises(UserError, match=r"--weights .*none\.npz does not exist; give an \.npz file"):
        recorded_identity(SMALL, tmp_path / "none.npz", 4)


def test_steps_are_larger_inside_the_block_only():
    network = InputShape.of(SMALL, load_dataset("digits")).network(SMALL)
    before = [layer.epsilon_0 for layer in sbs_layers(network)]
    with larger_steps(network, 4.0):
        assert [layer.epsilon_0 for layer in sbs_layers(network)] == [4 * value for value in before]
    assert [layer.epsilon_0 for layer in sbs_layers(network)] == before


def test_the_part_is_done_only_when_named(quick, weights):
    found = tasks(ReproduceOptions(), weights=weights[0])
    assert [task.claim for task in chosen(found, ())] == ["sbs-digits"]
    assert [task.claim for task in chosen(found, ("spike-curve",))] == [
        *(f"sbs-digits-{name}" for name in ("step-2", "step-4", "original", *variants(SMALL))),
    ]  # fmt: skip
    assert len({row for task in found for row in task.rows}) == sum(len(task.rows) for task in found)
    with pytest.raises(UserError, match=r"is for the part spike-curve, .*add --only spike-curve"):
        reproduce(ReproduceOptions(), weights[0])


def test_a_long_training_runs_only_under_its_own_name():
    found = tasks(ReproduceOptions(scale="paper"))
    labels = [task.label for task in chosen(found, ("mnist-v2", "mnist-v1"))]
    assert labels == ["mnist-v2, seed 0", "mnist-v1, seed 0"]
    (task,) = chosen(found, ("sbs-mnist-v2-20",))
    assert (task.label, len(task.rows)) == ("mnist-v2-20, seed 0", 6)
    labels = [task.label for task in found]
    assert len(set(labels)) == len(labels)


def test_the_original_s_quirks_are_set_for_the_threads_of_the_run():
    (task,) = chosen(tasks(ReproduceOptions(scale="paper", threads=7)), ("sbs-mnist-v1-faithful",))
    learning = task.config["config"]["learning"]
    assert (learning["constraint"], learning["batch_size"] % 7) == ("norm-first", 0)
    assert task.config["config"]["augmentation"]["once_per_batch"]


@pytest.mark.slow
def test_curves_of_all_are_in_one_figure(quick, weights, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    shown = [f"digits-smoke{end}" for end in ("", "-original", "-step-2", "-step-4")]
    few = dict(list(variants(SMALL).items())[:1])
    monkeypatch.setattr("sbs.reproduce.plan.variants", lambda base: few)
    words = [
        "reproduce",
        "--only",
        "spike-curve",
        "--only",
        "sbs-digits",
        "--weights",
        str(weights[0]),
        "--out",
    ]
    assert main([*words, str(out)]) == 0
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["run_id"] for row in rows}) == len(rows)
    points = {(row["network"], int(row["number_of_spikes"])) for row in rows}
    assert points == {
        *((name, count) for name in shown for count in (2, 4, 8)),
        *(("digits-smoke-few-spikes", count) for count in (2, 4)),
    }
    recorded = [row for row in rows if row["network"] == "digits-smoke-original"]
    assert {row["claim"] for row in recorded} == {"sbs-digits-original-spikes"}
    assert str(tmp_path) not in "".join(row["config"] for row in recorded)
    assert all(row["data_digest"] for row in rows)
    figures = {path.name for path in out.glob("*.png")}
    assert figures == {"spike-curves-digits-smoke-smoke.png", "spikes-digits-smoke-smoke.png"}
    lines = (out / "spike-curves-digits-smoke-smoke.csv").read_text().splitlines()
    assert len(lines) == 1 + len(points)
    assert not list(out.rglob("recorded.npz"))
    capsys.readouterr()
    assert main([*words, str(out)]) == 0
    assert "5 skipped" in capsys.readouterr().out


def test_a_longer_training_of_the_network_is_a_line_of_its_own(tmp_path):
    def row(claim, count, accuracy, updates=375):
        return {
            "network": "mnist-v2", "scale": "paper", "seed": 0, "claim": claim, "dataset": "mnist",
            "test_images": 10_000, "updates": updates, "loss": "mixed", "number_of_spikes": count,
            "test_accuracy": accuracy,
        }  # fmt: skip

    own = [row("sbs-mnist-v2-spikes", 400, 87.0), row("sbs-mnist-v2", 1600, 99.2)]
    longer = [row("sbs-mnist-v2-20-spikes", 400, 97.6, 2500), row("sbs-mnist-v2-20", 1600, 99.1, 2500)]
    files = draw(own + longer, tmp_path)
    names = {"spikes-mnist-v2-paper", "spikes-mnist-v2-20-paper"}
    assert {file.stem for file in files} == {"spike-curves-mnist-v2-paper", *names}
    for name, expected in zip(sorted(names, reverse=True), ([87.0, 99.2], [97.6, 99.1]), strict=True):
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            assert [float(line["accuracy"]) for line in csv.DictReader(file)] == expected
    with (tmp_path / "spike-curves-mnist-v2-paper.csv").open(newline="") as file:
        lines = [(line["network"], float(line["accuracy"])) for line in csv.DictReader(file)]
    assert lines == [
        ("mnist-v2", 87.0), ("mnist-v2", 99.2), ("mnist-v2-20", 97.6), ("mnist-v2-20", 99.1),
    ]  # fmt: skip
    assert {file.stem for file in draw(longer, tmp_path / "alone")} == {"spikes-mnist-v2-20-paper"}
    single = [row(claim, 1600, 99.0) for claim in ("sbs-mnist-v2", "sbs-mnist-v2-faithful")]
    assert draw(single, tmp_path / "points") == []
