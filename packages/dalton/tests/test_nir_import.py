"""NIR graphs of dalton read back: the same spikes; every other graph is refused by the name of a node."""

import numpy as np
import pytest
import torch
from dalton import ConvSpec, SpikingCNN, from_nir, observe, read_nir, to_nir, write_nir
from dalton.model.architectures import Architecture
from reprokit import UserError

nir = pytest.importorskip("nir", reason="needs nir")

SHAPE, STEPS = (2, 13, 10), 20
ARCHITECTURES = {
    "pooled": Architecture((ConvSpec(4, 3, pool=2), ConvSpec(5, 2, pool=2)), (12, 8)),
    "strided": Architecture((ConvSpec(4, 3, stride=2), ConvSpec(5, 2, pool=2)), (12,)),
}


def network(name="pooled", **options):
    given = {
        "tau_current": 5e-3,
        "gain": 1.5,
        "bias": 0.1,
        "threshold": 0.8,
        "dtype": torch.float64,
    } | options
    net = SpikingCNN(ARCHITECTURES[name], SHAPE, 4, seed=3, **given)
    with torch.no_grad():
        for layer in net.layer_names:
            net.weight(layer).mul_(1.5)
    return net


def spikes(net):
    images = torch.rand(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=net.dtype)
    outputs, records = observe(net, images, STEPS, engine="torch", record=("spikes",))
    return outputs, records["spikes"]


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("tau", [5e-3, None])
def test_a_graph_read_back_gives_the_same_spikes(name, tau, tmp_path):
    net = network(name, tau_current=tau)
    back = read_nir(write_nir(net, tmp_path / "net.nir", dt=1e-4), dtype=torch.float64)
    assert (back.encoder, back.neuron.threshold) == (net.encoder, net.neuron.threshold)
    assert back.neuron.decay == pytest.approx(net.neuron.decay, abs=1e-9)
    (outputs, found), (expected, wanted) = spikes(back), spikes(net)
    for layer in net.layer_names:
        assert found[layer].any()
        assert torch.equal(found[layer], wanted[layer])
    torch.testing.assert_close(outputs, expected)


def test_a_graph_without_encoder_takes_the_default_one():
    back = from_nir(to_nir(network(), encoder=False))
    assert (back.encoder.gain, back.encoder.bias, back.dtype) == (2.0, 0.0, torch.float32)
    assert [layer.kind for layer in back.layers] == ["conv", "conv", "dense", "dense"]


def spoil(graph, name, **values):
    for key, value in values.items():
        setattr(graph.nodes[name], key, value)
    return graph


def renamed():
    graph = to_nir(network())
    nodes = {name.replace("dense1", "thing"): node for name, node in graph.nodes.items()}
    return nir.NIRGraph(nodes, list(zip(list(nodes)[:-1], list(nodes)[1:], strict=True)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda g: spoil(g, "conv1", bias=np.ones(4)), r"'conv1' is not a plain square convolution without bias"),
        (lambda g: spoil(g, "conv1", padding=(1, 1)), r"'conv1' has padding"),
        (lambda g: spoil(g, "conv2", weight=np.full((5, 4, 3, 3), np.nan)), r"'conv2' has weights that are not finite"),
        (lambda g: spoil(g, "dense1", weight=np.ones((12, 5, 1, 1))), r"'dense1' has a kernel .* does not cover"),
        (lambda g: spoil(g, "dense2_neurons", v_reset=np.array([0.5])), r"'dense2_neurons' has neurons that are not"),
        (lambda g: spoil(g, "conv1_neurons", w_in=np.array([3.0])), r"'conv1_neurons' scales its current"),
        (lambda g: spoil(g, "conv2_neurons", v_threshold=np.array([2.0])), r"'conv2_neurons' has other constants"),
        (lambda g: spoil(g, "conv1_neurons", v_threshold=np.array([1, 2])), r"'conv1_neurons' has neurons that differ"),
        (lambda g: spoil(g, "encoder_scale", weight=np.ones((2, 2, 1, 1))), r"'encoder_scale' is not one factor"),
        (lambda g: spoil(g, "out", weight=np.ones((4, 7, 1, 1))), r"'out' has a kernel"),
        (lambda _: renamed(), r"'thing' is not a layer of dalton's"),
        (lambda g: g.nodes, r"'input' is not in one chain"),
    ],
)  # fmt: skip
def test_other_graphs_are_refused_by_node(change, words):
    with pytest.raises(UserError, match=words):
        from_nir(change(to_nir(network())))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "net.nir").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"net\.nir"):
        read_nir(tmp_path / "net.nir")
