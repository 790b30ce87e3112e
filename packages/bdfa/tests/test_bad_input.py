"""Every misuse that the package detects gives one clear sentence."""

from __future__ import annotations

import bdfa
import pytest
import torch
from bdfa.rules.bdfa import warn_if_harmful
from bdfa.rules.tap_choice import check_scores
from reprokit import UserError
from torch import Tensor, nn

X, Y = torch.randn(6, 8), torch.randint(0, 3, (6,))


def chain(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 8), *middle, nn.Linear(8, 3))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.aside = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.tanh, self.last = nn.Tanh(), nn.Linear(8, 3)


class Branch(Net):
    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.first(x))
        return self.last(h + self.tanh(self.second(h)))


class Aside(Net):
    def forward(self, x: Tensor) -> Tensor:
        self.aside(x)
        return self.last(self.tanh(self.second(torch.tanh(self.first(x)))))


class Twice(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.tanh(self.second(self.tanh(self.first(x)))))


class Tied(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(nn.functional.linear(self.tanh(self.first(x)), self.first.weight)))


class Skipping(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return self[-1](torch.tanh(self[0](x)) + x)


class Output(nn.Module):
    def __init__(self, change) -> None:
        super().__init__()
        self.body, self.change = chain(nn.Tanh()), change

    def forward(self, x: Tensor):
        return self.change(self.body(x))


def use(net: nn.Module, rule: str = "dfa", **options) -> None:
    bdfa.FeedbackModel(net, rule, example=X, **options)


CASES = {
    "tap not on the path": (lambda: use(Aside(), taps=["aside"]), "'aside' is not on the path"),
    "tap inside a branch": (lambda: use(Branch(), taps=["tanh"]), "'tanh' sits inside a branch"),
    "tap that never runs": (lambda: use(Branch(), taps=["aside"]), "'aside' runs never"),
    "tap that runs twice": (lambda: use(Twice(), taps=["tanh"]), "'tanh' runs 2 times"),
    "tap that is the output": (lambda: use(chain(nn.Tanh()), taps=["2"]), "'2' is the network's output"),
    "tap that does not exist": (
        lambda: use(chain(nn.Tanh()), taps=["tan"]),
        "'tan' is not a layer.*its layers are: 0",
    ),
    "tap named twice": (lambda: use(chain(nn.Tanh()), taps=["1", "1"]), "names a layer twice"),
    "no tap": (lambda: use(chain(nn.Tanh()), taps=[]), "taps selects no layer"),
    "no hidden layer": (lambda: use(nn.Sequential(nn.Linear(8, 3))), "'auto' found no hidden layer"),
    "tied weights": (lambda: use(Tied(), taps=["tanh"]), "'first.weight' is tied"),
    "tied weights, automatic taps": (lambda: use(Tied()), "'first.weight' is tied"),
    "tied weights of bfa": (
        lambda: use(nn.Sequential(one := nn.Linear(8, 8), nn.Tanh(), one, nn.Tanh(), nn.Linear(8, 3)), "bfa"),
        "is tied",
    ),
    "in-place in training only": (
        lambda: bdfa.FeedbackModel(chain(nn.Identity(), nn.Dropout(0.5, inplace=True)), "dfa", taps=["0"])(X),
        "in-place operation.*tap '0'",
    ),
    "in-place after a tap": (
        lambda: use(chain(nn.ReLU(inplace=True)), taps=["0"]),
        "in-place operation.*tap '0'",
    ),
    "wrapped twice": (
        lambda: (net := chain(nn.Tanh()), use(net), use(net)),
        "already carries a feedback point",
    ),
    "wrapped twice, layer rules": (
        lambda: (net := chain(nn.Tanh()), use(net, "fa"), use(net, "usf")),
        "'2' already carries a feedback weight",
    ),
    "converted, then wrapped": (
        lambda: use(bdfa.convert(chain(nn.Tanh())), "bp"),
        "'0' already carries a feedback weight",
    ),
    "no module": (lambda: bdfa.FeedbackModel(lambda x: x), "model is a function"),
    "taps by number": (lambda: use(chain(nn.Tanh()), taps=1), "taps=1 is not understood"),
    "nan target scale": (
        lambda: use(chain(nn.Tanh()), "drtp", target_scale=float("nan")),
        "target_scale=nan",
    ),
    "feedback network of another rule": (
        lambda: use(chain(nn.Tanh()), feedback=bdfa.GenerativeFeedback([nn.Linear(8, 3)], "Tanh")),
        "feedback= is for rule 'bfa'",
    ),
    "feedback network of no layers": (lambda: bdfa.GenerativeFeedback([], "Tanh"), "layers is empty"),
    "feedback network in another order": (
        lambda: bdfa.GenerativeFeedback([nn.Linear(8, 3)], "Tanh", order="later"),
        "order='later' is unknown",
    ),
    "images as output": (lambda: use(Output(lambda z: z[:, :, None, None])), "is not class scores"),
    "one number as output": (lambda: use(Output(lambda z: z[:, :1])), "is not class scores"),
    "a vector as output": (lambda: use(Output(lambda z: z.sum(1))), "is not class scores"),
    "a tuple as output": (lambda: use(Output(lambda z: (z, z))), "returns a tuple"),
    "classes as output": (lambda: use(Output(lambda z: z.argmax(1))), "int64 tensor"),
    "probabilities as output": (lambda: use(Output(lambda z: z.softmax(1))), "are probabilities"),
    "log-probabilities as output": (lambda: use(Output(lambda z: z.log_softmax(1))), "are log-probabilities"),
    "unknown rule": (
        lambda: use(chain(nn.Tanh()), "dfaa"),
        "rule='dfaa' is unknown; choose one of bp, fa, dfa",
    ),
    "unknown criterion": (lambda: use(chain(nn.Tanh()), criterion="mse"), "criterion='mse' is unknown"),
    "unknown profile": (lambda: use(chain(nn.Tanh()), profile="exact"), "profile='exact' is unknown"),
    "unknown target": (
        lambda: use(chain(nn.Tanh()), "bdfa", feedback_target="hot"),
        "target 'hot' is unknown.*center",
    ),
    "unknown loss": (
        lambda: use(chain(nn.Tanh()), "bdfa", feedback_loss="l1"),
        "feedback loss 'l1' is unknown",
    ),
    "unknown order": (lambda: use(chain(nn.Tanh()), "bfa", feedback_order="none"), "feedback_order='none'"),
    "unknown output": (
        lambda: use(chain(nn.Tanh()), "bfa", feedback_output="tanh"),
        "feedback_output='tanh'",
    ),
    "unknown output of a generator": (
        lambda: bdfa.GenerativeFeedback([nn.Linear(2, 2)], "Tanh", output="relu"),
        "output='relu' is unknown; choose 'identity' or 'sigmoid'",
    ),
    "unknown distribution": (
        lambda: use(chain(nn.Tanh()), feedback_distribution="beta"),
        "'beta' is unknown",
    ),
    "negative feedback scale": (lambda: use(chain(nn.Tanh()), feedback_scale=-1.0), "feedback_scale=-1.0"),
    "nan feedback rate": (lambda: use(chain(nn.Tanh()), "bdfa", feedback_lr=float("nan")), "feedback_lr=nan"),
    "bfa on a conv net": (
        lambda: bdfa.FeedbackModel(bdfa.conv(), "bfa"),
        "'bfa' is defined for multi-layer.*'bdfa'",
    ),
    "bfa without hidden layer": (lambda: use(nn.Sequential(nn.Linear(8, 3)), "bfa"), "at least one hidden"),
    "fa without layers": (lambda: use(nn.Sequential(nn.Tanh()), "fa"), "no nn.Linear or nn.Conv2d"),
    "generate without bfa": (
        lambda: bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)).generate(Y),
        "only 'bfa' can generate",
    ),
    "unknown nonlinearity": (
        lambda: bdfa.mlp(8, nonlinearity_name="swish"),
        "nonlinearity='swish' is unknown",
    ),
    "one class": (lambda: bdfa.mlp(8, (4,), 1), "classes=1 is not allowed"),
    "no width": (lambda: bdfa.mlp(8, (0,), 3), r"hidden\[0\]=0 is not allowed"),
    "dropout above one": (lambda: bdfa.mlp(8, dropout_hidden=1.5), "dropout probability 1.5"),
    "small image": (lambda: bdfa.conv((3, 8, 8)), "too small"),
    "flat image": (lambda: bdfa.conv((784,)), "give .channel, height, width."),
    "unknown optimiser": (
        lambda: bdfa.make_optimiser("lbfgs", [nn.Parameter(X)], lr=1.0),
        "'lbfgs' is unknown",
    ),
    "momentum of rmsprop": (
        lambda: bdfa.make_optimiser("rmsprop", [nn.Parameter(X)], lr=1.0, momentum=0.5),
        "has no effect",
    ),
    "nag without momentum": (
        lambda: bdfa.make_optimiser("nag", [nn.Parameter(X)], lr=1.0),
        "needs momentum > 0",
    ),
    "negative rate": (
        lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=-1.0),
        "lr=-1.0 is not allowed",
    ),
    "zero norm": (lambda: bdfa.renorm([X], incoming=0.0), "incoming=0.0 is not allowed"),
    "fast path with dropout": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3, dropout_hidden=0.5))),
        "fast path.*Dropout",
    ),
    "fast path with usf": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), "usf")),
        "no rule 'usf'",
    ),
    "fast path with adamax": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), optimiser="adamax"),
        "not 'adamax'",
    ),
    "fast path of two shapes": (
        lambda: bdfa.FastMLP([bdfa.FeedbackModel(bdfa.mlp(8, (w,), 3)) for w in (4, 5)]),
        "same sizes",
    ),
    "fast path without models": (lambda: bdfa.FastMLP([]), "models is empty"),
    "fast path, one model twice": (
        lambda: bdfa.FastMLP([model := bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), model]),
        "holds a FeedbackModel twice",
    ),
    "fast path of two dtypes": (
        lambda: bdfa.FastMLP(
            [bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3).double())]
        ),
        "differs in dtype",
    ),
    "fast path, frozen weights": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3).requires_grad_(False), "bp")),
        "linear1.weight is frozen",
    ),
    "fast path, manual feedback": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), "bdfa", feedback_update="manual")),
        "feedback_update='auto'",
    ),
    "fast path, criterion by name": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), criterion="bce"),
        "is not a bdfa.Criterion",
    ),
    "fast path, empty batches": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), batch_size=0),
        "batch_size=0",
    ),
    "fast path, momentum above one": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3)), momentum=1.5),
        "momentum=1.5",
    ),
    **{
        f"fast path, {name}": (
            lambda net=net: bdfa.FastMLP(bdfa.FeedbackModel(net, "bp")),
            "needs a Tanh after",
        )
        for name, net in {
            "two linear layers in a row": chain(nn.Tanh(), nn.Linear(8, 8)),
            "two nonlinearities in a row": chain(nn.Tanh(), nn.Tanh()),
            "nonlinearity after the output": nn.Sequential(chain(nn.Tanh()), nn.Tanh()),
            "nonlinearity before the first layer": nn.Sequential(nn.Tanh(), chain(nn.Tanh())),
        }.items()
    },
    "fast path, its own Sequential": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(Skipping(*chain(nn.Tanh())), "bp")),
        "is a Skipping",
    ),
    "bfa with two linear layers in a row": (
        lambda: use(chain(nn.Tanh(), nn.Linear(8, 8)), "bfa"),
        "needs a Tanh after each hidden",
    ),
    "fast path, another feedback nonlinearity": (
        lambda: bdfa.FastMLP(
            bdfa.FeedbackModel(
                net := bdfa.mlp(8, (4,), 3),
                "bfa",
                feedback=bdfa.GenerativeFeedback([net.linear1, net.output], "ReLU"),
            )
        ),
        "one nonlinearity in both directions",
    ),
    "fast path, wrong inputs": (
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3))).step(X[:, :5], Y),
        "do not fit",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_misuse_is_explained(name):
    action, message = CASES[name]
    with pytest.raises(UserError, match=message):
        action()


