"""FeedbackModel: hand formulas, state, copies, precision, accumulation, other architectures."""

from __future__ import annotations

import copy
import io
from types import SimpleNamespace

import bdfa
import pytest
import torch
from bdfa.model import forks
from bdfa.rules.distributed import group_of_pass
from bdfa.rules.optimisers import UPDATES
from bdfa.rules.tap_choice import check_scores
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.flop_counter import FlopCounterMode

BATCH, INPUTS, CLASSES = 16, 20, 4
WIDTHS = (16, 12)


def model_of(rule: str, **options) -> bdfa.FeedbackModel:
    net = bdfa.initialise(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, zero="uniform", seed=3)
    return bdfa.FeedbackModel(net, rule, seed=5, **options)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(BATCH, INPUTS, generator=random), torch.randint(0, CLASSES, (BATCH,), generator=random)


def backward(model, batch, criterion="bce") -> list[Tensor]:
    inputs, labels = batch
    model.zero_grad()
    bdfa.Criterion(criterion)(model(inputs, labels=labels), labels).backward()
    module = getattr(model, "_orig_mod", model)
    return [parameter.grad.clone() for parameter in module.forward_parameters()]


@pytest.mark.parametrize(
    ("rule", "sent"), [("dfa", "error"), ("bdfa", "error"), ("sign-dfa", "sign"), ("drtp", "y")]
)
def test_direct_rules_are_the_hand_formula(rule, sent, batch):
    model = model_of(rule).double()
    inputs, labels = batch[0].double(), batch[1]
    found = backward(model, (inputs, labels))
    w1, b1, w2, b2, w3, b3 = (p.detach() for p in model.model.parameters())
    h1 = torch.tanh(inputs @ w1.T + b1)
    h2 = torch.tanh(h1 @ w2.T + b2)
    y = nn.functional.one_hot(labels, CLASSES).double()
    e = torch.sigmoid(h2 @ w3.T + b3) - y
    s = {"error": e, "sign": e.sign(), "y": y}[sent]
    first, second = model_of(rule).double().feedback.matrices  # untouched by learning
    d1, d2 = (s @ first) * (1 - h1**2), (s @ second) * (1 - h2**2)
    wanted = [d1.T @ inputs, d1.sum(0), d2.T @ h1, d2.sum(0), e.T @ h2, e.sum(0)]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


def test_bp_is_autograd(batch):
    model = model_of("bp")
    plain = copy.deepcopy(model.model)
    found = backward(model, batch)
    bdfa.Criterion("bce")(plain(batch[0]), batch[1]).backward()
    for ours, parameter in zip(found, plain.parameters(), strict=True):
        assert torch.equal(ours, parameter.grad)


