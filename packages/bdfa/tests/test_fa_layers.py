"""FALinear, FAConv2d and convert against autograd."""

from __future__ import annotations

import copy

import bdfa
import pytest
import torch
import torch.nn.functional as F
from bdfa.rules.fa import MODES, FAConv2d, FALinear, feedback_layers, forward_weights
from torch import nn

CONVOLUTIONS = {
    "plain": {},
    "stride and padding": {"stride": 2, "padding": 1},
    "groups": {"groups": 2, "padding": (1, 0)},
    "dilation": {"dilation": 2, "padding": 2},
    "same": {"padding": "same"},
    "valid": {"padding": "valid"},
    "reflect": {"padding": 1, "padding_mode": "reflect"},
    "no bias": {"bias": False},
}


def expected(layer, inputs, delta, replaced):
    """Input gradient with the feedback in place of the weight; weight gradients with the weight itself."""
    plain = copy.deepcopy(layer)
    plain.true_gradient = True
    x = inputs.clone().requires_grad_()
    own = torch.autograd.grad((plain(x) * delta).sum(), list(plain.parameters()))
    with torch.no_grad():
        plain.weight.copy_(replaced)
    x = inputs.clone().requires_grad_()
    (through,) = torch.autograd.grad((plain(x) * delta).sum(), x)
    return own, through


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_sends_the_error_through_its_feedback(name):
    layer = FAConv2d(4, 6, 3, seed=1, **CONVOLUTIONS[name]).double()
    inputs = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    reference = F.conv2d if CONVOLUTIONS[name].get("padding_mode") is None else None
    x = inputs.clone().requires_grad_()
    output = layer(x)
    if reference is not None:
        plain = reference(
            inputs, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
        torch.testing.assert_close(output, plain)
    delta = torch.randn_like(output)
    (output * delta).sum().backward()
    own, through = expected(layer, inputs, delta, layer.feedback)
    torch.testing.assert_close(x.grad, through)
    for parameter, gradient in zip(layer.parameters(), own, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(5,), (2, 3), ()])
def test_linear_sends_the_error_through_its_feedback(bias, leading):
    layer = FALinear(4, 3, bias, seed=2, dtype=torch.float64)
    inputs = torch.randn(*leading, 4, dtype=torch.float64, requires_grad=True)
    delta = torch.randn(*leading, 3, dtype=torch.float64)
    output = layer(inputs)
    torch.testing.assert_close(output, F.linear(inputs, layer.weight, layer.bias))
    (output * delta).sum().backward()
    torch.testing.assert_close(inputs.grad, delta @ layer.feedback)
    rows = delta.reshape(-1, 3)
    torch.testing.assert_close(layer.weight.grad, rows.T @ inputs.detach().reshape(-1, 4))
    if bias:
        torch.testing.assert_close(layer.bias.grad, rows.sum(0))


def test_gradcheck_with_the_forward_weights():
    for layer, shape in ((FALinear(3, 2), (4, 3)), (FAConv2d(2, 2, 3, padding=1), (1, 2, 4, 4))):
        layer.double().true_gradient = True
        assert torch.autograd.gradcheck(layer, torch.randn(*shape, dtype=torch.float64, requires_grad=True))


@pytest.mark.parametrize("mode", ["usf", "frsf", "brsf"])
def test_sign_symmetric_feedback_has_the_signs_of_the_weights(mode):
    layer = FALinear(30, 20, mode=mode)
    for _ in range(2):
        assert torch.equal(layer.feedback_weight().sign(), layer.weight.sign())
        with torch.no_grad():
            layer.weight.neg_()
    first, second = layer.feedback_weight(), layer.feedback_weight()
    assert torch.equal(first, second) == (mode != "brsf")
    if mode == "usf":
        assert len(first.abs().unique()) == 1


def test_kolen_pollack_feedback_converges_to_the_weights():
    torch.manual_seed(0)
    net = bdfa.FeedbackModel(bdfa.mlp(6, (5,), 3), "kolen-pollack")
    layer = net.model.output
    optimiser = bdfa.make_optimiser("sgd", net.forward_parameters(), lr=0.1, weight_decay=0.1)
    inputs, labels = torch.randn(20, 6), torch.randint(0, 3, (20,))
    before = (layer.weight - layer.feedback).norm().item()
    for _ in range(100):
        optimiser.zero_grad()
        bdfa.Criterion("ce")(net(inputs), labels).backward()
        optimiser.step()
    after = (layer.weight - layer.feedback).norm().item()
    assert after == pytest.approx(before * 0.99**100, rel=1e-3)


def test_convert_keeps_parameters_and_skips_subclasses():
    class Own(nn.Linear):
        pass

    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5), Own(5, 4), nn.Linear(4, 3))
    before = list(net.parameters())
    with pytest.warns(UserWarning, match=r"no feedback weights for 3 \(Own\)"):
        bdfa.convert(net, "fa", first=False)
    assert [type(module) for module in net] == [nn.Conv2d, nn.Flatten, FALinear, Own, FALinear]
    assert all(a is b for a, b in zip(before, net.parameters(), strict=True))
    assert list(feedback_layers(net)) == ["2", "4"]


def test_a_copied_start_is_back_propagation():
    """The original's fa with relu begins with F = W (profile faithful, DEV-4)."""
    nets = [bdfa.initialise(bdfa.mlp(6, (5, 4), 3, nonlinearity_name="relu"), seed=1) for _ in range(3)]
    faithful = bdfa.FeedbackModel(nets[0], "fa", profile="faithful")
    fixed = bdfa.FeedbackModel(nets[1], "fa")
    assert torch.equal(faithful.model.output.feedback, nets[2].output.weight)
    assert not torch.equal(fixed.model.output.feedback, nets[2].output.weight)


def test_forward_weights_come_back():
    net = bdfa.convert(bdfa.mlp(6, (5, 4), 3), "fa")
    with forward_weights(net, skip=1):
        states = [layer.true_gradient for layer in feedback_layers(net).values()]
    assert states == [False, True, True]
    assert not any(layer.true_gradient for layer in feedback_layers(net).values())


def test_modes_are_the_documented_ones():
    for mode in MODES[:-1]:
        FALinear(3, 2, mode=mode)(torch.zeros(1, 3)).sum().backward()
    with pytest.raises(ValueError, match="mode='transposed' is unknown"):
        FALinear(3, 2, mode="transposed")