LABELS = {
    "too large": (torch.tensor([0, 3]), "range from 0 to 3.*must lie in 0..2"),
    "negative": (torch.tensor([-1, 0]), "range from -1 to 0"),
    "one-hot": (torch.eye(3)[:2].long(), r"shape \(2, 3\)"),
    "floating": (torch.tensor([0.0, 1.0]), "type torch.float32"),
    "a list": ([0, 1], "type list"),
    "too many": (torch.tensor([0, 1, 2]), r"shape \(3,\)"),
}


@pytest.mark.parametrize("name", LABELS)
def test_wrong_labels_are_explained(name):
    labels, message = LABELS[name]
    model = bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), "bdfa")
    for action in (
        lambda: model(X[:2], labels=labels),
        lambda: bdfa.Criterion("ce")(torch.zeros(2, 3), labels),
        lambda: bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3))).step(X[:2], labels),
    ):
        with pytest.raises(UserError, match=message):
            action()


def test_scores_of_no_sample_are_no_probabilities():
    check_scores(torch.zeros(0, 3))
    with pytest.raises(UserError, match="probabilities"):
        check_scores(torch.full((1, 2), 0.5))


def test_a_negative_label_beside_one_that_is_left_out_is_explained():
    with pytest.raises(UserError, match="range from -1 to 2"):
        bdfa.Criterion("ce")(torch.zeros(3, 3), torch.tensor([-100, -1, 2]))


def test_drtp_evaluates_without_labels_but_cannot_send_them_back():
    model = bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), "drtp").eval()
    scores = model(X)
    assert scores.shape == (6, 3)
    with pytest.raises(UserError, match="labels=labels"):
        scores.sum().backward()


@pytest.mark.parametrize("rule", ["bdfa", "bfa", "drtp"])
def test_missing_labels_are_explained(rule):
    model = bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), rule)
    with pytest.raises(UserError, match="labels=labels"):
        model(X)


def test_time_steps_must_agree():
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.outer = nn.Linear(8, 4), nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.outer(self.inner(x).mean(1, keepdim=True).expand(-1, 7, -1))

    with pytest.raises(UserError, match=r"'inner' has shape \(2, 5, 4\).*the scores' \(2, 7\)"):
        bdfa.FeedbackModel(Pooled(), "dfa", example=torch.randn(2, 5, 8))


def test_harmful_targets_warn():
    with pytest.warns(UserWarning, match="doubles the error"):
        warn_if_harmful("onehot", "logistic", "rmsprop")