def test_one_hidden_layer_makes_fa_and_dfa_the_same(batch):
    nets = [bdfa.initialise(bdfa.mlp(INPUTS, (9,), CLASSES), seed=1) for _ in range(2)]
    fa, dfa = bdfa.FeedbackModel(nets[0], "fa"), bdfa.FeedbackModel(nets[1], "dfa")
    fa.model.output.feedback.copy_(dfa.feedback.B1)
    for ours, theirs in zip(backward(fa, batch), backward(dfa, batch), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_no_product_is_wasted(batch):
    """Backward costs the weight gradients and the projections, nothing else."""
    model = model_of("dfa")
    inputs, labels = batch
    loss = bdfa.Criterion("bce")(model(inputs), labels)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    weights = sum(p.numel() for p in model.parameters() if p.dim() == 2)
    feedback = sum(b.numel() for b in model.feedback.matrices)
    assert counter.get_total_flops() == 2 * BATCH * (weights + feedback)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_every_rule_learns(rule, batch):
    inputs = torch.randn(64, INPUTS, generator=torch.Generator().manual_seed(0))
    labels = inputs[:, :CLASSES].argmax(1)
    torch.manual_seed(0)
    model = model_of(rule, feedback_lr=1e-3)
    optimiser = bdfa.make_optimiser("rmsprop", model.forward_parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = bdfa.Criterion("bce")(model(inputs, labels=labels), labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.15 * losses[0]


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_state_copy_and_pickle_keep_the_gradients(rule, batch, tmp_path):
    model = model_of(rule, feedback_lr=0.0)
    torch.manual_seed(0)
    wanted = backward(model, batch)
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    buffer.seek(0)
    other = bdfa.FeedbackModel(bdfa.mlp(INPUTS, WIDTHS, CLASSES), rule, feedback_lr=0.0, seed=99)
    other.load_state_dict(torch.load(buffer))
    whole = tmp_path / "model.pt"
    torch.save(model, whole)
    for twin in (other, copy.deepcopy(model), torch.load(whole, weights_only=False)):
        torch.manual_seed(0)
        for ours, theirs in zip(wanted, backward(twin, batch), strict=True):
            assert torch.equal(ours, theirs)
    assert next(name for name in model.state_dict() if name.startswith("model.")) == "model.linear1.weight"


def test_feedback_is_saved_and_is_no_parameter():
    model = model_of("bdfa")
    assert {"feedback.B1", "feedback.B2"} <= set(model.state_dict())
    assert len(list(model.parameters())) == 6


def test_state_can_be_loaded_before_the_first_pass(batch):
    source = model_of("dfa")
    lazy = bdfa.FeedbackModel(nn.Sequential(*bdfa.mlp(INPUTS, WIDTHS, CLASSES)), "dfa", seed=77)
    assert lazy.tap_names == []
    lazy.feedback.load_state_dict(source.feedback.state_dict())
    lazy(batch[0])
    assert len(lazy.tap_names) == 2
    assert torch.equal(lazy.feedback.B2, source.feedback.B2)


def test_loaded_feedback_of_another_network_is_refused(batch):
    lazy = bdfa.FeedbackModel(nn.Sequential(nn.Linear(INPUTS, 7), nn.Tanh(), nn.Linear(7, CLASSES)), "dfa")
    lazy.feedback.load_state_dict(model_of("dfa").feedback.state_dict())
    with pytest.raises(ValueError, match="loaded feedback matrices have shapes"):
        lazy(batch[0])


def test_same_seed_same_feedback_other_seed_other():
    a, b = model_of("dfa"), model_of("dfa")
    assert torch.equal(a.feedback.B1, b.feedback.B1)
    third = bdfa.FeedbackModel(bdfa.mlp(INPUTS, WIDTHS, CLASSES), "dfa", seed=6)
    assert not torch.equal(a.feedback.B1, third.feedback.B1)


@pytest.mark.parametrize("rule", bdfa.RULES)
def test_bfloat16_autocast_is_close(rule, batch):
    model = model_of(rule, feedback_lr=0.0)
    torch.manual_seed(0)
    wanted = backward(model, batch, "ce")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        found = backward(model, batch, "ce")
    scale = 0.3 if rule == "sign-dfa" else 0.03  # a sign may flip when an error rounds to zero
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert (ours - theirs).norm() <= scale * theirs.norm()


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "bdfa", "bfa"])
def test_accumulated_halves_equal_the_whole_batch(rule, batch):
    inputs, labels = batch
    whole, halves = (model_of(rule, feedback_lr=0.01, feedback_update="manual") for _ in range(2))
    optimisers = [bdfa.make_optimiser("sgd", m.forward_parameters(), lr=0.1) for m in (whole, halves)]
    for _ in range(3):
        for model, optimiser, parts in ((whole, optimisers[0], 1), (halves, optimisers[1], 2)):
            optimiser.zero_grad()
            for x, y in zip(inputs.chunk(parts), labels.chunk(parts), strict=True):
                bdfa.Criterion("bce")(model(x, labels=y), y).backward()
            optimiser.step()
            model.feedback_step()
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(value, halves.state_dict()[key], msg=key)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns about its own internals
@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "bdfa"])
def test_compiled_model_has_the_same_gradients_and_feedback(rule, batch):
    model = model_of(rule, feedback_lr=0.01)
    twin = copy.deepcopy(model)
    torch._dynamo.reset()
    compiled = torch.compile(twin, fullgraph=True)
    for _ in range(2):
        wanted, found = backward(model, batch), backward(compiled, batch)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, twin.state_dict()[key])


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.tanh, self.second = nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.tanh(self.first(x)))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.enter, self.one, self.two = nn.Linear(INPUTS, 12), Block(12), Block(12)
        self.norm, self.leave = nn.LayerNorm(12), nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(self.norm(self.two(self.one(self.enter(x)))))


