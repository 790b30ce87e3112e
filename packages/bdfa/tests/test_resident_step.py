"""A step on resident data gives the numbers of FastMLP.step, kernel by kernel and recorded."""

from __future__ import annotations

import bdfa
import pytest
import torch
from bdfa.engines import resident_step
from bdfa.engines.engine import FastEngine
from bdfa.training.evaluation import scores_loss
from bdfa.training.loop import train_together
from reprokit import UserError

SAMPLES, INPUTS, CLASSES, BATCH, STEPS = 30, 12, 4, 6, 8
RULES = ("bp", "fa", "dfa", "bdfa", "bfa", "sign-dfa", "drtp")
OPTIMISERS = {
    "sgd": {"optimiser": "sgd", "weight_decay": 0.01},
    "momentum": {"optimiser": "sgd", "momentum": 0.9},
    "rmsprop": {"optimiser": "rmsprop"},
    "adam": {"optimiser": "adam", "feedback_optimiser": "adam"},
}


def make(rule: str, seed: int, **options) -> bdfa.FeedbackModel:
    net = bdfa.mlp(INPUTS, (7, 5), CLASSES).double()
    bdfa.initialise(net, rule, seed=seed, zero="uniform")
    return bdfa.FeedbackModel(net, rule, seed=seed + 7, feedback_lr=1e-2, **options)


def data() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    random = torch.Generator().manual_seed(2)
    images = torch.rand(SAMPLES, 3, 2, 2, generator=random, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (SAMPLES,), generator=random)
    return images, labels, [torch.randperm(SAMPLES, generator=random)[:BATCH] for _ in range(STEPS)]


def plainly(models, rates=(), **options) -> bdfa.FastMLP:
    images, labels, batches = data()
    fast = bdfa.FastMLP(models, lr=1e-2, batch_size=BATCH, **options)
    for number, index in enumerate(batches):
        fast.lr = rates[number] if rates else fast.lr
        fast.step(images[index], labels[index])
    return fast


def resident(models, record=None, rates=(), note=None, **options) -> bdfa.ResidentStep:
    images, labels, batches = data()
    fast = bdfa.FastMLP(models, lr=1e-2, batch_size=BATCH, **options)
    step = bdfa.ResidentStep(fast, images, labels, batch_size=BATCH, note=note)
    assert step.record is None
    step.record = record and (lambda body: record(body, step))
    for number, index in enumerate(batches):
        fast.lr = rates[number] if rates else fast.lr
        step(index)
    return step


