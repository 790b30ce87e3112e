"""BFA, BDFA targets, optimisers, norms, adversarial steps, initial values, alignment."""

from __future__ import annotations

import copy
import inspect
import math
from types import SimpleNamespace

import bdfa
import pytest
import torch
from bdfa.rules.adversarial import adversarial_backward
from bdfa.rules.alignment import angle, ratio
from bdfa.rules.bdfa import feedback_gradient, feedback_target
from bdfa.rules.builtin import builtin_rule
from bdfa.rules.initialisation import feedback_matrix, generator
from bdfa.rules.max_norm import renorm_original
from torch import nn

LABELS = torch.tensor([0, 2, 1, 2])


def bfa(**options) -> bdfa.FeedbackModel:
    return bdfa.FeedbackModel(bdfa.mlp((1, 2, 3), (5, 4), 3).double(), "bfa", **options)


def test_bfa_runs_its_feedback_phase_once_the_weights_moved():
    model = bfa(feedback_lr=0.1)
    inputs = torch.randn(4, 1, 2, 3, dtype=torch.float64)
    optimiser = torch.optim.SGD(model.forward_parameters(), lr=0.1)
    bdfa.Criterion()(model(inputs, labels=LABELS), LABELS).backward()
    before = [v.clone() for v in model.feedback.weights]
    model.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(before, model.feedback.weights, strict=True))
    optimiser.step()
    wanted = [v - 0.1 * g for v, g in zip(before, model.feedback.gradients(inputs, LABELS), strict=True)]
    model(inputs, labels=LABELS)
    for ours, theirs in zip(model.feedback.weights, wanted, strict=True):
        torch.testing.assert_close(ours.detach(), theirs)


def test_bfa_notices_an_optimiser_that_bypasses_version_counters():
    model = bfa(feedback_lr=0.1)
    inputs = torch.randn(4, 6, dtype=torch.float64)
    optimiser = torch.optim.Adam(model.forward_parameters(), lr=0.1, fused=True)
    before = model.feedback.V1.clone()
    bdfa.Criterion()(model(inputs, labels=LABELS), LABELS).backward()
    optimiser.step()
    model.generate(LABELS)
    assert not torch.equal(before, model.feedback.V1)


