import os

import pytest
import torch
from dalton import ConvSpec, SpikingCNN, architecture, predict
from dalton.formats.original import read_original, write_original
from dalton.model.architectures import Architecture
from reprokit import UserError

SHAPE = (1, 12, 12)
ARCH = Architecture((ConvSpec(3, 3, pool=2), ConvSpec(4, 2, pool=2)), (6, 5))
METHODS = ("surrgd", "tfr", "dalton")


def network(arch=ARCH, seed=0, **options):
    return SpikingCNN(arch, SHAPE, 4, tau_current=5e-3, seed=seed, **options)


@pytest.mark.parametrize("method", METHODS)
def test_a_written_network_is_read_back(method, tmp_path):
    net = network()
    path = write_original(net, tmp_path / "saved_model_epoch_7.pth", method, 7)
    found = read_original(path)
    assert (found.epoch, found.method) == (7, method)
    again = found.network(SHAPE, tau_current=5e-3)
    for name in [*net.layer_names, "out"]:
        assert torch.equal(again.weight(name), net.weight(name))
    if method == "tfr":
        assert torch.equal(again.readout("conv1"), net.readout("conv1"))
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(0))
    ours, theirs = (predict(n, images, steps=8, engine="torch") for n in (again, net))
    assert torch.equal(ours, theirs)
    assert [file.name for file in tmp_path.iterdir()] == ["saved_model_epoch_7.pth"]


def test_names_are_the_originals(tmp_path):
    keys = {}
    for method in METHODS:
        path = write_original(network(), tmp_path / f"{method}.pth", method, 1)
        keys[method] = list(torch.load(path, weights_only=True)["model_state_dict"])
    layers = [f"_spk_conv_lyrs.{i}._conv.weight" for i in (0, 1)]
    layers += [f"_spk_dense_lyrs.{i}._fc.weight" for i in (0, 1)]
    assert keys["surrgd"] == [*layers, "_otp_lyr._fc.weight"]
    assert [key for key in keys["dalton"] if "spk" in key] == layers
    assert [key.split(".")[0] for key in keys["tfr"] if "rdt" in key] == ["_conv_rdt_lyrs"] * 2 + [
        "_dense_rdt_lyrs"
    ] * 2


def test_dalton_files_repeat_the_weights_of_the_layer_above(tmp_path):
    net = network()
    path = write_original(net, tmp_path / "a.pth", "dalton", 1)
    state = torch.load(path, weights_only=True)["model_state_dict"]
    assert torch.equal(state["_conv_rdt_lyrs.0._conv.weight"], net.weight("conv2"))
    assert torch.equal(state["_conv_rdt_lyrs.1._fc.weight"], net.weight("dense1"))
    assert torch.equal(state["_dense_rdt_lyrs.1._fc.weight"], net.out)


@pytest.mark.parametrize("downsample", ["avgpool", "maxpool", "stride"])
def test_known_architectures_are_recognised(downsample, tmp_path):
    net = SpikingCNN("A1", (1, 28, 28), downsample=downsample)
    found = read_original(write_original(net, tmp_path / "a.pth", "dalton", 1))
    assert found.architecture(downsample) == architecture("A1", downsample)
    wrong = "stride" if downsample != "stride" else "avgpool"
    assert found.architecture(wrong) != architecture("A1", downsample)


def test_weights_that_do_not_fit_are_named(tmp_path):
    found = read_original(write_original(network(), tmp_path / "a.pth", "surrgd", 1))
    with pytest.raises(UserError, match=r"dense1 has shape \(6, 16\), the network needs"):
        found.network((1, 20, 20))


def test_optimizer_and_loss_are_written(tmp_path):
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    path = write_original(net, tmp_path / "a.pth", "dalton", 1, optimizer=optimizer, loss=0.25)
    content = torch.load(path, weights_only=True)
    assert content["optimizer_state_dict"]["param_groups"][0]["lr"] == 1e-3
    assert content["loss"] == 0.25
    with pytest.raises(UserError, match="method is 'bp'"):
        write_original(net, tmp_path / "b.pth", "bp", 1)


class Harmful:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (self.marker,))


def test_harmful_files_are_refused_and_not_run(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"model_state_dict": {}, "epoch": Harmful(str(marker))}, tmp_path / "harmful.pth")
    with pytest.raises(UserError, match=r"harmful\.pth is damaged or not a checkpoint of plain tensors"):
        read_original(tmp_path / "harmful.pth")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "has no model_state_dict"),
        (
            {"model_state_dict": {"fc.weight": torch.zeros(1)}},
            "fc.weight is not a weight of the original's networks",
        ),
        (
            {"model_state_dict": {"_otp_lyr._fc.weight": torch.zeros(1)}},
            "the weights _spk_conv_lyrs are missing",
        ),
        (
            {
                "model_state_dict": {
                    "_spk_conv_lyrs.0._conv.weight": torch.zeros(1, 1, 3, 3),
                    "_spk_dense_lyrs.0._fc.weight": torch.zeros(1, 1),
                }
            },
            "has no class matrix",
        ),
    ],
)
def test_other_files_are_named(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(UserError, match=message):
        read_original(tmp_path / "a.pth")
