"""Random networks (residual, branching, recurrent, tied, checkpointed): every rule against a plain one."""

from __future__ import annotations

import copy
import random

import bdfa
import pytest
import torch
import torch.nn.functional as F
from plain_gradients import learnt, plain_gradients
from reprokit import UserError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH, CLASSES, BATCH = 6, 3, 4
DIRECT = [name for name, rule in bdfa.RULES.items() if rule.family == "direct"]
LAYER = ["fa", "usf", "frsf", "kolen-pollack"]  # brsf redraws
SEEDS = range(28)


def linear() -> nn.Linear:
    return nn.Linear(WIDTH, WIDTH)


class Residual(nn.Module):
    def __init__(self, body: nn.Module, skip: nn.Module) -> None:
        super().__init__()
        self.body, self.skip = body, skip

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Branches(nn.Module):
    def __init__(self, *branches: nn.Module, product: bool) -> None:
        super().__init__()
        self.branches, self.product = nn.ModuleList(branches), product

    def forward(self, x: Tensor) -> Tensor:
        values = [branch(x) for branch in self.branches]
        return values[0] * torch.sigmoid(values[1]) if self.product else sum(values)  # type: ignore[return-value]


class Loop(nn.Module):
    """The same layers three times: recurrence."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            x = torch.tanh(self.body(x) + x)
        return x


class Unrolled(nn.Module):
    """An LSTM over the units as a sequence, its outputs and its last state used."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.LSTM(1, WIDTH, batch_first=True), linear()

    def forward(self, x: Tensor) -> Tensor:
        outputs, (state, _) = self.rnn(x[..., None])
        return self.out(outputs[:, -2] + state[0])


class Tied(nn.Module):
    """Two layers with one weight, in one block."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.tanh, self.two = linear(), nn.Tanh(), linear()
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(self.tanh(self.one(x)))


class Checkpointed(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.body, x, use_reentrant=False)  # type: ignore[return-value]


class Pair(nn.Module):
    """Passes its result on in a tuple."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(x), x


class First(nn.Module):
    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.pair = pair

    def forward(self, x: Tensor) -> Tensor:
        return self.pair(x)[0]


def block(choose: random.Random, depth: int, recurrent: bool) -> nn.Module:
    def inner() -> nn.Module:
        return block(choose, depth - 1, recurrent)

    plain = [
        lambda: nn.Sequential(linear(), nn.Tanh()),
        lambda: nn.Sequential(linear(), nn.ReLU(), linear()),
        lambda: nn.Sequential(nn.LayerNorm(WIDTH), linear(), nn.GELU()),
        lambda: nn.Dropout(0.0),
        *([Tied, Unrolled] if recurrent else []),
    ]
    nested = [
        lambda: Residual(inner(), choose.choice([nn.Identity, linear, lambda: nn.Dropout(0.0)])()),
        lambda: Branches(inner(), linear(), product=choose.random() < 0.5),
        lambda: Branches(linear(), inner(), linear(), product=False),
        lambda: Loop(nn.Sequential(linear(), nn.Tanh())),
        lambda: Checkpointed(nn.Sequential(linear(), nn.Tanh())),
        lambda: First(Pair(inner())),
    ]
    return choose.choice(plain if depth == 0 else plain + nested)()


def network(seed: int, recurrent: bool = True) -> nn.Module:
    choose = random.Random(seed)
    torch.manual_seed(seed)
    blocks = [block(choose, 2, recurrent) for _ in range(choose.randint(1, 4))]
    return nn.Sequential(linear(), *blocks, nn.Linear(WIDTH, CLASSES))


def batch(seed: int) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, WIDTH, generator=drawn), torch.randint(0, CLASSES, (BATCH,), generator=drawn)


def close(model: nn.Module, wanted: dict[str, Tensor]) -> None:
    for name, parameter in model.named_parameters():
        found = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        expected = wanted.get(name, torch.zeros_like(parameter))
        torch.testing.assert_close(found, expected, msg=name, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_direct_rules(seed):
    inputs, labels = batch(seed)
    for rule in DIRECT:
        model = bdfa.FeedbackModel(network(seed), rule, example=inputs, feedback_lr=0.1, seed=seed)
        matrices = [matrix.clone() for matrix in model.feedback.matrices]
        F.cross_entropy(model(inputs, labels=labels), labels).backward()
        taps = {
            name: (lambda output: output[0] if isinstance(output, tuple) else output, matrix)
            for name, matrix in zip(model.tap_names, matrices, strict=True)
        }
        close(model.model, plain_gradients(network(seed), inputs, labels, rule, taps))
        if rule == "bdfa":
            with model.activations() as recorded:
                scores = model(inputs)
            for name, old, new in zip(model.tap_names, matrices, model.feedback.matrices, strict=True):
                torch.testing.assert_close(new, learnt(old, recorded[name], scores, labels, 0.1))


def with_feedback(layer: nn.Linear, feedback: Tensor) -> None:
    """`x W^T + b` whose input gradient goes through F: two terms, one of them without value, one without gradient."""

    def forward(x: Tensor) -> Tensor:
        way_back = x @ feedback.T
        return F.linear(x.detach(), layer.weight, layer.bias) + (way_back - way_back.detach())

    layer.forward = forward  # type: ignore[method-assign]


@pytest.mark.parametrize("seed", SEEDS)
def test_layer_rules(seed):
    inputs, labels = batch(seed)
    for rule in LAYER:
        net = network(seed, recurrent=False)
        plain = copy.deepcopy(net)
        model = bdfa.FeedbackModel(net, rule, example=inputs, seed=seed)
        layers = dict(plain.named_modules())
        for name in model.feedback_names():
            layer = net.get_submodule(name)
            with_feedback(layers[name], layer.feedback_weight().detach())  # type: ignore[arg-type,operator]
        F.cross_entropy(model(inputs), labels).backward()
        F.cross_entropy(plain(inputs), labels).backward()
        wanted = {name: p.grad for name, p in plain.named_parameters() if p.grad is not None}
        for name, parameter in net.named_parameters():
            if not name.endswith("feedback"):
                torch.testing.assert_close(parameter.grad, wanted.get(name), msg=name)
        assert set(model.feedback_names()) | {"0"} == {
            name for name, layer in layers.items() if isinstance(layer, nn.Linear)
        }


@pytest.mark.parametrize("seed", range(5))
def test_layer_rules_refuse_what_they_cannot_train(seed):
    for kind in (Tied, Unrolled):
        net = nn.Sequential(linear(), block(random.Random(seed), 1, False), kind(), nn.Linear(WIDTH, CLASSES))
        for rule in bdfa.RULES:
            if bdfa.RULES[rule].family == "layer":
                with pytest.raises(UserError, match=r"is tied to|is an nn\.LSTM"):
                    bdfa.FeedbackModel(net, rule, example=batch(seed)[0])
