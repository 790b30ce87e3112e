"""A user's own weight rules: those of the package in that form give equal bits; a published one learns."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nalsm
import numpy as np
import pytest
import torch
from nalsm import PlasticityParameters, ReferenceLiquid, Simulator
from nalsm.cli import main
from nalsm.engines.simulator import _warn_of_own
from nalsm.rules.builtin import BuiltinRule
from nalsm.training.runs import open_run
from nalsm_commands import command, run
from nalsm_small import small_network, small_rates
from reprokit import UserError, load_images
from triplet_stdp import TripletStdp

HERE = Path(__file__).parent
NETWORK = small_network()
WEIGHTS = NETWORK.start_weights(3.0)


class Stranger:
    """A rule of the package, given as a user's own."""

    def __init__(self, parameters: PlasticityParameters) -> None:
        self.inner = BuiltinRule(parameters)
        self.name = f"own {parameters.rule}"

    def start(self, wiring, samples, like):
        return self.inner.start(wiring, samples, like)

    def observe(self, memory, spikes):
        self.inner.observe(memory, spikes)

    def change(self, memory, weights, spikes, wiring):
        return self.inner.change(memory, weights, spikes, wiring)


@pytest.mark.parametrize("rule", ["stdp", "astrocyte", "calcium"])
def test_a_strangers_rule_gives_the_same_bits(rule: str) -> None:
    named = PlasticityParameters(rule=rule, rate_decay=0.99)
    own = replace(named, rule=Stranger(named))
    simulator = Simulator(NETWORK, engine="torch")
    shown = [
        simulator.present_in_sequence(small_rates(3), WEIGHTS, each, duration=15, carry_trace=True)
        for each in (named, own)
    ]
    for name in ("counts", "depression", "weights", "trace", "calcium"):
        assert np.array_equal(getattr(shown[0], name), getattr(shown[1], name)), name
    assert shown[0].counts.any()
    if rule != "calcium":
        side = [
            simulator.present_independent(small_rates(3), WEIGHTS, each, duration=15) for each in (named, own)
        ]
        assert np.array_equal(side[0].counts, side[1].counts)
    events = np.random.default_rng(0).integers(0, 2, (12, NETWORK.inputs))
    streams = [simulator.start(WEIGHTS, each) for each in (named, own)]
    for stream in streams:
        stream.run(events)
    assert np.array_equal(streams[0].weights, streams[1].weights)


def test_the_compiled_engine_hands_a_rule_of_ones_own_to_pytorch_and_says_so_once() -> None:
    own = PlasticityParameters(rule=TripletStdp(PlasticityParameters(rate=0.02)))
    with pytest.raises(UserError, match="engine 'events' cannot run your own rule 'triplet-stdp'"):
        Simulator(NETWORK, engine="events").present_independent(small_rates(2), WEIGHTS, own, duration=5)
    _warn_of_own.cache_clear()
    with pytest.warns(RuntimeWarning, match="rule 'triplet-stdp' is your own"):
        found = Simulator(NETWORK).present_independent(small_rates(2), WEIGHTS, own, duration=5)
    again = Simulator(NETWORK).present_independent(small_rates(2), WEIGHTS, own, duration=5)  # silent now
    assert np.array_equal(found.counts, again.counts)


def test_three_spikes_change_a_weight_as_the_paper_says() -> None:
    """Pre at 0 ms, post at 2 and 4 ms: the second post-synaptic spike meets r1 and o2."""
    rule = TripletStdp(PlasticityParameters(rate=1.0, rate_decay=1.0))
    post, pre = torch.tensor([0]), torch.tensor([1])
    no = torch.tensor([False])
    wiring = nalsm.rules.Wiring(post, pre, ~no, no, 2, 2)
    memory, total = rule.start(wiring, 1, torch.zeros(1, dtype=torch.float64)), 0.0
    for t in range(5):
        spikes = torch.tensor([[float(t in (2, 4)), float(t == 0)]], dtype=torch.float64)
        total += float(rule.change(memory, torch.zeros(1, 1), spikes, wiring))
    first = rule.a2p * np.exp(-2 / 16.8)
    second = np.exp(-4 / 16.8) * (rule.a2p + rule.a3p * np.exp(-2 / 125.0))
    assert total == pytest.approx(first + second)


def test_a_rule_trains_resumes_and_classifies_from_the_command_line(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "own_triplet.py"
    file.write_text((HERE / "triplet_stdp.py").read_text())
    words = [*command(Path("run"), rule="own_triplet:TripletStdp", rate="0.02", initial_samples="10",
                      duration="30", train_samples="150", validation_samples="30", engine="torch")]  # fmt: skip
    done = run(words)
    assert done.returncode == 0, done.stderr
    opened = open_run("run")
    assert opened.config.rule_source is not None
    summary = opened.stored.summary
    assert summary is not None
    assert summary["test_accuracy"] > 0.4
    counts, _ = opened.features("test")
    images = load_images("digits").test.images[: len(counts)]
    assert np.array_equal(
        nalsm.load("run", engine="torch").predict(images).classes, opened.readout().predict(counts)
    )
    assert run(words).returncode == 0  # finished: nothing to do
    file.write_text(file.read_text().replace("a2p, a3p, a2m, a3m = 0.1", "a2p, a3p, a2m, a3m = 0.2"))
    for again in (words, [*words[:3], "train", "run"]):
        done = run(again)
        assert done.returncode == 2
        assert f"the file {file} of --rule own_triplet:TripletStdp changed" in done.stderr
    with pytest.raises(UserError, match="changed since the run"):
        nalsm.load("run", engine="torch").predict(images[:1])
    del sys.modules["own_triplet"]


def test_ids_of_other_runs_know_nothing_of_rules() -> None:
    assert not {"rule", "rule_source"} & set(nalsm.Config().content())
    own = nalsm.Config(rule="triplet_stdp:TripletStdp")
    assert own.content()["rule_source"] == own.rule_source
    assert replace(own, rule=None).rule_source is None


def broken(**members: object) -> object:
    whole = {
        name: getattr(TripletStdp(PlasticityParameters()), name) for name in ("start", "observe", "change")
    }
    return SimpleNamespace(**({"name": "x"} | whole | members))


def test_a_rule_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for rule, says in (
        (broken(change=None), r"without change\(\)"),
        (broken(name=None), "has no name"),
        (TripletStdp, "is a class"),
        ("stpd", "choose one of none"),
    ):
        with pytest.raises(UserError, match=says):
            PlasticityParameters(rule=rule)
    liquid = ReferenceLiquid(
        NETWORK, None, PlasticityParameters(rule=broken(change=lambda *_: torch.zeros(3)))
    )
    with pytest.raises(UserError, match=r"rule 'x' returns changes \(3,\); it must be \(sample, synapse\)"):
        liquid.step(liquid.start(torch.as_tensor(WEIGHTS), 2), torch.ones(2, NETWORK.inputs))
    words = ["train", "--data", "digits", "--out", "none", "--rule"]
    for rule, says in (
        ("triplet_absent:Rule", "there is no module 'triplet_absent'"),
        ("triplet_stdp:Absent", "has no 'Absent'"),
        ("triplet", "must be an import path"),
    ):
        assert main([*words, rule]) == 2
        assert says in capsys.readouterr().err
    assert main(["train", "lsm", *words[1:], "triplet_stdp:TripletStdp"]) == 2
    assert "model lsm has fixed weights" in capsys.readouterr().err
    assert not Path("none").exists()
