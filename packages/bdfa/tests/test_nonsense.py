"""Invalid arguments of every public function give one sentence; NumPy's numbers are accepted."""

from __future__ import annotations

import json

import bdfa
import numpy as np
import pytest
import torch
from reprokit import UserError
from torch import nn

X, Y = torch.randn(6, 8), torch.randint(0, 3, (6,))
nan = float("nan")
o, y = torch.zeros(2, 3), torch.tensor([0, 1])


def M(rule="dfa", **options) -> bdfa.FeedbackModel:
    return bdfa.FeedbackModel(bdfa.mlp(8, (4,), 3), rule, **options)


REFUSED = {
    "target alpha nan": lambda: bdfa.feedback_target("code", o, y, alpha=nan),
    "target depth 0": lambda: bdfa.feedback_target("code", o, y, alpha=0.2, depth=0),
    "target depth 1.5": lambda: bdfa.feedback_target("code", o, y, alpha=0.2, depth=1.5),
    "target prob": lambda: bdfa.feedback_target("paper", o, y, alpha=0.2, probability="x"),
    "target labels 5": lambda: bdfa.feedback_target("center", o, torch.tensor([0, 5]), alpha=0.2),
    "target labels neg": lambda: bdfa.feedback_target("center", o, torch.tensor([0, -1]), alpha=0.2),
    "target labels float": lambda: bdfa.feedback_target("center", o, torch.tensor([0.0, 1.0]), alpha=0.2),
    "target labels len": lambda: bdfa.feedback_target("center", o, torch.tensor([0]), alpha=0.2),
    "np labels": lambda: bdfa.feedback_target("center", o, np.array([0, 1]), alpha=0.2),
    "matrix classes 0": lambda: bdfa.feedback_matrix(0, 4, random=torch.Generator()),
    "matrix units -1": lambda: bdfa.feedback_matrix(3, -1, random=torch.Generator()),
    "matrix float": lambda: bdfa.feedback_matrix(3, 4.5, random=torch.Generator()),
    "matrix scale nan": lambda: bdfa.feedback_matrix(3, 4, random=torch.Generator(), scale=nan),
    "matrix random seed": lambda: bdfa.feedback_matrix(3, 4, random=3),
    "mlp hidden int": lambda: bdfa.mlp(8, 4, 3),
    "mlp hidden float": lambda: bdfa.mlp(8, (4.5,), 3),
    "mlp classes float": lambda: bdfa.mlp(8, (4,), 3.5),
    "mlp inputs float": lambda: bdfa.mlp(8.0, (4,), 3),
    "mlp inputs str": lambda: bdfa.mlp("8", (4,), 3),
    "mlp hidden list of lists": lambda: bdfa.mlp(8, ((4,),), 3),
    "mlp dropout nan": lambda: bdfa.mlp(8, (4,), 3, dropout_hidden=nan),
    "conv float": lambda: bdfa.conv((3, 32.5, 32)),
    "conv maps 0": lambda: bdfa.conv((3, 32, 32), maps=(0, 2, 2)),
    "seed neg": lambda: M(seed=-1),
    "seed float": lambda: M(seed=1.5),
    "seed huge": lambda: M(seed=2**70),
    "seed str": lambda: M(seed="a"),
    "scale str": lambda: M(feedback_scale="a"),
    "scale inf": lambda: M(feedback_scale=float("inf")),
    "lr str": lambda: M("bdfa", feedback_lr="a"),
    "lr neg": lambda: M("bfa", feedback_lr=-1.0),
    "alpha nan": lambda: M("bdfa", feedback_alpha=nan),
    "alpha neg": lambda: M("bdfa", feedback_alpha=-1.0),
    "tscale str": lambda: M("drtp", target_scale="a"),
    "unused target for dfa": lambda: M("dfa", feedback_target="hot"),
    "unused loss for dfa": lambda: M("dfa", feedback_loss="hot"),
    "example int": lambda: bdfa.FeedbackModel(
        nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 3)), "dfa", example=3
    ),
    "rule None": lambda: M(None),
    "rule list": lambda: M(["dfa"]),
    "np labels fwd": lambda: M("bdfa")(X, labels=Y.numpy()),
    "labels bool": lambda: M("bdfa")(X, labels=Y.bool()),
    "labels (N,1)": lambda: M("bdfa")(X, labels=Y[:, None]),
    "crit scores np": lambda: bdfa.Criterion("ce")(np.zeros((2, 3)), y),
    "crit scores int": lambda: bdfa.Criterion("ce")(torch.zeros(2, 3).long(), y),
    "crit scores 1d": lambda: bdfa.Criterion("ce")(torch.zeros(3), torch.tensor(0)),
    "crit report bad labels": lambda: bdfa.Criterion("bce").report(o, torch.tensor([0, 7])),
    "crit error bad labels": lambda: bdfa.Criterion("bce").error(o, torch.tensor([0, 7])),
    "crit error neg": lambda: bdfa.Criterion("bce").error(o, torch.tensor([0, -1])),
    "opt lr nan": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=nan),
    "opt lr str": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr="a"),
    "opt mom 1": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, momentum=1),
    "opt mom 1.5": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, momentum=1.5),
    "opt mom nan": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, momentum=nan),
    "opt wd neg": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, weight_decay=-1),
    "opt decay neg": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, lr_decay=-1),
    "opt decay of rmsprop": lambda: bdfa.make_optimiser("rmsprop", [nn.Parameter(X)], lr=0.1, lr_decay=0.1),
    "opt profile": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=0.1, profile="x"),
    "opt empty": lambda: bdfa.make_optimiser("sgd", [], lr=0.1),
    "renorm nan": lambda: bdfa.renorm([X.clone()], incoming=nan),
    "renorm str": lambda: bdfa.renorm([X.clone()], incoming="1"),
    "fast lr nan": lambda: bdfa.FastMLP(M(), lr=nan),
    "fast lr setter nan": lambda: setattr(bdfa.FastMLP(M(), lr=0.1), "lr", nan),
    "fast batch float": lambda: bdfa.FastMLP(M(), batch_size=2.5),
    "fast wd neg": lambda: bdfa.FastMLP(M(), weight_decay=-1.0),
    "fast labels len": lambda: bdfa.FastMLP(M()).step(X, Y[:3]),
    "fast inputs np": lambda: bdfa.FastMLP(M()).step(X.numpy(), Y),
    "monitor float": lambda: bdfa.AlignmentMonitor(M(), X, Y, every=1.5),
    "observe -": lambda: bdfa.AlignmentMonitor(M(), X, Y, every=2).observe(nan),
    "align labels": lambda: bdfa.measure_alignment(M(), X, Y[:2]),
    "align plain": lambda: bdfa.measure_alignment(bdfa.mlp(8, (4,), 3), X, Y),
    "adv eps str": lambda: bdfa.adversarial_backward(M(), bdfa.Criterion(), X, Y, eps="a"),
    "adv plain": lambda: bdfa.adversarial_backward(bdfa.mlp(8, (4,), 3), bdfa.Criterion(), X, Y, eps=0.1),
    "init unknown rule": lambda: bdfa.initialise(bdfa.mlp(8, (4,), 3), "dfaa"),
    "init zero": lambda: bdfa.initialise(bdfa.mlp(8, (4,), 3), "dfa", zero="x"),
    "init seed": lambda: bdfa.initialise(bdfa.mlp(8, (4,), 3), "dfa", seed=1.5),
    "init no module": lambda: bdfa.initialise(3, "dfa"),
    "convert no module": lambda: bdfa.convert(3),
    "convert scale str": lambda: bdfa.convert(bdfa.mlp(8, (4,), 3), scale="a"),
    "FALinear 0": lambda: bdfa.FALinear(0, 3),
    "FALinear float": lambda: bdfa.FALinear(2.5, 3),
    "FALinear scale nan": lambda: bdfa.FALinear(2, 3, scale=nan),
    "gen labels float": lambda: M("bfa").generate(torch.zeros(2)),
    "gen int": lambda: M("bfa").generate(3),
    "config lr str": lambda: bdfa.TrainConfig(lr="a"),
    "config hidden float": lambda: bdfa.TrainConfig(hidden=(4.5,)),
    "config batch float": lambda: bdfa.TrainConfig(batch_size=4.5),
    "config seed float": lambda: bdfa.TrainConfig(seed=1.5),
    "config epochs float": lambda: bdfa.TrainConfig(epochs=1.5),
    "config rev": lambda: bdfa.TrainConfig(revision=7),
    "config order_seed neg": lambda: bdfa.TrainConfig(order_seed=-3),
    "config lr_step": lambda: bdfa.TrainConfig(lr_step="x"),
    "config fb_scale": lambda: bdfa.TrainConfig(fb_scale="x"),
    "config bool": lambda: bdfa.TrainConfig(bias="no"),
    "train str": lambda: bdfa.train("smoke"),
    "get_rule": lambda: bdfa.get_rule(3),
}
TAKEN = {
    "matrix np": lambda: bdfa.feedback_matrix(np.int64(3), np.int64(4), random=torch.Generator()),
    "mlp np hidden": lambda: bdfa.mlp(np.int64(8), (np.int64(4),), np.int64(3)),
    "conv 2 classes": lambda: bdfa.conv((3, 32, 32), 2, maps=(2, 2, 2), hidden=(4,)),
    "conv np": lambda: bdfa.conv(tuple(np.array([3, 32, 32])), maps=(2, 2, 2), hidden=(4,)),
    "seed np": lambda: M(seed=np.int64(3)),
    "scale np": lambda: M(feedback_scale=np.float32(0.5)),
    "lr np": lambda: M("bdfa", feedback_lr=np.float64(0.1)),
    "labels int32": lambda: M("bdfa")(X, labels=Y.int()),
    "labels uint8": lambda: M("bdfa")(X, labels=Y.to(torch.uint8)),
    "opt lr np": lambda: bdfa.make_optimiser("sgd", [nn.Parameter(X)], lr=np.float32(0.1)),
    "renorm np": lambda: bdfa.renorm([X.clone()], incoming=np.float64(1)),
    "fast lr np": lambda: bdfa.FastMLP(M(), lr=np.float64(0.1)),
    "fast batch np": lambda: bdfa.FastMLP(M(), batch_size=np.int64(4)),
    "monitor np": lambda: bdfa.AlignmentMonitor(M(), X, Y, every=np.int64(2)),
    "adv eps np": lambda: bdfa.adversarial_backward(M(), bdfa.Criterion(), X, Y, eps=np.float64(0.1)),
    "FALinear np": lambda: bdfa.FALinear(np.int64(2), np.int64(3)),
    "config np": lambda: bdfa.TrainConfig(
        hidden=(np.int64(4),), lr=np.float64(0.1), seed=np.int64(3)
    ).content(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused(name):
    with pytest.raises(UserError) as caught:
        REFUSED[name]()
    words = str(caught.value)
    assert 20 < len(words) < 400
    assert "\n" not in words


@pytest.mark.parametrize("name", TAKEN)
def test_numpys_numbers_are_numbers(name):
    TAKEN[name]()


def test_a_configuration_of_numpys_numbers_is_that_of_pythons():
    ours = bdfa.TrainConfig(hidden=(4, 3), lr=0.5, seed=3, fb_scale=2.0, lr_step=2, p_in=0.25)
    numpys = bdfa.TrainConfig(
        hidden=tuple(np.array([4, 3])), lr=np.float64(0.5), seed=np.int64(3), fb_scale=np.float32(2),
        lr_step=np.int8(2), p_in=np.float16(0.25),
    )  # fmt: skip
    assert json.dumps(numpys.content()) == json.dumps(ours.content())
