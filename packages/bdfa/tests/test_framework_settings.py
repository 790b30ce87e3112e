"""Ordinary settings of the framework: the same gradients as with the default settings, or one sentence."""

from __future__ import annotations

import bdfa
import pytest
import torch
from torch import Tensor, nn

INPUTS, WIDTHS, CLASSES = 10, (12, 9), 4


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(16, INPUTS, generator=random), torch.randint(0, CLASSES, (16,), generator=random)


def model_of(rule: str, **options) -> bdfa.FeedbackModel:
    net = bdfa.initialise(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, zero="uniform", seed=3)
    return bdfa.FeedbackModel(net, rule, seed=5, **{"feedback_lr": 0.0, **options})


def backward(model, batch, scaler=None, criterion="bce") -> list[Tensor]:
    """Gradients of one batch; brsf draws the same magnitudes each time."""
    inputs, labels = batch
    torch.manual_seed(0)
    model.zero_grad()
    loss = bdfa.Criterion(criterion)(model(inputs, labels=labels), labels)
    (loss if scaler is None else scaler.scale(loss)).backward()
    return [p.grad.clone() for p in model.model.parameters() if p.requires_grad]


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_a_scaled_loss_gives_the_unscaled_gradients(rule, batch):
    model = model_of(rule)
    wanted = backward(model, batch)
    scaler = torch.amp.GradScaler("cpu")
    optimiser = torch.optim.SGD(model.forward_parameters(), lr=0.1)
    backward(model, batch, scaler)
    scaler.unscale_(optimiser)
    for parameter, gradient in zip(model.forward_parameters(), wanted, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    found = backward(model, batch)  # and a later loss without the scaler is not scaled
    for ours, theirs in zip(found, wanted, strict=True):
        assert torch.equal(ours, theirs)


def convolutional(rule: str) -> bdfa.FeedbackModel:
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.Tanh(),
        nn.Conv2d(4, 3, 3, stride=2),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(12, CLASSES),
    )
    return bdfa.FeedbackModel(
        net, rule, seed=5, example=torch.zeros(2, 2, 8, 8)[..., :7, :7], feedback_lr=0.0
    )


@pytest.mark.parametrize("rule", [rule for rule in bdfa.RULES if rule != "bfa"])
def test_channels_last(rule):
    images, labels = torch.randn(6, 2, 7, 7), torch.randint(0, CLASSES, (6,))
    model = convolutional(rule)
    wanted = backward(model, (images, labels))
    model.to(memory_format=torch.channels_last)
    found = backward(model, (images.to(memory_format=torch.channels_last), labels))
    if rule != "brsf":  # it draws in the order of memory
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_frozen_layers_leave_the_other_gradients_as_they_are(rule, batch):
    for frozen in (0, 1, 2):
        model = model_of(rule)
        names = [name for name, _ in model.model.named_parameters()]
        wanted = dict(zip(names, backward(model, batch), strict=True))
        layer = [module for module in model.model.modules() if isinstance(module, nn.Linear)][frozen]
        layer.requires_grad_(False)
        backward(model, batch)
        for name, parameter in model.model.named_parameters():
            if parameter.requires_grad:
                assert torch.equal(parameter.grad, wanted[name]), name
            else:
                assert parameter.grad is None, name


@pytest.mark.parametrize("rule", bdfa.RULES)
@pytest.mark.parametrize("kind", [{"foreach": True}, {"fused": True}])
def test_fused_optimisers_train_as_plain_ones(rule, kind, batch):
    states = []
    for options in ({"foreach": False}, kind):
        model = model_of(rule, feedback_lr=0.01)
        optimiser = torch.optim.Adam(model.forward_parameters(), lr=0.01, **options)
        for _ in range(4):
            backward(model, batch)
            optimiser.step()
        states.append(model.state_dict())
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_default_dtype_float64_is_the_double_network(rule, batch):
    wanted = model_of(rule).double()
    torch.set_default_dtype(torch.float64)
    try:
        found = model_of(rule)
    finally:
        torch.set_default_dtype(torch.float32)
    if rule != "brsf":  # a generator draws other numbers in another precision
        doubles = (batch[0].double(), batch[1])
        for ours, theirs in zip(backward(found, doubles), backward(wanted, doubles), strict=True):
            assert ours.dtype == torch.float64
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_the_global_generator_neither_matters_nor_moves(rule):
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = bdfa.initialise(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, zero="uniform", seed=3)
        before = torch.get_rng_state()
        states.append(bdfa.FeedbackModel(net, rule, seed=5).state_dict())
        assert torch.equal(before, torch.get_rng_state())
    for key, value in states[0].items():
        assert torch.equal(states[1][key], value), key


def test_no_seed_means_a_random_one():
    nets = [bdfa.mlp(INPUTS, WIDTHS, CLASSES) for _ in range(3)]
    torch.manual_seed(0)  # the global generator decides
    first, second = (bdfa.FeedbackModel(net, "dfa", seed=None).feedback.B1 for net in nets[:2])
    torch.manual_seed(0)
    again = bdfa.FeedbackModel(nets[2], "dfa", seed=None).feedback.B1
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_autocast_with_a_scaler_trains_close_to_float32(rule, batch):
    states = []
    for mixed in (False, True):
        model = model_of(rule, feedback_lr=0.0)
        before = [p.detach().clone() for p in model.forward_parameters()]
        optimiser = torch.optim.SGD(model.forward_parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", enabled=mixed)
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            loss = bdfa.Criterion("ce")(model(batch[0], labels=batch[1]), batch[1])
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        states.append([p.detach() - b for p, b in zip(model.forward_parameters(), before, strict=True)])
    scale = 0.3 if rule == "sign-dfa" else 0.03  # a sign may flip when an error rounds to zero
    for plain, ours in zip(*states, strict=True):
        assert (ours - plain).norm() <= scale * plain.norm() + 1e-6


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_inference_mode_scores_are_the_ordinary_ones(rule, batch):
    model = model_of(rule).eval()
    wanted = model(batch[0]).detach()
    with torch.inference_mode():
        assert torch.equal(model(batch[0]), wanted)
    backward(model.train(), batch)


@pytest.mark.parametrize("rule", bdfa.RULES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_networks_train_or_are_refused(rule, dtype, batch):
    model = model_of(rule).to(dtype)
    wanted = backward(model_of(rule), batch)
    found = backward(model, (batch[0].to(dtype), batch[1]))
    if rule in ("brsf",):
        return
    scale = 0.5 if rule == "sign-dfa" else 0.1
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == dtype
        assert (ours.float() - theirs).norm() <= scale * theirs.norm()
