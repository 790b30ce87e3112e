"""A user's own rules: those of the package in that form give equal bits; a published one that we do not have learns."""

import sys
from pathlib import Path

import dalton
import pytest
import torch
from dalton import cli
from dalton.rules import RULES
from e_prop import EProp
from reprokit import UserError
from reprokit.run.stored import read_run
from small_runs import DROPPED, TINY, WIDE, small

HERE = Path(__file__).parent
PAIRS = [("surrgd", "bptt"), ("tfr", "bptt"), ("dalton", "bptt"), ("tfr", "online"), ("dalton", "rtrl")]


class Wrapped:
    """A rule of the package, given as a user's own."""

    def __init__(self, inner: str, **members: object) -> None:
        self.inner, self.members = RULES[inner], members
        self.name, self.settings, self.losses = f"own {inner}", self.inner.settings, self.inner.losses
        vars(self).update(members)

    def trained(self, network):
        return self.members.get("trains", self.inner.trained(network))

    def begin(self, network, samples):
        return self.inner.begin(network, samples)

    def __call__(self, work, x):
        outputs = self.inner(work, x)
        return self.members.get("change", lambda work, outputs: outputs)(work, outputs)


def step(rule: object, setting: str, engine: str, **options: object) -> tuple[torch.Tensor, ...]:
    net = dalton.SpikingCNN(DROPPED, (1, 8, 8), 4, seed=2)
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.Adam(dalton.trainable(net, rule).values(), lr=1e-2)  # type: ignore[arg-type]
    for number in range(2):
        result = dalton.train_step(
            rule, net, optimizer, images, torch.arange(9) % 4, steps=6, setting=setting, burn_in=2, engine=engine,
            generator=torch.Generator().manual_seed(number), **options,
        )  # type: ignore[arg-type]  # fmt: skip
    return (*net.state_dict().values(), result.class_outputs, torch.as_tensor(result.loss))


@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize(("name", "setting"), PAIRS)
def test_a_strangers_rule_gives_the_same_bits(name: str, setting: str, engine: str) -> None:
    named, own = step(name, setting, engine), step(Wrapped(name), setting, engine)
    for a, b in zip(named, own, strict=True):
        assert torch.equal(a, b)


def test_e_prop_learns_the_digits() -> None:
    digits = dalton.data.load("digits", steps=12, train_size=800, test_size=200)
    net = dalton.SpikingCNN(WIDE, digits.input_shape, digits.classes, seed=1, gain=5.0)
    optimizer = torch.optim.Adam(dalton.trainable(net, EProp()).values(), lr=5e-3)  # type: ignore[arg-type]
    options = {"steps": 12, "setting": "online", "burn_in": 3, "loss": "ce"}
    for epoch in (1, 2, 3):
        for inputs, labels in digits.train.batches(50, epoch):
            dalton.train_step(EProp(), net, optimizer, inputs, labels, **options)  # type: ignore[arg-type]
    assert dalton.evaluate(net, digits.test, burn_in=3).accuracy > 0.5


def test_e_prop_is_the_same_with_both_engines() -> None:
    native, plain = (step(EProp(), "online", engine, dropout_masks={}) for engine in ("auto", "torch"))
    for a, b in zip(native, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_rule_trains_resumes_and_classifies_from_the_command_line(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_e_prop.py"
    file.write_text((HERE / "e_prop.py").read_text())
    words = ["train", "--rule", "own_e_prop:EProp", "--setting", "online", "--dataset", "digits", "--arch",
             "small_runs:WIDE", "--steps", "12", "--train-size", "800", "--test-size", "200", "--batch-size", "50",
             "--lr", "5e-3", "--gain", "5", "--loss", "ce", "--threads", "1", "--out", "run"]  # fmt: skip
    assert cli.main([*words, "--epochs", "3"]) == 0
    stored = read_run("run", package="dalton")
    assert stored.summary is not None
    assert stored.summary["selected_test_accuracy"] > 0.5
    assert stored.config["rule_source"].startswith("own_e_prop:EProp ")
    assert cli.main([*words, "--epochs", "3"]) == 0  # finished: nothing to do
    file.write_text(file.read_text().replace("eligible + influx", "0.9 * eligible + influx"))
    for command in ([*words, "--epochs", "3"], ["train", "run", "--out", "third"]):
        capsys.readouterr()
        assert cli.main(command) == 2
        assert f"the file {file} of --rule own_e_prop:EProp changed" in capsys.readouterr().err
    assert dalton.load("run").predict([[[0] * 8] * 8]).classes.shape == (1,)  # the rule plays no part in it
    del sys.modules["own_e_prop"]


def test_ids_of_other_runs_know_nothing_of_rules() -> None:
    assert "rule_source" not in small().content()
    own = small(method="e_prop:EProp", setting="online")
    assert own.content()["rule_source"] == own.rule_source
    assert dalton.TrainConfig(**{**vars(own), "method": "tfr"}).rule_source is None


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"settings": ("bptt", "batch")}, "settings .* give some of bptt, online, rtrl"),
        ({"losses": ()}, "losses"),
        ({"name": None}, "has no name"),
        ({"settings": ("online",)}, "own tfr has online only"),
        ({"losses": ("ce",)}, "own tfr is defined for ce"),
        ({"trains": ["conv9"]}, "trains 'conv9'; the weights are conv1"),
        ({"trains": ["conv1"]}, "gradient of 'conv2', which its trained"),
        ({"change": lambda _, outputs: outputs[0]}, r"returns \(9, 4\); give class outputs \(time, 9, 4\)"),
        ({"change": lambda work, o: work.gradients.pop("conv1") is None or o}, "leaves no gradient of conv1"),
        ({"change": lambda work, o: work.gradients.update(conv1=torch.zeros(3)) or o}, "gradient of shape"),
        ({"change": lambda work, o: work.losses.update(extra=1.0) or o}, "loss of 'extra'"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(members: dict, says: str) -> None:
    with pytest.raises(UserError, match=says):
        step(Wrapped("tfr", **members), "bptt", "torch")


def test_words_that_lead_to_no_rule_are_refused(capsys, tmp_path: Path) -> None:
    words = ["train", "--dataset", "digits", "--epochs", "1", "--out", str(tmp_path / "none"), "--rule"]
    for rule, says in (
        ("e_prop_absent:Rule", "there is no module 'e_prop_absent'"),
        ("e_prop:Absent", "has no 'Absent'"),
        ("e_prop:class_loss", "cannot be called without arguments"),
        ("e_prop:EProp", "--setting is bptt, but rule 'e-prop' has online"),
        ("daltn", "or an import path package.module:factory (did you mean 'dalton'?)"),
    ):
        assert cli.main([*words, rule]) == 2
        assert says in capsys.readouterr().err
    with pytest.raises(UserError, match="method is a class"):
        dalton.trainable(dalton.SpikingCNN(TINY, (1, 8, 8)), EProp)  # type: ignore[arg-type]
