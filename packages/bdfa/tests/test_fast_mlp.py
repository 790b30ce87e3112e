"""FastMLP gives the numbers of FeedbackModel, for one network and for many."""

from __future__ import annotations

import itertools

import bdfa
import pytest
import torch
from bdfa.engines import fast_updates
from bdfa.rules import optimisers

INPUTS, WIDTHS, CLASSES, STEPS, BATCH = 20, (16, 12, 9), 4, 4, 11
RULES = ("bp", "fa", "dfa", "bdfa", "bdfa", "bfa", "sign-dfa", "drtp")
OPTIMISERS = {
    "sgd": {"optimiser": "sgd"},
    "sgd, all options": {"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.01, "lr_decay": 0.05},
    "rmsprop": {"optimiser": "rmsprop", "weight_decay": 0.01},
    "adam": {"optimiser": "adam", "lr_decay": 0.1},
}


def make(
    rule: str, seed: int, nonlinearity: str = "tanh", bias: bool = True, **options
) -> bdfa.FeedbackModel:
    net = bdfa.mlp(INPUTS, WIDTHS, CLASSES, nonlinearity_name=nonlinearity, bias=bias).double()
    bdfa.initialise(net, rule, nonlinearity=nonlinearity, seed=seed, zero="uniform")
    return bdfa.FeedbackModel(net, rule, seed=seed + 7, feedback_lr=1e-2, **options)


def data() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(2)
    inputs = torch.randn(STEPS, BATCH, INPUTS, generator=random, dtype=torch.float64)
    return inputs, torch.randint(0, CLASSES, (STEPS, BATCH), generator=random)


def train_module(model: bdfa.FeedbackModel, optimiser: str, **options) -> bdfa.FeedbackModel:
    stepper = bdfa.make_optimiser(optimiser, model.forward_parameters(), lr=1e-2, **options)
    criterion = bdfa.Criterion(model.criterion, log_probabilities=model.log_probabilities)
    for x, y in zip(*data(), strict=True):
        stepper.zero_grad()
        criterion(model(x, labels=y), y).backward()
        stepper.step()
    model.feedback_step()
    return model


def train_fast(models, **options) -> bdfa.FastMLP:
    fast = bdfa.FastMLP(models, lr=1e-2, batch_size=5, **options)
    for x, y in zip(*data(), strict=True):
        fast.step(x, y)
    return fast


def assert_same(model: bdfa.FeedbackModel, other: bdfa.FeedbackModel) -> None:
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=1e-11, msg=key)


COMBINATIONS = [
    *itertools.product(["sgd"], ["tanh", "relu", "sigmoid"], ["fixed", "faithful"], ["bce", "ce"]),
    *itertools.product(list(OPTIMISERS)[1:], ["tanh"], ["fixed"], ["bce"]),
]


@pytest.mark.parametrize(("name", "nonlinearity", "profile", "criterion"), COMBINATIONS)
def test_one_and_many_networks_equal_the_module_path(name, nonlinearity, profile, criterion):
    options = {"nonlinearity": nonlinearity, "profile": profile, "criterion": criterion}
    single = [make(rule, seed, **options) for seed, rule in enumerate(RULES)]
    many = [make(rule, seed, **options) for seed, rule in enumerate(RULES)]
    for model in single:
        train_fast(model, **OPTIMISERS[name])
    train_fast(many, **OPTIMISERS[name])
    for seed, rule in enumerate(RULES):
        reference = train_module(make(rule, seed, **options), **OPTIMISERS[name])
        assert_same(reference, single[seed])
        assert_same(reference, many[seed])


@pytest.mark.parametrize("target", bdfa.TARGETS)
@pytest.mark.parametrize("loss", ["logistic", "mse"])
def test_feedback_learning_equals_the_module_path(target, loss):
    options = {"feedback_target": target, "feedback_loss": loss}
    models = [make("bdfa", seed, **options) for seed in range(3)]
    train_fast(models)
    for seed, model in enumerate(models):
        assert_same(train_module(make("bdfa", seed, **options), "sgd"), model)


def test_simultaneous_bfa_and_networks_without_bias():
    for options in ({"feedback_order": "simultaneous"}, {"bias": False}):
        model, reference = make("bfa", 1, **options), train_module(make("bfa", 1, **options), "sgd")
        train_fast(model)
        assert_same(reference, model)


@pytest.mark.parametrize("size", [1, CLASSES, CLASSES + 1])
@pytest.mark.parametrize("several", [False, True])
def test_bfa_of_any_batch_equals_the_module_path(monkeypatch, size, several):
    """Up to as many samples as classes it computes by sample, above by class, where a class may be absent."""
    inputs, labels = data()
    labels = labels.clone()
    labels[0] = 2
    monkeypatch.setitem(globals(), "data", lambda: (inputs[:, :size], labels[:, :size]))
    models = [make("bfa", seed) for seed in range(2 if several else 1)]
    train_fast(models)
    for seed, model in enumerate(models):
        assert_same(train_module(make("bfa", seed), "sgd"), model)