def test_bfa_feedback_gradient_is_descent_when_the_weights_are_transposed():
    """With V_{L−k+1} = W_k^T both directions are true gradients."""
    model = bfa()
    inputs = torch.randn(4, 6, dtype=torch.float64)
    layers = [model.model.linear1, model.model.linear2, model.model.output]
    for weight, layer in zip(model.feedback.weights, reversed(layers), strict=True):
        weight.data.copy_(layer.weight.T)
    found = model.feedback.gradients(inputs, LABELS)
    free = [w.detach().clone().requires_grad_() for w in model.feedback.weights]
    u = nn.functional.one_hot(LABELS, 3).double()
    for weight in free[:-1]:
        u = torch.tanh(u @ weight.T)
    loss = 0.5 * (u @ free[-1].T - inputs).square().sum()
    for ours, theirs in zip(found, torch.autograd.grad(loss, free), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_sigmoid_output_descends_the_cross_entropy():
    """`∂/∂a of −Σ x log σ(a) + (1 − x) log(1 − σ(a))` is `σ(a) − x`: true gradients with transposed weights."""
    model = bfa(feedback_output="sigmoid")
    inputs = torch.rand(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    layers = [model.model.linear1, model.model.linear2, model.model.output]
    for weight, layer in zip(model.feedback.weights, reversed(layers), strict=True):
        weight.data.copy_(layer.weight.T)
    free = [w.detach().clone().requires_grad_() for w in model.feedback.weights]
    u = nn.functional.one_hot(LABELS, 3).double()
    for weight in free[:-1]:
        u = torch.tanh(u @ weight.T)
    made = torch.sigmoid(u @ free[-1].T)
    loss = -(inputs * made.log() + (1 - inputs) * (1 - made).log()).sum()
    found = model.feedback.gradients(inputs, LABELS)
    for ours, theirs in zip(found, torch.autograd.grad(loss, free), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(model.feedback.reconstruction_loss(inputs, LABELS), loss.detach() / 4)
    torch.testing.assert_close(model.generate(LABELS), made.detach().view(4, 1, 2, 3))


def test_bfa_generates_what_it_was_shown():
    torch.manual_seed(0)
    model = bfa(feedback_lr=0.05)
    shown = torch.randn(3, 1, 2, 3, dtype=torch.float64)
    optimiser = bdfa.make_optimiser("sgd", model.forward_parameters(), lr=0.05)
    for _ in range(600):
        optimiser.zero_grad()
        bdfa.Criterion()(model(shown[LABELS], labels=LABELS), LABELS).backward()
        optimiser.step()
    made = model.generate(torch.arange(3))
    assert made.shape == (3, 1, 2, 3)
    assert (made - shown).norm() < 0.2 * shown.norm()
    with pytest.raises(ValueError, match=r"0\.\.2"):
        model.generate(torch.tensor([3]))


def test_bfa_says_so_when_the_weights_never_move():
    model = bfa()
    inputs = torch.zeros(4, 6, dtype=torch.float64)

    def never_step():
        for _ in range(300):
            model.zero_grad(set_to_none=False)
            bdfa.Criterion()(model(inputs, labels=LABELS), LABELS).backward()

    with pytest.raises(ValueError, match="are waiting"):
        never_step()


def test_targets_by_hand():
    output = torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)
    label = torch.tensor([1])
    make = {name: feedback_target(name, output, label, alpha=0.25, depth=2) for name in bdfa.TARGETS}
    sigmoid = [1 / (1 + math.exp(-v)) for v in (0.5, -1.0, 2.0)]
    expected = {
        "code": [0.5 / 16, 1.0, 2.0 / 16],
        "logit": [0.125, 1.0, 0.5],
        "onehot": [0.0, 1.0, 0.0],
        "paper": [0.25 * sigmoid[0], 1 + 0.25 * sigmoid[1], 0.25 * sigmoid[2]],
        "center": [-1 / 3, 2 / 3, -1 / 3],
    }
    for name, row in expected.items():
        torch.testing.assert_close(make[name], torch.tensor([row], dtype=torch.float64))
    assert torch.equal(output, torch.tensor([[0.5, -1.0, 2.0]], dtype=torch.float64)), (
        "the output was changed"
    )


@pytest.mark.parametrize("loss", ["logistic", "mse"])
def test_feedback_gradient_is_the_gradient_of_its_loss(loss):
    random = generator(3)
    target, hidden = (torch.randn(5, n, generator=random, dtype=torch.float64) for n in (3, 7))
    matrix = torch.randn(3, 7, generator=random, dtype=torch.float64, requires_grad=True)
    if loss == "mse":
        value = 0.5 * (torch.tanh(target @ matrix) - hidden).square().sum()
    else:
        value = -nn.functional.logsigmoid(((target @ matrix) * hidden).sum(1)).sum()
    (wanted,) = torch.autograd.grad(value, matrix)
    torch.testing.assert_close(feedback_gradient(target, matrix.detach(), hidden, loss)[0], wanted)


PYTORCH = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.9, weight_decay=0.01),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, weight_decay=0.01),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.05, weight_decay=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0, weight_decay=0.01),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01, eps=1e-38, weight_decay=0.01),
    "rprop": lambda p: torch.optim.Rprop(p, lr=0.1),
    "asgd": lambda p: torch.optim.ASGD(p, lr=0.1),
}


@pytest.mark.parametrize("name", PYTORCH)
def test_optimisers_equal_pytorchs_where_they_should(name):
    random = generator(4)
    start = torch.randn(8, 3, generator=random, dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    reference = PYTORCH[name]([theirs])
    group = reference.param_groups[0]
    optimiser = bdfa.make_optimiser(
        name, [ours], lr=group["lr"], momentum=0.9 if name == "sgd" else 0.0,
        weight_decay=group.get("weight_decay", 0.0), lr_decay=group.get("lr_decay", 0.0),
    )  # fmt: skip
    for _ in range(12):
        gradient = torch.randn(8, 3, generator=random, dtype=torch.float64)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimiser.step()
        reference.step()
        assert torch.equal(ours.grad, gradient), "the gradient was changed"
    single = 1e-6 if name == "asgd" else 1e-10  # PyTorch keeps the rate of asgd in float32
    torch.testing.assert_close(ours, theirs, rtol=10 * single, atol=single)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_channels_last_weights_are_updated_right(name):
    start, gradient = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        parameter = nn.Parameter(start.clone(memory_format=layout))
        parameter.grad = gradient.clone()
        bdfa.make_optimiser(name, [parameter], lr=0.1).step()
        results.append(parameter.detach().clone())
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["sgd", "rmsprop", "adam", "adamax", "nag", "asgd"])
def test_optimiser_state_survives(name):
    options = {"lr": 0.01, "momentum": 0.9 if name in ("sgd", "nag") else 0.0}
    one = nn.Parameter(torch.ones(3))
    first = bdfa.make_optimiser(name, [one], **options)
    for _ in range(3):
        one.grad = torch.tensor([1.0, -2.0, 0.5])
        first.step()
    two = nn.Parameter(one.detach().clone())
    second = bdfa.make_optimiser(name, [two], **options)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for parameter, optimiser in ((one, first), (two, second)):
        parameter.grad = torch.tensor([0.3, 0.1, -1.0])
        optimiser.step()
    assert torch.equal(one, two)


