"""The original's weight files: names, layouts, and the many ways they can be wrong."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reprokit import UserError
from sbs.cli import main
from sbs.config import LayerConfig
from sbs.formats.weights import load_npz, load_overload, load_step, save_original
from sbs.model.networks import build_network, sbs_layers
from sbs.presets import preset

SHARED = Path(__file__).resolve().parents[4] / "shared" / "golden" / "sbs"


def network(seed=0, neurons=6, layers=3):
    stages = [LayerConfig("sbs", neurons, (3, 3)), LayerConfig("sbs-pool", kernel=(2, 2), stride=(2, 2))]
    stages += [LayerConfig("sbs", 5, (1, 1))] * (layers - 3) + [LayerConfig("sbs", 10, (3, 3))]
    config = replace(preset("digits-smoke").network, layers=tuple(stages), number_of_spikes=5)
    return build_network(config, channels=1, size=(8, 8), classes=10, seed=seed)


def state(net):
    return [(layer.weights.detach().clone(), layer.epsilon_xy.detach().clone()) for layer in sbs_layers(net)]


def equal(first, second):
    pairs = [
        (a, b) for ours, theirs in zip(first, second, strict=True) for a, b in zip(ours, theirs, strict=True)
    ]
    return all(torch.allclose(a, b, rtol=1e-6, atol=0) for a, b in pairs)


@pytest.fixture
def saved(tmp_path):
    net = network(seed=1)
    save_original(net, tmp_path / "w", tmp_path / "e", 7)
    return net, tmp_path


def test_names_shapes_and_dtypes(saved):
    _, folder = saved
    assert sorted(path.name for path in (folder / "w").iterdir()) == [f"Weight_L{i}_S7.npy" for i in range(3)]
    weights = np.load(folder / "w" / "Weight_L2_S7.npy")
    assert weights.dtype == np.float64
    assert weights.shape == (54, 10)
    assert np.load(folder / "e" / "EpsXY_L0_S7.npy").shape == (6, 6)


def test_round_trip(saved):
    net, folder = saved
    other = network(seed=2)
    assert not equal(state(net), state(other))
    assert len(load_step(other, folder / "w", folder / "e", 7)) == 6
    assert equal(state(net), state(other))


def test_layer_one_does_not_take_the_files_of_layers_ten_and_eleven(tmp_path):
    """DEV-27: the original's pattern Weight_L1*.npy did, and stopped with "too many previous weights"."""
    net = network(seed=1, layers=12)
    save_original(net, tmp_path, tmp_path, 0)
    other = network(seed=2, layers=12)
    load_overload(other, tmp_path)
    assert equal(state(net), state(other))


def test_overload_takes_what_is_there_and_keeps_the_rest(saved):
    net, folder = saved
    (folder / "w" / "Weight_L0_S7.npy").rename(folder / "w" / "Weight_L0.npy")
    (folder / "w" / "Weight_L2_S7.npy").unlink()
    other = network(seed=2)
    before = state(other)
    load_overload(other, folder / "w")
    assert torch.allclose(sbs_layers(other)[0].weights, sbs_layers(net)[0].weights)
    assert torch.equal(sbs_layers(other)[2].weights, before[2][0])


def test_two_files_for_one_layer_are_refused(saved):
    _, folder = saved
    np.save(folder / "w" / "Weight_L0_S8.npy", np.ones((9, 6)))
    with pytest.raises(UserError, match="2 files for Weight of layer 0"):
        load_overload(network(), folder / "w")


def test_pooling_layers_and_untrained_epsilons_need_no_file(saved):
    _, folder = saved
    (folder / "w" / "Weight_L1_S7.npy").unlink()
    for path in (folder / "e").iterdir():
        path.unlink()
    assert len(load_step(network(), folder / "w", folder / "e", 7)) == 2


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.ones((9, 5)), "shape"),
        (np.full((9, 6), np.nan), "finite"),
        (-np.ones((9, 6)), "0 or more"),
        (np.array([["a"] * 6] * 9), "Weight_L0"),
        (np.array([{}]), "Weight_L0"),
    ],
)
def test_wrong_files_are_named_and_change_nothing(saved, array, words):
    _, folder = saved
    np.save(folder / "w" / "Weight_L0_S7.npy", array, allow_pickle=True)
    other = network(seed=2)
    before = state(other)
    with pytest.raises(UserError, match=words):
        load_step(other, folder / "w", folder / "e", 7)
    assert equal(before, state(other))