def test_bfa_outputs_of_several_networks_equal_the_module_path(monkeypatch):
    """Networks of both outputs next to each other: they share no feedback phase."""
    inputs, labels = data()
    monkeypatch.setitem(globals(), "data", lambda: (inputs.sigmoid(), labels))
    outputs = ("identity", "sigmoid", "sigmoid")
    models = [make("bfa", seed, feedback_output=output) for seed, output in enumerate(outputs)]
    train_fast(models)
    for seed, output in enumerate(outputs):
        assert_same(train_module(make("bfa", seed, feedback_output=output), "sgd"), models[seed])
    alone = make("bfa", 1, feedback_output="sigmoid")
    train_fast(alone)
    assert_same(alone, models[1])
    with pytest.raises(AssertionError):
        assert_same(train_module(make("bfa", 1), "sgd"), alone)


def test_a_sigmoid_output_refuses_inputs_it_cannot_generate():
    with pytest.raises(
        ValueError, match=r"inputs lie between -.*between 0 and 1; scale them, or use 'identity'"
    ):
        train_fast(make("bfa", 0, feedback_output="sigmoid"))
    with pytest.raises(ValueError, match="inputs lie between"):
        train_module(make("bfa", 0, feedback_output="sigmoid"), "sgd")


def test_every_network_may_have_its_own_batch():
    models = [make("dfa", seed) for seed in range(2)]
    fast = bdfa.FastMLP(models, lr=0.1)
    inputs, labels = torch.randn(2, 5, INPUTS, dtype=torch.float64), torch.randint(0, CLASSES, (5,))
    alone = [bdfa.FastMLP(make("dfa", seed), lr=0.1) for seed in range(2)]
    together = fast.step(inputs, labels).clone()
    for seed in range(2):
        torch.testing.assert_close(alone[seed].step(inputs[seed], labels), together[seed])
        assert_same(alone[seed].models[0], models[seed])


def test_the_rate_can_be_changed():
    model = make("dfa", 0)
    fast = bdfa.FastMLP(model, lr=1.0)
    fast.lr = 0.0
    before = [p.clone() for p in model.parameters()]
    fast.step(data()[0][0], data()[1][0])
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_saved_state_continues_bit_for_bit(name):
    inputs, labels = data()
    models = [make("bdfa", 0), make("bfa", 1)]
    fast = bdfa.FastMLP(models, **OPTIMISERS[name])
    for x, y in zip(inputs[:2], labels[:2], strict=True):
        fast.step(x, y)
    saved = [{k: v.clone() for k, v in m.state_dict().items()} for m in models], fast.state_dict()
    saved = saved[0], {k: {n: v.clone() if isinstance(v, torch.Tensor) else v for n, v in s.items()}
                       for k, s in saved[1].items()}  # fmt: skip
    again_models = [make("bdfa", 8), make("bfa", 9)]
    for model, state in zip(again_models, saved[0], strict=True):
        model.load_state_dict(state)
    again = bdfa.FastMLP(again_models, **OPTIMISERS[name])
    again.load_state_dict(saved[1])
    for x, y in zip(inputs[2:], labels[2:], strict=True):
        fast.step(x, y)
        again.step(x, y)
    for first, second in zip(models, again_models, strict=True):
        assert all(torch.equal(v, second.state_dict()[k]) for k, v in first.state_dict().items())


def test_without_the_fused_kernel_the_numbers_are_the_same(monkeypatch):
    fused = [make("dfa", 0), make("dfa", 1)]
    train_fast(fused[0], optimiser="rmsprop")
    train_fast(fused[1], optimiser="adam")
    monkeypatch.setattr(optimisers, "fused_available", lambda *_tensors: False)
    for model, name, seed in ((fused[0], "rmsprop", 0), (fused[1], "adam", 1)):
        plain = make("dfa", seed)
        train_fast(plain, optimiser=name)
        assert_same(model, plain)


@pytest.mark.parametrize("name", ["rmsprop", "adam"])
def test_networks_updated_one_by_one_have_the_same_numbers(name, monkeypatch):
    """Large networks are; here the limit is lowered."""
    monkeypatch.setattr(fast_updates, "ONE_BY_ONE", 0)
    many = [make(rule, seed) for seed, rule in enumerate(RULES)]
    train_fast(many, **OPTIMISERS[name])
    for seed, rule in enumerate(RULES):
        assert_same(train_module(make(rule, seed), **OPTIMISERS[name]), many[seed])


def test_empty_batch_changes_nothing():
    model = make("bdfa", 0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    bdfa.FastMLP(model, lr=0.1).step(torch.zeros(0, INPUTS), torch.zeros(0, dtype=torch.long))
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())