def test_faithful_optimisers_ignore_what_the_original_ignored():
    """DEV-8."""
    results = []
    for options in ({}, {"momentum": 0.9, "lr_decay": 0.5}):
        parameter = nn.Parameter(torch.ones(3))
        optimiser = bdfa.make_optimiser("rmsprop", [parameter], lr=0.1, profile="faithful", **options)
        for _ in range(3):
            parameter.grad = torch.tensor([1.0, 2.0, -3.0])
            optimiser.step()
        results.append(parameter.detach().clone())
    assert torch.equal(*results)


def test_norms_are_limited_per_unit_and_per_input():
    """DEV-9: names used literally, channels instead of kernel columns."""
    weight, bias = torch.randn(5, 4, 3, 3) * 3, torch.full((5,), 100.0)
    bdfa.renorm([weight, bias], incoming=2.0)
    assert float(weight.flatten(1).norm(dim=1).max()) == pytest.approx(2.0, rel=1e-5)
    bdfa.renorm([weight, bias], outgoing=1.0)
    assert float(weight.transpose(0, 1).flatten(1).norm(dim=1).max()) == pytest.approx(1.0, rel=1e-5)
    assert torch.equal(bias, torch.full((5,), 100.0))
    untouched = torch.randn(3, 3) * 1e3
    before = untouched.clone()
    renorm_original([untouched], 400, 400)
    assert torch.equal(before, untouched)


def test_adversarial_step_accumulates_the_chosen_clean_gradient():
    """DEV-6: the original adds back-propagation's gradients to those of the rule."""
    random = generator(5)
    inputs = torch.randn(4, 6, generator=random, dtype=torch.float64)

    def gradients(rule, **options):
        net = bdfa.initialise(bdfa.mlp(6, (5,), 3).double(), zero="uniform", seed=1)
        model = bdfa.FeedbackModel(net, rule, seed=2)
        done = adversarial_backward(model, bdfa.Criterion(), inputs, LABELS, **options) if options else None
        if done is None:
            bdfa.Criterion()(model(inputs), LABELS).backward()
        return [p.grad for p in model.parameters()], done

    adversarial, done = gradients("dfa", eps=0.1)
    clean_bp, clean_dfa = gradients("bp")[0], gradients("dfa")[0]
    assert torch.allclose((done.inputs - inputs).abs(), torch.full_like(inputs, 0.1))
    assert done.loss > done.clean_loss
    both, _ = gradients("dfa", eps=0.1, accumulate=True)
    same, _ = gradients("dfa", eps=0.1, accumulate=True, clean_rule="same")
    for k, gradient in enumerate(adversarial):
        torch.testing.assert_close(both[k], gradient + clean_bp[k])
        torch.testing.assert_close(same[k], gradient + clean_dfa[k])


def test_adversarial_quirk_of_the_first_convolution():
    """DEV-6: under faithful an fa conv net keeps its first layer's feedback in the input gradient."""
    images = torch.randn(2, 1, 23, 23)
    found = {}
    for profile in ("faithful", "fixed"):
        net = bdfa.initialise(bdfa.conv((1, 23, 23), 3, maps=(2, 2, 2), hidden=(4,)), zero="uniform", seed=1)
        model = bdfa.FeedbackModel(net, "fa", profile=profile, feedback_scale=0.3)
        done = adversarial_backward(model, bdfa.Criterion(), images, torch.tensor([0, 1]), eps=0.1)
        found[profile] = done.input_gradient
    assert not torch.allclose(found["faithful"], found["fixed"])