def test_residual_blocks_are_tapped_whole_and_isolated(batch):
    model = bdfa.FeedbackModel(Residual(), "dfa", example=batch[0])
    assert model.tap_names == ["enter", "one", "norm"]
    scores = model(batch[0])
    for name, parameter in model.model.named_parameters():
        if not name.startswith("leave"):
            with model._recorder.recording("cut"):
                cut = model.model(batch[0])
            assert torch.autograd.grad(cut.sum(), parameter, allow_unused=True) == (None,), name
    bdfa.Criterion("bce")(scores, batch[1]).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_time_steps_count_as_samples():
    inputs, labels = torch.randn(3, 5, INPUTS), torch.randint(0, CLASSES, (3, 5))
    model = model_of("bdfa")
    sequence = bdfa.FeedbackModel(nn.Sequential(*list(model_of("bp").model)[1:]), "bdfa", example=inputs)
    sequence.feedback.load_state_dict(model.feedback.state_dict())
    found = backward(sequence, (inputs, labels))
    wanted = backward(model, (inputs.reshape(15, INPUTS), labels.reshape(15)))
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(sequence.feedback.B1, model.feedback.B1)


def test_taps_by_name_and_by_function(batch):
    by_name = bdfa.FeedbackModel(bdfa.mlp(INPUTS, WIDTHS, CLASSES), "dfa", taps=["nonlinearity2"])
    by_function = bdfa.FeedbackModel(
        bdfa.mlp(INPUTS, WIDTHS, CLASSES), "dfa", taps=lambda _name, module: isinstance(module, nn.Tanh)
    )
    assert by_name.tap_names == ["nonlinearity2"]
    assert by_function.tap_names == ["nonlinearity1", "nonlinearity2"]


def test_evaluation_needs_no_labels_and_learns_nothing(batch):
    model = model_of("bdfa", feedback_lr=1.0).eval()
    before = model.feedback.B1.clone()
    bdfa.Criterion("bce")(model(batch[0]), batch[1]).backward()
    assert torch.equal(before, model.feedback.B1)
    with torch.no_grad():
        assert model.train()(batch[0]).shape == (BATCH, CLASSES)


def test_true_gradient_switches_the_rule_off(batch):
    for rule in ("dfa", "fa", "bfa", "usf"):
        model = model_of(rule)
        with model.true_gradient():
            found = backward(model, batch)
        wanted = backward(model_of("bp"), batch)
        for ours, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("rule", ["dfa", "bdfa", "bfa"])
def test_two_forward_passes_before_one_backward(rule, batch):
    """The feedback learns in each of the two nodes; gradients add up."""
    inputs, labels = batch
    model = model_of(rule, feedback_lr=1e-2, feedback_update="manual" if rule == "bfa" else "auto")
    twin = copy.deepcopy(model)
    criterion = bdfa.Criterion("bce")
    losses = [criterion(model(x, labels=y), y) for x, y in zip(inputs.chunk(2), labels.chunk(2), strict=True)]
    (losses[0] + losses[1]).backward()
    backward(twin, (inputs, labels))
    if rule == "bdfa":  # the node that runs second meets matrices that have learnt
        assert not torch.equal(model.feedback.B1, model_of(rule).feedback.B1)
        assert model.forward_parameters()[-1].grad.isfinite().all()
    else:
        for ours, theirs in zip(model.forward_parameters(), twin.forward_parameters(), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad)


def test_examples_may_be_a_list(batch):
    assert bdfa.FeedbackModel(bdfa.mlp(INPUTS, WIDTHS, CLASSES), example=[batch[0]]).tap_names


def test_empty_and_single_batches():
    for rule in ("bp", "fa", "dfa", "bdfa", "bfa"):
        for size in (0, 1):
            model = model_of(rule)
            gradients = backward(model, (torch.zeros(size, INPUTS), torch.zeros(size, dtype=torch.long)))
            assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("widths", [(9, 12), (16, 20), (30, 12), (16, 12, 5)])
def test_loaded_feedback_of_narrower_and_wider_networks_is_refused(batch, widths):
    lazy = bdfa.FeedbackModel(nn.Sequential(*bdfa.mlp(INPUTS, widths, CLASSES)), "dfa")
    lazy.feedback.load_state_dict(model_of("dfa").feedback.state_dict())
    with pytest.raises(ValueError, match="loaded feedback matrices have shapes"):
        lazy(batch[0])


def test_sizes_of_a_network_are_arguments_by_place_or_name_and_the_rest_by_name():
    by_name = bdfa.mlp(inputs=INPUTS, hidden=WIDTHS, classes=CLASSES)
    assert [tuple(p.shape) for p in by_name.parameters()] == [
        tuple(p.shape) for p in bdfa.mlp(INPUTS, WIDTHS, CLASSES).parameters()
    ]
    with pytest.raises(TypeError, match="positional"):
        bdfa.mlp(INPUTS, WIDTHS, CLASSES, "relu")


