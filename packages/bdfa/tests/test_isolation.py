"""Nothing but the rule's signal reaches what is below a tap, on networks with skips, ties and checkpoints."""

from __future__ import annotations

import copy

import bdfa
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

INPUTS, WIDTH, CLASSES = 10, 12, 4
DIRECT = [name for name, rule in bdfa.RULES.items() if rule.family == "direct"]
LAYER = [name for name, rule in bdfa.RULES.items() if rule.family == "layer"]


class Block(nn.Module):
    """Residual block; the skip is `skip(x)`, the body may be left out in training."""

    def __init__(self, skip: nn.Module, late: nn.Module) -> None:
        super().__init__()
        self.skip, self.late = skip, late
        self.first, self.tanh, self.second = nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.late(self.second(self.tanh(self.first(x))))


class Net(nn.Module):
    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.enter, self.blocks, self.leave = (
            nn.Linear(INPUTS, WIDTH),
            nn.Sequential(*blocks),
            nn.Linear(WIDTH, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.blocks(self.enter(x)))


NETS = {
    "identity skip": lambda: Net(Block(nn.Identity(), nn.Identity()), Block(nn.Identity(), nn.Identity())),
    "dropout skip": lambda: Net(
        Block(nn.Dropout(0.0), nn.Identity()), Block(nn.Dropout(0.0), nn.Dropout(0.0))
    ),
    "projected skip": lambda: Net(Block(nn.Linear(WIDTH, WIDTH), nn.Tanh())),
    "dropout before": lambda: Net(nn.Dropout(0.0), Block(nn.Identity(), nn.Dropout(0.0)), nn.Dropout(0.0)),
}


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(8, INPUTS, generator=random), torch.randint(0, CLASSES, (8,), generator=random)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("training", [True, False])
def test_gradients_below_taps_are_those_of_the_signals_alone(name, training, batch):
    """Plain reference: a pass without cuts, differentiated piece by piece with the signals `e B_k`."""
    torch.manual_seed(0)
    model = bdfa.FeedbackModel(NETS[name](), "dfa", example=batch[0], seed=2).train(training)
    scores = model(batch[0])
    (error,) = torch.autograd.grad(F.cross_entropy(scores, batch[1]), scores, retain_graph=True)
    F.cross_entropy(scores, batch[1]).backward()
    found = {key: p.grad for key, p in model.model.named_parameters()}
    with model.activations() as recorded:
        plain = model.model(batch[0])
    roots = [recorded[tap] for tap in model.tap_names] + [plain]
    signals = [error @ matrix for matrix in model.feedback.matrices] + [error]
    weights = dict(model.model.named_parameters())
    done: set[str] = set()
    for k, (root, signal) in enumerate(zip(roots, signals, strict=True)):
        below = torch.autograd.grad(
            root, list(weights.values()), signal, retain_graph=True, allow_unused=True
        )
        for key, gradient in zip(weights, below, strict=True):
            if gradient is not None and key not in done:
                done.add(key)
                torch.testing.assert_close(found[key], gradient, msg=f"{key} in piece {k}")
    assert done == set(weights)


class Stochastic(Net):
    """The skip around the block exists in training only."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        y = self.blocks[0](h)
        return self.leave(y + h if self.training else y)


class Skipping(Net):
    """The block is left out in training."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        return self.leave(h if self.training else self.blocks[0](h))


@pytest.mark.parametrize("rule", DIRECT)
@pytest.mark.parametrize(("kind", "words"), [(Stochastic, "bypasses tap"), (Skipping, "did not run")])
def test_skips_in_training_only_are_refused(rule, kind, words, batch):
    body = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())
    model = bdfa.FeedbackModel(kind(body), rule, taps=["blocks.0"], example=batch[0])
    with pytest.raises(ValueError, match=words):
        model(batch[0], labels=batch[1])
    model.eval()(batch[0], labels=batch[1])


def test_inputs_with_a_graph_of_their_own_pass_the_check(batch):
    encoder = nn.Linear(INPUTS, INPUTS)
    model = bdfa.FeedbackModel(Net(nn.Tanh()), "dfa", example=batch[0])
    F.cross_entropy(model(encoder(batch[0])), batch[1]).backward()
    assert encoder.weight.grad is not None


class Checkpointed(Net):
    reentrant = True

    def forward(self, x: Tensor) -> Tensor:
        h = self.enter(x)
        for block in self.blocks:
            h = checkpoint(block, h, use_reentrant=self.reentrant) if self.training else block(h)
        return self.leave(h)


def checkpointed() -> Checkpointed:
    torch.manual_seed(0)
    return Checkpointed(*(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh()) for _ in range(2)))


@pytest.mark.filterwarnings("ignore:None of the inputs")  # what torch says of the fault
@pytest.mark.parametrize("rule", DIRECT)
@pytest.mark.parametrize("taps", ["auto", ["enter"], ["blocks.0.1"]])
def test_reentrant_checkpoints_are_refused(rule, taps, batch):
    model = bdfa.FeedbackModel(checkpointed(), rule, taps=taps, example=batch[0])
    with pytest.raises(ValueError, match="re-entrant checkpoint"):
        model(batch[0], labels=batch[1])


@pytest.mark.parametrize("rule", bdfa.RULES)
@pytest.mark.parametrize("taps", ["auto", ["enter"], ["blocks.0"], ["blocks.0.0", "blocks.1.0"]])
def test_other_checkpoints_change_nothing(rule, taps, batch):
    if rule in ("bfa", "brsf"):
        pytest.skip("bfa takes perceptrons only; brsf redraws in the second pass")
    gradients = []
    for training in (False, True):
        net = checkpointed()
        net.reentrant = False
        model = bdfa.FeedbackModel(net, rule, taps=taps, example=batch[0], feedback_lr=0.0).train(training)
        F.cross_entropy(model(batch[0], labels=batch[1]), batch[1]).backward()
        gradients.append([p.grad for p in net.parameters()])
    for plain, ours in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)


class Functional(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.leave(F.linear(self.enter(x).tanh(), self.blocks[0].weight).tanh())


@pytest.mark.parametrize("rule", LAYER)
def test_a_weight_used_outside_of_its_layer_is_refused(rule, batch):
    net = Functional(nn.Linear(WIDTH, WIDTH))
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(ValueError, match=r"'blocks\.0' is also used outside"):
        bdfa.FeedbackModel(net, rule, example=batch[0])
    assert list(net.state_dict()) == list(before)
    assert all(type(module).__module__.startswith(("torch", __name__)) for module in net.modules())
    lazy = bdfa.FeedbackModel(net, rule)
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'blocks\.0' is also used outside"):
            lazy(batch[0])


@pytest.mark.parametrize("rule", LAYER)
def test_tied_weights_are_refused(rule):
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.mix, self.write = nn.Embedding(7, 5), nn.Linear(5, 5), nn.Linear(5, 7, bias=False)
            self.write.weight = self.read.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.write(self.mix(self.read(x)).tanh())

    net = Words()
    with pytest.raises(ValueError, match="'write' is tied to layer 'read'"):
        bdfa.FeedbackModel(net, rule, example=torch.zeros(2, 3, dtype=torch.long))
    assert type(net.mix) is nn.Linear