def test_zero_initialisation_is_the_originals():
    for rule, expected in (("dfa", [0, 0, 0]), ("bdfa", [0, 0, 0]), ("fa", [1, 0, 0]), ("bp", [1, 1, 1])):
        net = bdfa.initialise(bdfa.mlp(6, (5, 4), 3), rule, nonlinearity="tanh")
        assert [int(bool(p.any())) for p in net.parameters() if p.dim() == 2] == expected, rule
        net = bdfa.initialise(bdfa.mlp(6, (5, 4), 3, nonlinearity_name="relu"), rule, nonlinearity="relu")
        assert all(p.any() for p in net.parameters())
    conv = bdfa.initialise(bdfa.conv((1, 23, 23), maps=(2, 2, 2), hidden=(3,)), "fa")
    assert not any(p.any() for p in conv.parameters())


def test_batch_norm_weights_of_the_original_are_random():
    """DEV-5."""
    net = bdfa.mlp(6, (50,), 3, batchnorm=True)
    assert torch.equal(bdfa.initialise(net).batchnorm1.weight, torch.ones(50))
    weights = bdfa.initialise(net, batchnorm="uniform").batchnorm1.weight.detach()
    assert 0 <= float(weights.min()) < 0.2
    assert 0.8 < float(weights.max()) < 1


@pytest.mark.parametrize("distribution", ["uniform", "normal", "orthogonal"])
def test_feedback_distributions_have_one_variance(distribution):
    matrix = feedback_matrix(10, 400, random=generator(1), scale=0.5, distribution=distribution)
    assert float(matrix.square().mean()) == pytest.approx(0.25 / 3, rel=0.1)
    if distribution == "orthogonal":
        product = matrix @ matrix.T
        torch.testing.assert_close(
            product, product[0, 0] * torch.eye(10, dtype=torch.float64), rtol=0, atol=1e-9
        )
        drawn = torch.empty(4, 4, dtype=torch.float64).normal_(generator=generator(1))
        square = feedback_matrix(4, 4, random=generator(1), scale=1.0, distribution="orthogonal")
        torch.testing.assert_close(square, torch.linalg.qr(drawn.T).Q.T * (2 / math.sqrt(3)))


def test_a_rule_of_ones_own_keeps_the_weights_whatever_its_name():
    """`fa` and the direct rules zero weights; a name that sorts behind them does not."""
    for name in ("aa", "zz"):
        rule, net = builtin_rule("fa"), bdfa.mlp(6, (5,), 3)
        own = SimpleNamespace(name=name, family="layer", needs_labels=False)
        for part in ("draw", "matrix", "broadcast", "learn"):
            setattr(own, part, getattr(rule, part, None))
        before = [p.clone() for p in net.parameters()]
        bdfa.rules.initialisation.zero_weights(net, own)
        assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_networks_have_the_originals_sizes():
    mlp, conv = bdfa.mlp(), bdfa.conv()
    assert sum(p.numel() for p in mlp.parameters()) == 1_276_810
    assert sum(p.numel() for p in conv.parameters()) == 10_071_562
    model = bdfa.FeedbackModel(conv, "dfa")
    assert [b.shape[1] for b in model.feedback.matrices] == [21_600, 6_272, 2_304, 2_048, 2_048]


def test_criteria_have_the_closed_form_error():
    scores, labels = torch.randn(4, 3, dtype=torch.float64, requires_grad=True), LABELS
    for name in ("bce", "ce"):
        for reduction in (None, "sum", "mean"):
            criterion = bdfa.Criterion(name, reduction)
            (gradient,) = torch.autograd.grad(criterion(scores, labels), scores)
            torch.testing.assert_close(criterion.error(scores, labels).detach(), gradient)
    quirk = bdfa.Criterion("ce", log_probabilities=True)
    y = nn.functional.one_hot(labels, 3).double()
    torch.testing.assert_close(quirk.error(scores, labels).detach(), -y / 4)
    assert float(bdfa.Criterion().report(torch.zeros(2, 10), torch.tensor([0, 1]))) == pytest.approx(
        math.log(2)
    )


