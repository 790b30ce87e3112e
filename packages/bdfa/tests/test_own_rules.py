"""A user's own rules: built-in ones in that form give equal numbers; a published one that we do not have learns."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bdfa
import pytest
import torch
from bdfa import cli
from bdfa.rules.builtin import NAMES, builtin_rule
from bdfa.training.runs import open_run
from reprokit import UserError, load_images
from torch import Tensor, nn
from weight_mirror import WeightMirror

HERE = Path(__file__).parent
PLAIN = ("train", "--dataset", "digits", "--hidden", "32", "--lr", "2e-3", "--batch-size", "32", "--no-plot")


def trained(
    rule: object, network: nn.Module, shape: tuple[int, ...], scale: bool = False
) -> tuple[Tensor, ...]:
    """Train three steps; returns all weights and feedback, and the last gradients."""
    torch.manual_seed(3)
    model = bdfa.FeedbackModel(network, rule, seed=5, example=torch.zeros(2, *shape))  # type: ignore[arg-type]
    optimiser = bdfa.make_optimiser("rmsprop", model.forward_parameters(), lr=1e-2)
    scaler, criterion = torch.amp.GradScaler("cpu", init_scale=8.0, enabled=scale), bdfa.Criterion("bce")
    for step in range(3):
        torch.manual_seed(step)  # brsf draws from it
        images, labels = torch.randn(6, *shape), torch.randint(0, 4, (6,))
        optimiser.zero_grad()
        scaler.scale(criterion(model(images, labels=labels), labels)).backward()
        gradients = [p.grad.clone() for p in model.forward_parameters() if p.grad is not None]
        scaler.step(optimiser)
        scaler.update()
    state = model.state_dict()
    return (*(state[name] for name in sorted(state)), *gradients)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_form_of_a_rule_gives_the_same_bits(name: str) -> None:
    for make, shape in (
        (lambda: bdfa.mlp(7, (9, 8), 4), (7,)),
        (lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 2), nn.Tanh(), nn.Flatten(),
                               nn.Linear(18, 4)), (1, 6, 6)),
    ):  # fmt: skip
        torch.manual_seed(0)
        first = make()
        torch.manual_seed(0)
        second = make()
        named, plain = trained(name, first, shape), trained(builtin_rule(name), second, shape)
        assert len(named) == len(plain)
        for a, b in zip(named, plain, strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["sign-dfa", "drtp", "bdfa"])
def test_a_scaled_loss_reaches_the_plain_form_unscaled(name: str) -> None:
    torch.manual_seed(0)
    first = bdfa.mlp(7, (9,), 4)
    torch.manual_seed(0)
    second = bdfa.mlp(7, (9,), 4)
    for a, b in zip(
        trained(name, first, (7,), True), trained(builtin_rule(name), second, (7,), True), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_the_fast_engine_refuses_a_rule_of_ones_own_whatever_its_name() -> None:
    with pytest.raises(UserError, match="the fast path has no rule 'dfa'"):
        bdfa.FastMLP(bdfa.FeedbackModel(bdfa.mlp(4, (6,), 3), builtin_rule("dfa")))  # type: ignore[arg-type]


def test_bfa_has_no_plain_form() -> None:
    with pytest.raises(UserError, match="'bfa' has no such object; choose one of bp"):
        builtin_rule("bfa")


def test_weight_mirroring_learns_the_digits_and_its_feedback_finds_the_weights() -> None:
    digits = load_images("digits")
    images = torch.from_numpy(digits.train.images).float().flatten(1) / 255
    labels = torch.from_numpy(digits.train.labels)
    torch.manual_seed(0)
    model = bdfa.FeedbackModel(bdfa.mlp(64, (32, 32), 10), WeightMirror(), seed=1)  # type: ignore[arg-type]
    optimiser = bdfa.make_optimiser("rmsprop", model.forward_parameters(), lr=3e-3)
    for batch in torch.randperm(len(labels)).repeat(4).split(32):
        optimiser.zero_grad()
        bdfa.Criterion("bce")(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    model.eval()
    wrong = model(torch.from_numpy(digits.test.images).float().flatten(1) / 255).argmax(1).numpy()
    assert (wrong == digits.test.labels).mean() > 0.7
    angles = bdfa.measure_alignment(model, images[:64], labels[:64])
    assert all(entry.gradient_angle < 60 for entry in angles)  # fixed random feedback: about 80


def test_a_rule_trains_resumes_and_classifies_from_the_command_line(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_mirror_rule.py"
    file.write_text((HERE / "weight_mirror.py").read_text())
    words = [*PLAIN, "--rule", "own_mirror_rule:WeightMirror", "--engine", "module", "--out", "run"]
    assert cli.main([*words, "--epochs", "4"]) == 0
    run = open_run(Path("run"))
    assert run.summaries()[0]["test_error"] < 0.4
    assert run.summaries()[0]["rule"] == "own_mirror_rule:WeightMirror"
    images = load_images("digits").test.images[:20]
    before = bdfa.load("run").predict(images).scores
    assert cli.main([*words, "--epochs", "4"]) == 0  # finished: nothing to do
    assert cli.main(["train", "run", "--out", "again", "--no-plot"]) == 0  # the options of the run
    assert (bdfa.load("again").predict(images).scores == before).all()
    identity = run.configs[0].content()
    file.write_text(file.read_text().replace("0.1, 0.1", "0.1, 0.2"))
    changed = bdfa.TrainConfig(**{**vars(run.configs[0]), "rule_source": None})
    assert changed.content() != identity  # another run id
    for command in ([*words, "--epochs", "4"], ["evaluate", "run"], ["train", "run", "--out", "third"]):
        capsys.readouterr()
        assert cli.main(command) == 2
        assert f"the file {file} of --rule own_mirror_rule:WeightMirror changed" in capsys.readouterr().err
    del sys.modules["own_mirror_rule"]


def incomplete(**changes: object) -> object:
    members = {"name": "x", "family": "direct", "needs_labels": False}
    members |= {name: getattr(builtin_rule("dfa"), name) for name in ("draw", "matrix", "broadcast", "learn")}
    return SimpleNamespace(**(members | changes))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"family": "global"}, "family='global'; it must be 'layer' or 'direct'"),
        ({"needs_labels": None}, "needs_labels=None"),
        ({"name": None}, "has no name"),
        ({"learn": None}, r"without learn\(\)"),
        ({"draw": lambda *_: None}, "draw returns nothing"),
        ({"draw": lambda *_: torch.zeros(3, 5)}, r"draw returns \(3, 5\) .* must have shape \(3, 6\)"),
        ({"draw": lambda *_: 1}, "draw returns a int"),
        ({"broadcast": lambda e, _: e[:1]}, r"broadcast returns \(1, 3\); it must have shape \(2, 3\)"),
        ({"matrix": lambda *_: torch.zeros(6, 3)}, r"matrix of .* is \(6, 3\); it must have shape \(3, 6\)"),
        (
            {"family": "layer", "matrix": lambda *_: torch.zeros(2, 2), "draw": lambda *_: None},
            r"is \(2, 2\)",
        ),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(changes: dict, says: str) -> None:
    def use() -> None:
        model = bdfa.FeedbackModel(bdfa.mlp(4, (6,), 3), incomplete(**changes))  # type: ignore[arg-type]
        model(torch.ones(2, 4)).sum().backward()

    with pytest.raises(UserError, match=says):
        use()


@pytest.mark.parametrize("shape", [(5, 4), (5, 2, 4)])
def test_learn_sees_a_row_for_every_sample_and_time_step(shape: tuple[int, ...]) -> None:
    seen: list[Any] = []
    own = incomplete(learn=lambda _place, _own, _state, one: seen.append(one))
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    model = bdfa.FeedbackModel(net, own, example=torch.randn(shape))  # type: ignore[arg-type]
    scores = model(torch.randn(shape))
    scores.sum().backward()
    rows = scores.detach().reshape(-1, 3)
    assert [one.output.shape for one in seen] == [rows.shape]
    assert torch.equal(seen[0].output, rows)
    assert seen[0].error.shape == rows.shape
    assert seen[0].activity.shape == (len(rows), 6)


def test_words_that_lead_to_no_rule_are_refused(capsys) -> None:
    for rule, says in (
        ("weight_mirror_absent:Rule", "there is no module 'weight_mirror_absent'"),
        ("weight_mirror:Absent", "has no 'Absent'"),
        ("weight_mirror:Tensor", "without draw()"),
        ("dfaa", "or an import path package.module:factory (did you mean 'dfa'?)"),
    ):
        assert cli.main([*PLAIN, "--rule", rule, "--epochs", "1", "--out", "none"]) == 2
        assert says in capsys.readouterr().err
    assert not Path("none").exists()
    with pytest.raises(UserError, match="is a class"):
        bdfa.FeedbackModel(bdfa.mlp(4, (6,), 3), WeightMirror)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="--compile is for the rules of this package"):
        bdfa.TrainConfig(rule="weight_mirror:WeightMirror", compile=True)


class Backwards(nn.Module):
    """Registers its layers from the scores down, so that the first registered runs last."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.middle, self.first = nn.Linear(5, 4), nn.Linear(6, 5), nn.Linear(7, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.middle(torch.tanh(self.first(x)))))


@pytest.mark.parametrize(
    ("name", "network", "expected"),
    [
        ("dfa", lambda: bdfa.mlp(7, (6, 5), 4), [(0, 2, (4, 6)), (1, 2, (4, 5))]),
        ("fa", lambda: bdfa.mlp(7, (6, 5), 4), [(0, 2, (5, 6)), (1, 2, (4, 5))]),
        ("fa", Backwards, [(0, 2, (5, 6)), (1, 2, (6, 7)), (2, 3, (4, 5))]),
    ],
)
def test_places_are_counted_from_the_input(
    name: str, network: Any, expected: list[tuple[int, int, tuple[int, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rule, places = builtin_rule(name), []
    plain = rule.draw
    monkeypatch.setattr(
        type(rule), "draw", lambda _, place, random: (places.append(place), plain(place, random))[1]
    )
    bdfa.FeedbackModel(network(), rule, example=torch.zeros(2, 7))
    assert [place[1:] for place in places] == expected