def test_missing_files_are_named(saved):
    _, folder = saved
    with pytest.raises(UserError, match="steps there: 7"):
        load_step(network(), folder / "w", folder / "e", 8)
    (folder / "w" / "Weight_L2_S7.npy").unlink()
    with pytest.raises(UserError, match="layer 2"):
        load_step(network(), folder / "w", folder / "e", 7)
    with pytest.raises(UserError, match="does not exist"):
        load_overload(network(), folder / "nowhere")
    (folder / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file"):
        load_overload(network(), folder / "empty")


def test_files_of_another_network_are_refused(saved):
    _, folder = saved
    with pytest.raises(UserError, match="shape"):
        load_overload(network(neurons=7), folder / "w")
    np.save(folder / "w" / "Weight_L3_S7.npy", np.ones((2, 2)))
    with pytest.raises(UserError, match="layers 0 to 2 only"):
        load_overload(network(), folder / "w")


def test_npz(tmp_path):
    net, other = network(seed=1), network(seed=2)
    arrays = {f"weights_L{i}": layer.weights.detach().numpy() for i, layer in enumerate(sbs_layers(net))}
    file = tmp_path / "weights.npz"
    np.savez(file, **arrays)
    assert load_npz(other, file) == ["weights_L0", "weights_L1", "weights_L2"]
    assert equal(state(net), state(other))
    np.savez(file, weights_L0=arrays["weights_L0"])
    with pytest.raises(UserError, match="lacks the array weights_L2"):
        load_npz(other, file)
    np.savez(file, **arrays, weights_L3=np.ones(2))
    with pytest.raises(UserError, match="belongs to no layer"):
        load_npz(other, file)
    file.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"weights\.npz"):
        load_npz(other, file)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("weights_L0.npy", b"no array")
    with pytest.raises(UserError, match=r"weights\.npz: an array was expected, found bytes"):
        load_npz(other, file)


def test_commands_round_trip(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    quick = ["--learning.updates=2", "--learning.batch-size=8", "--network.number-of-spikes=10"]
    limits = ["--data.limit-train=30", "--data.limit-test=20"]
    assert main(["train", "digits-smoke", *quick, *limits, "--out", "run"]) == 0
    assert main(["convert", "export", "run", "--out", "files"]) == 0
    flags = ["files/Weights", "--epsilon", "files/EpsXY", "--step", "1", "--out", "back"]
    assert main(["convert", "import", "digits-smoke", *flags]) == 0
    capsys.readouterr()
    assert main(["convert", "export", "back", "--out", "again"]) == 0
    for name in ("Weights/Weight_L0_S1.npy", "EpsXY/EpsXY_L2_S1.npy"):
        assert np.allclose(np.load(f"files/{name}"), np.load(f"again/{name}"), rtol=1e-6)
    assert main(["convert", "import", "digits-smoke", *flags]) == 2
    assert "holds a run already" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["", ".npz"])
def test_data_sets_round_trip(tmp_path, suffix):
    from sbs.data.loading import load_dataset

    out = tmp_path / f"digits-copy{suffix}"
    assert main(["convert", "data", "digits", "--out", str(out)]) == 0
    original, copy = load_dataset("digits"), load_dataset(str(out))
    assert copy.name == "digits-copy"
    for first, second in ((original.train, copy.train), (original.test, copy.test)):
        images, labels = first.batch(slice(None))
        again, same_labels = second.batch(slice(None))
        assert torch.allclose(images, again, atol=1e-6)
        assert torch.equal(labels, same_labels)


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED / "mnist_v2_trained.npz").exists(), reason="needs ../shared/golden/sbs")
def test_weights_trained_by_the_original_classify_mnist(tmp_path):
    """The whole chain on real images: weights in, crop, four layers, 1600 spikes; the original reached
    0.985+.
    """
    file = SHARED / "mnist_v2_trained.npz"
    assert main(["convert", "import", "mnist-v2", str(file), "--out", str(tmp_path / "run")]) == 0
    from sbs.data.images import Images
    from sbs.training.evaluation import evaluate
    from sbs.training.runs import load_model

    golden = np.load(file)
    model = load_model(tmp_path / "run")
    images = Images(golden["images"][:, None], golden["labels"].astype(np.int64), 255.0)
    assert evaluate(model.network, model.presentation, images).accuracy >= 98.5
