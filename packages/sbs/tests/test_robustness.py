"""The part robustness: an SbS network and a plain one of the same size under noise and lost spikes."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs.cli import main
from sbs.config import LayerConfig
from sbs.data.loading import load_dataset
from sbs.presets import preset
from sbs.reproduce import robustness
from sbs.reproduce.robustness import LEVELS, NETWORKS, measure, plain_network, train_plain, weights_in
from sbs.training.runs import InputShape, Model
from torch import nn

SMALL = preset("digits-smoke")
SMALL = replace(
    SMALL,
    learning=replace(SMALL.learning, updates=3, batch_size=40),
    data=replace(SMALL.data, limit_test=30),
    network=replace(SMALL.network, number_of_spikes=20),
    test_during_learning=False,
)


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """An SbS network, the plain one, and the images."""
    dataset = load_dataset("digits")
    shape = InputShape.of(SMALL, dataset)
    longer = replace(SMALL, learning=replace(SMALL.learning, updates=300))
    plain = train_plain(longer, dataset, tmp_path_factory.mktemp("plain") / "weights.npz")
    return Model(shape.network(SMALL), SMALL, shape, 0), plain, dataset.test.first(100)


@pytest.mark.parametrize("name", ["digits-smoke", "mnist-v2"])
def test_the_plain_network_has_as_many_weights(name):
    config = preset(name)
    side = 8 if name == "digits-smoke" else 24
    shape = InputShape(1, side, side, 10, (0.5,))
    plain = plain_network(config, shape)
    assert weights_in(plain) == weights_in(shape.network(config)) > 0
    assert plain(torch.zeros(2, 1, side, side)).shape == (2, 10, 1, 1)
    pooled = replace(
        config,
        network=replace(
            config.network,
            layers=tuple(
                LayerConfig("sbs-pool", kernel=layer.kernel, stride=layer.stride)
                if layer.kind == "average-pool"
                else layer
                for layer in config.network.layers
            ),
        ),
    )
    assert weights_in(shape.network(pooled)) == weights_in(plain_network(pooled, shape)) == weights_in(plain)


@pytest.mark.slow
def test_a_plain_network_learns_and_is_trained_once(subject, tmp_path):
    model, plain, images = subject
    assert measure(model, plain, images, "plain", "input", 0.0).accuracy > 50
    dataset = load_dataset("digits")
    first = train_plain(SMALL, dataset, tmp_path / "w.npz")
    written = (tmp_path / "w.npz").stat().st_mtime_ns
    again = train_plain(SMALL, dataset, tmp_path / "w.npz")
    assert (tmp_path / "w.npz").stat().st_mtime_ns == written
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    (tmp_path / "w.npz").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"w\.npz.*delete it, and the network is trained again"):
        train_plain(SMALL, dataset, tmp_path / "w.npz")


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", LEVELS)
def test_level_0_changes_nothing_and_much_noise_hurts(subject, network, kind):
    model, plain, images = subject
    usual = measure(model, plain, images, network, "input", 0.0)
    assert measure(model, plain, images, network, kind, 0.0).correct == usual.correct
    before = [value.clone() for value in (*model.network.parameters(), *plain.parameters())]
    worse = measure(model, plain, images, network, kind, 0.95 if kind == "lost" else 9.0)
    if network == "plain":  # the SbS network is not trained here
        assert worse.correct < usual.correct
    assert measure(model, plain, images, network, kind, 0.5).correct == (
        measure(model, plain, images, network, kind, 0.5).correct
    )
    for a, b in zip(before, (*model.network.parameters(), *plain.parameters()), strict=True):
        assert torch.equal(a, b)  # copies are changed


def test_what_each_kind_does(subject, monkeypatch):
    model, plain, images = subject
    seen = {}
    monkeypatch.setattr(
        robustness,
        "evaluate",
        lambda network, _, shown, **rest: seen.update(
            network=network, shown=shown, spikes=rest["number_of_spikes"]
        ),
    )
    measure(model, plain, images, "sbs", "input", 0.3)
    clean = images.images / images.largest
    noise = seen["shown"].images - clean
    inside = (seen["shown"].images > 0) & (seen["shown"].images < 1)
    assert 0 <= seen["shown"].images.min() <= seen["shown"].images.max() <= 1
    assert np.abs(noise[inside]).max() > 0.3
    measure(model, plain, images, "sbs", "lost", 0.75)
    assert seen["spikes"] == 5
    measure(model, plain, images, "sbs", "weights", 0.4)
    for changed, layer in zip(seen["network"], model.network, strict=True):
        if not isinstance(layer, nn.AvgPool2d):
            torch.testing.assert_close(changed.weights.sum(0), torch.ones(changed.weights.shape[1]))
            assert bool((changed.weights >= 0).all())
            assert not torch.equal(changed.weights, layer.weights)
    measure(model, plain, images, "plain", "lost", 0.5)
    received = []
    seen["network"][0].register_forward_hook(lambda _, inputs, __: received.append(inputs[0]))
    seen["network"](torch.ones(20, 1, 8, 8))
    assert set(received[0].unique().tolist()) == {0.0, 1.0}
    assert 0.4 < received[0].mean() < 0.6


@pytest.mark.slow
def test_the_part_leaves_rows_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sbs.reproduce.plan.preset", lambda name: SMALL)
    monkeypatch.setattr(robustness, "LEVELS", {kind: (0.0, found[-1]) for kind, found in LEVELS.items()})
    words = ["reproduce", "--only", "robustness", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len({row["run_id"] for row in rows}) == 2 * 3 * 2
    assert {row["claim"] for row in rows} == {"sbs-robustness"}
    assert {row["network"] for row in rows} == {"digits-smoke", "digits-smoke-plain"}
    assert {row["number_of_spikes"] for row in rows} == {"20", "2", ""}
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"robustness-smoke.png"}
    assert len((tmp_path / "out" / "robustness-smoke.csv").read_text().splitlines()) == 1 + 12
    capsys.readouterr()
    assert main(words) == 0
    assert "1 skipped" in capsys.readouterr().out