def test_angles():
    assert angle(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])) == pytest.approx(90)
    assert angle(torch.ones(3), -torch.ones(3)) == pytest.approx(180)
    assert angle(torch.ones(3), torch.zeros(3)) == 90
    assert ratio(torch.full((2,), 3.0), torch.ones(2)) == pytest.approx(3)
    assert ratio(torch.ones(2), torch.zeros(2)) == 0


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_alignment_changes_nothing_and_bp_is_aligned(rule):
    model = bdfa.FeedbackModel(bdfa.mlp(6, (5, 4), 3, dropout_hidden=0.5), rule, feedback_lr=1.0)
    inputs = torch.randn(4, 6)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    entries = bdfa.measure_alignment(model, inputs, LABELS)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert [entry.layer for entry in entries] == ["linear1", "linear2", "output"]
    assert entries[-1].gradient_angle == pytest.approx(0, abs=1e-3)
    assert entries[-1].feedback_angle is None
    if rule == "bp":
        assert all(
            e.gradient_angle == pytest.approx(0, abs=1e-3) and e.feedback_angle is None for e in entries
        )
    else:
        assert all(1 < e.gradient_angle < 180 and 0 < e.feedback_angle < 180 for e in entries[:-1])


@pytest.mark.parametrize("taps", ["all", ["nonlinearity1"]])
def test_chains_are_products_of_weights_of_perceptrons_and_else_jacobians(taps):
    net, inputs = bdfa.mlp(6, (5, 4), 3), torch.randn(7, 6)
    model = bdfa.FeedbackModel(net, "dfa", **({} if taps == "all" else {"taps": taps}))
    pairs = bdfa.rules.alignment.feedback_chain(model, inputs)
    w2, w3 = net.linear2.weight, net.output.weight
    if taps == "all":
        expected = {"linear1": w3 @ w2, "linear2": w3}
    else:
        slope = 1 - torch.tanh(net.linear2(torch.tanh(net.linear1(inputs)))) ** 2
        expected = {"linear1": torch.einsum("cj,nj,ji->ci", w3, slope, w2) / len(inputs)}
    assert list(pairs) == list(expected)
    for name, wanted in expected.items():
        torch.testing.assert_close(pairs[name][1], wanted.detach())


def test_dfa_aligns_while_it_learns():
    random = generator(0)
    inputs = torch.randn(64, 20, generator=random)
    labels = inputs[:, :4].argmax(1)
    net = bdfa.initialise(bdfa.mlp(20, (16, 12), 4), "dfa")
    model = bdfa.FeedbackModel(net, "dfa", seed=1)
    monitor = bdfa.AlignmentMonitor(model, inputs, labels, every=100)
    optimiser = bdfa.make_optimiser("sgd", model.forward_parameters(), lr=3e-3)
    for step in range(201):
        optimiser.zero_grad()
        bdfa.Criterion()(model(inputs, labels=labels), labels).backward()
        optimiser.step()
        monitor.observe(step)
    assert [row["step"] for row in monitor.rows] == [0] * 3 + [100] * 3 + [200] * 3
    assert all(row["gradient_angle"] < 60 for row in monitor.rows[-3:])
    assert monitor.rows[-3]["drift"] == 0.0


def test_alignment_of_a_conv_net_uses_mean_jacobians():
    model = bdfa.FeedbackModel(bdfa.conv((1, 23, 23), 3, maps=(2, 2, 2), hidden=(4,)), "dfa")
    entries = bdfa.measure_alignment(model, torch.randn(2, 1, 23, 23), torch.tensor([0, 1]))
    assert [e.layer for e in entries] == ["convolution1", "convolution2", "convolution3", "linear4", "output"]
    assert all(math.isfinite(e.feedback_angle) for e in entries[:-1])


def defaults(callable_):
    """Arguments that have a default other than None."""
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (inspect.Parameter.empty, None)}


def test_defaults_are_the_originals_or_the_documented_ones():
    assert defaults(bdfa.mlp) == {
        "inputs": 784, "hidden": (800, 800), "classes": 10, "nonlinearity_name": "tanh", "dropout_input": 0.0,
        "dropout_hidden": 0.0, "batchnorm": False, "bias": True,
    }  # fmt: skip
    assert defaults(bdfa.FeedbackModel) == {
        "rule": "dfa", "taps": "auto", "criterion": "bce", "profile": "fixed", "feedback_scale": 0.0,
        "feedback_distribution": "uniform", "feedback_loss": "logistic", "feedback_alpha": 0.25,
        "feedback_update": "auto", "feedback_order": "sequential", "feedback_output": "identity",
        "target_scale": 1.0, "seed": 0,
    }  # fmt: skip
    assert defaults(feedback_target) == {"depth": 1, "probability": "bce"}
    assert defaults(feedback_gradient) == {"loss": "logistic"}
    assert defaults(adversarial_backward) == {"accumulate": False, "clean_rule": "bp"}
    assert defaults(feedback_matrix) == {"scale": 0.0, "distribution": "uniform"}