class Recording:
    """A stand-in for a CUDA graph: recording runs nothing, and playing runs kernels but none of the host's counting."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, body, step):
        self.recorded += 1
        rates, counts = [update.lr for update in step.updates], [update.steps for update in step.updates]

        def play() -> None:
            self.played += 1
            now = [(update.lr, update.steps) for update in step.updates]
            for update, rate, count in zip(step.updates, rates, counts, strict=True):
                update.lr, update.steps = rate, count  # as they were when it was recorded
            body()
            for update, (rate, count) in zip(step.updates, now, strict=True):
                update.lr, update.steps = rate, count

        return play


def assert_same(models, others, tolerance: float) -> None:
    for model, other in zip(models, others, strict=True):
        for key, value in model.state_dict().items():
            torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=tolerance, msg=key)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_numbers_are_those_of_the_step_with_given_batches(name, several):
    options = OPTIMISERS[name]
    for rules in [RULES] if several else [(rule,) for rule in RULES]:
        wanted, found, played = ([make(rule, seed) for seed, rule in enumerate(rules)] for _ in range(3))
        plain = plainly(wanted, **options)
        step = resident(found, **options)
        assert_same(wanted, found, 0.0)  # kernel by kernel the bits are the same
        recording = Recording()
        replayed = resident(played, recording, **options)
        assert (recording.recorded, recording.played) == (1, STEPS - 2)
        assert_same(wanted, played, 1e-12 if name == "adam" else 0.0)
        for other in (step, replayed):
            assert [update.steps for update in other.updates] == [update.steps for update in plain.updates]


def test_a_step_is_recorded_again_when_the_rate_or_the_place_of_the_state_changes():
    rates = [0.01] * 4 + [0.005] * 4
    wanted, played = ([make("bfa", 1)] for _ in range(2))
    plainly(wanted, rates, optimiser="adam")
    recording = Recording()
    step = resident(played, recording, rates, optimiser="adam")
    assert recording.recorded == 2
    assert_same(wanted, played, 1e-12)
    step.fast.load_state_dict(step.fast.state_dict())
    images, labels, batches = data()
    plain = bdfa.FastMLP(wanted[0], lr=0.005, optimiser="adam")
    plain.load_state_dict(step.fast.state_dict())
    for index in batches[:3]:
        step(index)
        plain.step(images[index], labels[index])
    assert recording.recorded == 3
    assert_same(wanted, played, 1e-12)


def test_a_smaller_batch_between_recorded_steps_keeps_the_count():
    images, labels, batches = data()
    wanted, played = make("dfa", 1), make("dfa", 1)
    plain = bdfa.FastMLP(wanted, optimiser="adam", lr=1e-2)
    fast = bdfa.FastMLP(played, optimiser="adam", lr=1e-2)
    step, recording = bdfa.ResidentStep(fast, images, labels, batch_size=BATCH), Recording()
    step.record = lambda body: recording(body, step)
    for index in [*batches, batches[0][:2], *batches]:
        plain.step(images[index], labels[index])
        if len(index) == BATCH:
            step(index)
        else:
            fast.step(images[index], labels[index])
    assert recording.recorded == 1
    assert_same([wanted], [played], 1e-12)


def test_errors_and_losses_are_added_up_inside_the_step():
    images, labels, batches = data()
    sums = torch.zeros(2, 2, dtype=torch.float64)

    def note(scores: torch.Tensor, targets: torch.Tensor) -> None:
        sums[0] += (scores.argmax(-1) != targets).sum(-1)
        sums[1] += scores_loss(scores, targets, "bce")

    resident([make(rule, 1) for rule in ("bp", "dfa")], Recording(), note=note)
    fast, wanted = (
        bdfa.FastMLP([make(rule, 1) for rule in ("bp", "dfa")], lr=1e-2, batch_size=BATCH),
        torch.zeros(2, 2).double(),
    )
    for index in batches:
        scores = fast.step(images[index], labels[index])
        wanted[0] += (scores.argmax(-1) != labels[index]).sum(-1)
        wanted[1] += scores_loss(scores, labels[index], "bce")
    torch.testing.assert_close(sums, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("rules", [("bdfa",), ("dfa", "bfa")], ids=str)
def test_a_training_on_resident_data_is_the_one_batch_by_batch(rules, tmp_path, monkeypatch):
    """What `bdfa train` does on a GPU, here without a graph: the same bits, the smaller last batch included."""
    real = FastEngine.resident
    configs = [
        bdfa.TrainConfig(
            dataset="digits",
            train_size=70,
            rule=rule,
            hidden=(6,),
            epochs=2,
            batch_size=16,
            order_seed=1,
            plot=False,
        )
        for rule in rules
    ]
    plain = train_together(configs, tmp_path / "plain")
    steps = []

    def resident(engine, portion, batch_size, note):
        assert real(engine, portion, batch_size, note) is None  # this is a CPU

        def joint(scores, labels):
            note(engine._joint(scores), labels)

        steps.append(
            bdfa.ResidentStep(engine.fast, portion.images, portion.labels, batch_size=batch_size, note=joint)
        )
        return steps[-1]

    monkeypatch.setattr(FastEngine, "resident", resident)
    found = train_together(configs, tmp_path / "resident")
    assert len(steps) == 1
    assert steps[0].fast.update.steps == 2 * 5
    assert_same(plain.models, found.models, 0.0)
    for mine, theirs in zip(found.summaries, plain.summaries, strict=True):
        assert {**mine, "seconds": 0} == {**theirs, "seconds": 0}


def test_what_does_not_fit_is_refused():
    images, labels, batches = data()
    fast = bdfa.FastMLP(make("dfa", 1))
    step = bdfa.ResidentStep(fast, images, labels, batch_size=BATCH)
    for wrong, message in (
        (lambda: step(batches[0][:3]), r"index has shape \(3,\); this step takes 6 indices.*FastMLP.step"),
        (lambda: bdfa.ResidentStep(fast, images, labels, graph=True), "graph=True needs a CUDA device"),
        (lambda: bdfa.ResidentStep(fast, images[:, 0], labels), "inputs of shape"),
        (lambda: bdfa.ResidentStep(fast, images, labels[:3]), "labels have shape"),
        (lambda: bdfa.ResidentStep(fast, images, labels - 100), "labels"),
        (lambda: bdfa.ResidentStep(fast, images, labels, batch_size=0), "batch_size"),
    ):
        with pytest.raises(UserError, match=message):
            wrong()
    decaying = bdfa.FastMLP(make("dfa", 1), lr_decay=0.1)
    step = bdfa.ResidentStep(decaying, images, labels)
    with pytest.raises(
        UserError, match="graph=True needs a rate that stays the same, and lr_decay changes it"
    ):
        step._recorder(True, torch.device("cuda"))
    resident_step._warn_once.cache_clear()
    with pytest.warns(RuntimeWarning, match="lr_decay changes the rate at every step.*without a CUDA graph"):
        assert step._recorder(None, torch.device("cuda")) is None
    assert bdfa.ResidentStep(fast, images, labels)._recorder(None, torch.device("cuda")) is not None
