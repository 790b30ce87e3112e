"""Impossible networks and runs: one clear error each, and nothing half-written."""

from dataclasses import replace

import numpy as np
import pytest
from reprokit import UserError
from sbs.config import LayerConfig, NetworkConfig
from sbs.data.images import Images
from sbs.data.loading import load_dataset
from sbs.model.networks import build_network, output_size, time_course
from sbs.presets import preset
from sbs.training.evaluation import accuracy_against_spikes, evaluate
from sbs.training.loop import train
from sbs.training.runs import InputShape, load_model, pack, store_model, unpack


def build(*layers, size=(8, 8), **settings):
    config = NetworkConfig(layers=layers, number_of_spikes=5, **settings)
    return build_network(config, channels=1, size=size, classes=10)


def test_a_kernel_must_fit_its_input():
    with pytest.raises(UserError, match=r"layers\[1\].*\(5, 5\).*4x4"):
        build(LayerConfig("sbs", 4, (5, 5)), LayerConfig("sbs", 10, (5, 5)))


def test_the_output_must_be_one_position_and_the_classes():
    with pytest.raises(UserError, match=r"10 neurons at 4x4"):
        build(LayerConfig("sbs", 10, (5, 5)))
    with pytest.raises(UserError, match=r"9 neurons at 1x1"):
        build(LayerConfig("sbs", 9, (8, 8)))


def test_average_pooling_has_no_dilation():
    with pytest.raises(UserError, match="dilation"):
        build(LayerConfig("average-pool", kernel=(2, 2), dilation=(2, 2)), LayerConfig("sbs", 10, (6, 6)))


@pytest.mark.parametrize(
    ("layer", "size", "expected"),
    [
        (LayerConfig("sbs", 1, (3, 2), (2, 1), (1, 2), (1, 1)), (9, 7), (5, 7)),
        (LayerConfig("sbs", 1, (5, 5)), (24, 24), (20, 20)),
        (LayerConfig("average-pool", kernel=(2, 2), stride=(2, 2)), (5, 5), (2, 2)),
    ],
)
def test_output_sizes(layer, size, expected):
    assert output_size(layer, size) == expected


def course(config, spikes):
    return time_course(config).values(spikes)


def test_time_courses():
    power = course(NetworkConfig(), 4)
    assert np.allclose(power, np.arange(1, 5) ** -0.5)
    late = course(NetworkConfig(epsilon_t="cooldown", cooldown_after=2, cooldown_reduction=4.0), 4)
    assert late.tolist() == [1, 1, 0.25, 0.25]
    assert course(NetworkConfig(epsilon_t="constant", cooldown_after=0), 3).tolist() == [1, 1, 1]
    never = course(NetworkConfig(epsilon_t="cooldown", cooldown_after=-1), 3)
    assert never.tolist() == [1, 1, 1]


def run_of(tmp_path, **data):
    base = preset("digits-smoke")
    config = replace(
        base,
        network=replace(base.network, number_of_spikes=10),
        learning=replace(base.learning, updates=2, batch_size=8),
        data=replace(base.data, limit_train=20, limit_test=10, **data),
    )
    return config, train(config, tmp_path / "run")


def test_a_data_set_of_another_size_is_refused(tmp_path):
    _, model = run_of(tmp_path)
    other = load_dataset("digits")
    wide = Images(np.pad(other.test.images, ((0, 0), (0, 0), (0, 2), (0, 2))), other.test.labels, 255.0)
    with pytest.raises(UserError, match=r"\(1, 8, 8\).*\(1, 10, 10\)"):
        model.check_data(replace(other, train=wide, test=wide))


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    config, _ = run_of(tmp_path)
    layers = (replace(config.network.layers[0], neurons=12), *config.network.layers[1:])
    train(replace(config, network=replace(config.network, layers=layers)), tmp_path / "other")
    name = "checkpoints/checkpoint-000000000002.safetensors"
    (tmp_path / "run" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(UserError, match="belongs to another network"):
        load_model(tmp_path / "run")


def test_a_run_without_checkpoint_and_a_damaged_config_are_named(tmp_path):
    config, _ = run_of(tmp_path)
    for file in (tmp_path / "run" / "checkpoints").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="no checkpoint"):
        load_model(tmp_path / "run")
    with pytest.raises(UserError, match="no checkpoint"):
        train(config, tmp_path / "run")
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json cannot be read as JSON"):
        load_model(tmp_path / "run")


def test_a_damaged_checkpoint_is_refused_by_readers_and_passed_over_by_training(tmp_path):
    config, model = run_of(tmp_path)
    folder = tmp_path / "run" / "checkpoints"
    (folder / "checkpoint-000000000009.safetensors").write_bytes(b"torn")
    with pytest.raises(
        UserError, match=r"checkpoint-000000000009\.safetensors.*delete it to use the one before"
    ):
        load_model(tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()  # as if it had been killed
    with pytest.warns(RuntimeWarning, match="older checkpoint"):
        assert train(config, tmp_path / "run").step == model.step


def test_an_imported_run_is_loaded_by_train_and_deleted_by_force(tmp_path):
    config, model = run_of(tmp_path)
    store_model(tmp_path / "stored", model, origin="test")
    assert train(config, tmp_path / "stored").step == model.step
    (tmp_path / "stored" / "notes.txt").write_text("mine")
    train(config, tmp_path / "stored", force=True)
    assert (tmp_path / "stored" / "metrics.jsonl").exists()
    assert (tmp_path / "stored" / "notes.txt").read_text() == "mine"
    with pytest.raises(UserError, match="holds a run already"):
        train(config, tmp_path / "stored", resume=False)


def test_a_refused_configuration_leaves_no_folder(tmp_path):
    base = preset("digits-smoke")
    with pytest.raises(UserError, match="leaves nothing"):
        train(replace(base, augmentation=replace(base.augmentation, crop=4)), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    start = replace(base.start, overload=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="does not exist"):
        train(replace(base, start=start), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_evaluation_needs_images_and_spikes(tmp_path):
    _, model = run_of(tmp_path)
    test = load_dataset("digits").test
    with pytest.raises(UserError, match="no images"):
        evaluate(model.network, model.presentation, Images(test.images[:0], test.labels[:0], 255.0))
    for counts in ((), (0,), (-3, 5)):
        with pytest.raises(UserError, match="numbers of spikes"):
            accuracy_against_spikes(model.network, model.presentation, test, counts)


def test_nested_state_survives_packing():
    import torch

    arrays = {}
    state = {
        "a": [torch.arange(3), (1, None, float("inf"))],
        5: {"b": True, "c": "text", "d": torch.tensor(2.5)},
    }
    packed = pack(state, "state", arrays)
    back = unpack(packed, arrays)
    assert back["a"][1] == (1, None, float("inf"))
    assert back[5]["b"] is True
    assert torch.equal(back["a"][0], torch.arange(3))
    assert back[5]["d"].shape == ()
    with pytest.raises(TypeError, match=r"state\.x"):
        pack({"x": object()}, "state", {})
    with pytest.raises(UserError, match="lacks the array"):
        unpack(packed, {})


def test_shape_of_a_configuration():
    config = preset("mnist-v1")
    digits = load_dataset("digits")
    shape = InputShape.of(config, digits)
    assert (shape.channels, shape.height, shape.width, shape.classes) == (2, 4, 4, 10)
