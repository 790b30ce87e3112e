"""On a GPU: recorded steps as steps kernel by kernel and as on the CPU, and a whole training."""

from __future__ import annotations

from dataclasses import replace

import bdfa
import pytest
import torch
from bdfa.engines.engine import FastEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that PyTorch can use"),
]
RULES = ("bp", "fa", "dfa", "bdfa", "bfa", "sign-dfa", "drtp")
OPTIMISERS = (
    {"optimiser": "sgd"},
    {"optimiser": "sgd", "momentum": 0.9},
    {"optimiser": "rmsprop"},
    {"optimiser": "adam"},
)
SAMPLES, INPUTS, BATCH = 64, 20, 8


def make(rule: str, seed: int, device: str) -> bdfa.FeedbackModel:
    net = bdfa.mlp(INPUTS, (16, 12), 4).double()
    bdfa.initialise(net, rule, seed=seed, zero="uniform")
    return bdfa.FeedbackModel(net, rule, seed=seed + 7, feedback_lr=1e-2).to(device)


def trained(
    rules, device: str, graph: bool | None, **options
) -> tuple[list[bdfa.FeedbackModel], torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    images = torch.rand(SAMPLES, INPUTS, generator=random, dtype=torch.float64).to(device)
    labels = torch.randint(0, 4, (SAMPLES,), generator=random).to(device)
    models = [make(rule, seed, device) for seed, rule in enumerate(rules)]
    fast = bdfa.FastMLP(models, lr=1e-2, batch_size=BATCH, check=False, **options)
    sums = torch.zeros(len(rules), dtype=torch.float64, device=device)

    def note(scores: torch.Tensor, targets: torch.Tensor) -> None:
        sums.add_((scores.reshape(len(rules), -1, 4).argmax(-1) != targets).sum(-1))

    step = bdfa.ResidentStep(fast, images, labels, batch_size=BATCH, note=note, graph=graph)
    for epoch in range(3):
        fast.lr = 1e-2 / (1 + epoch)
        for index in torch.randperm(SAMPLES, generator=random).to(device).split(BATCH):
            step(index)
    if graph:
        assert step._graph is not None
    return models, sums


@pytest.mark.parametrize("options", OPTIMISERS, ids=str)
@pytest.mark.parametrize("rules", [RULES, *((rule,) for rule in RULES)], ids=str)
def test_recorded_steps_are_those_of_the_cpu(rules, options):
    wanted, errors = trained(rules, "cpu", None, **options)
    for graph in (True, False):
        found, counted = trained(rules, "cuda", graph, **options)
        assert torch.equal(counted.cpu(), errors)
        for model, other in zip(wanted, found, strict=True):
            for key, value in model.state_dict().items():
                torch.testing.assert_close(other.state_dict()[key].cpu(), value, rtol=0, atol=1e-9, msg=key)


@pytest.mark.parametrize("rule", ["dfa", "bfa"])
def test_a_training_with_graphs_is_one_without(rule, tmp_path, monkeypatch):
    config = bdfa.TrainConfig(
        dataset="digits", rule=rule, hidden=(32,), epochs=3, batch_size=32, device="cuda", plot=False, lr=1e-3
    )
    with_graphs = bdfa.train(replace(config, out=tmp_path / "graphs"))
    monkeypatch.setattr(FastEngine, "resident", lambda *_: None)
    without = bdfa.train(replace(config, out=tmp_path / "kernels"))
    for mine, theirs in zip(with_graphs.summaries, without.summaries, strict=True):
        assert mine["train_error"] == pytest.approx(theirs["train_error"], abs=0.01)
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-3)