def test_alignment_is_measured_at_every_step_unless_told_otherwise(batch):
    model = model_of("dfa")
    monitors = [bdfa.AlignmentMonitor(model, *batch), bdfa.AlignmentMonitor(model, *batch, every=2)]
    for step in range(4):
        for monitor in monitors:
            monitor.observe(step)
    assert [sorted({row["step"] for row in monitor.rows}) for monitor in monitors] == [[0, 1, 2, 3], [0, 2]]


def test_optimisers_decay_nothing_unless_told_to():
    weight = nn.Parameter(torch.ones(3))
    weight.grad = torch.zeros(3)
    optimiser = bdfa.Torch7Optimizer([weight], lr=0.5)
    optimiser.step()
    assert weight.tolist() == [1, 1, 1]
    assert {"lr": 0.5, "momentum": 0, "dampening": 0, "weight_decay": 0, "lr_decay": 0}.items() <= (
        optimiser.param_groups[0].items()
    )


def test_the_group_of_a_distributed_pass_has_more_than_one_rank(monkeypatch):
    ranks = {"one": 1, "two": 2}
    monkeypatch.setattr(torch.distributed, "get_world_size", ranks.get)
    for name in (None, "one", "two"):
        wrapper = None if name is None else SimpleNamespace(process_group=name)
        monkeypatch.setattr(DistributedDataParallel, "_get_active_ddp_module", lambda found=wrapper: found)
        assert group_of_pass() == (name if name == "two" else None)
    monkeypatch.setattr(torch.distributed, "is_available", lambda: False)
    assert group_of_pass() is None


@pytest.mark.parametrize(("threads", "alone"), [(1, False), (2, True)])
def test_a_child_forked_from_several_threads_computes_with_one(monkeypatch, threads, alone):
    set_to = []
    monkeypatch.setattr(forks, "_child", False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    forks._after_fork()
    assert (forks._child, set_to) == (alone, [1])
    if alone:
        with pytest.raises(ValueError, match="threads=2 in a process forked from one with several threads"):
            forks.set_threads(2)
    else:
        forks.set_threads(2)
        assert set_to == [1, 2]


def test_averaged_gradient_descent_averages_after_a_million_steps():
    """The average is the weight itself until then, and from then on the mean of the weights since."""
    x, gradient, state = torch.ones(3), torch.zeros(3), {}
    for step, expected in ((0, 1.0), (1_000_000, 1.0)):
        UPDATES["asgd"](x, gradient, state, {"lr": 0.1}, 0.1, step)
        torch.testing.assert_close(state["average"], x)
        torch.testing.assert_close(x, torch.full((3,), expected), atol=1e-4, rtol=0)
    before = state["average"].clone()
    x.fill_(5.0)
    UPDATES["asgd"](x, gradient, state, {"lr": 0.0}, 0.0, 1_000_004)
    torch.testing.assert_close(state["average"], before + (5.0 - before) / 4)


def test_batch_normalisation_has_the_originals_constants():
    net = bdfa.conv(maps=(2, 3), hidden=(4,), batchnorm="all")
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert [(norm.eps, norm.momentum, norm.affine) for norm in norms] == [
        (1e-3, 0.1, True),
        (1e-3, 0.1, True),
        (1e-5, 0.1, True),
    ]


def test_dropout_of_the_original_convolutional_network():
    """0.1 on the input, 0.25 behind convolutions, 0.5 behind the last one and behind linear layers."""
    for mode, expected in (("full", [0.1, 0.25, 0.5, 0.5]), ("conv", [0.25]), ("input", [0.1]), ("none", [])):
        net = bdfa.conv(maps=(2, 3), hidden=(4,), dropout=mode)
        assert [module.p for module in net.modules() if isinstance(module, nn.Dropout)] == expected


def test_layers_with_feedback_have_a_bias_unless_told_otherwise():
    assert bdfa.FALinear(3, 2).bias is not None
    assert bdfa.FALinear(3, 2, False).bias is None


def test_certain_classes_of_a_sequence_are_log_probabilities_too():
    """One class has probability 1 at every time, so its logarithms are all 0."""
    scores = torch.log_softmax(torch.tensor([60.0, 0.0, 0.0]).expand(2, 5, 3), -1)
    with pytest.raises(ValueError, match="are log-probabilities"):
        check_scores(scores)
    check_scores(torch.zeros(2, 5, 3))
