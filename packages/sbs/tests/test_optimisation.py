"""Weights, losses, optimisers, schedules and time courses."""

import math
from typing import Any

import pytest
import torch
from sbs import (
    MultiplicativeAdam,
    SbSLayer,
    SbSLRScheduler,
    TimeCourse,
    adam,
    constrained,
    cross_entropy,
    mixed,
    plateau,
)
from torch import nn
from torch.optim import SGD


def test_clamp_first_keeps_what_norm_first_turns_around() -> None:
    column = torch.tensor([[1.0], [-1.01], [0.0], [0.0]])
    fixed = constrained(column, 1e-3)
    assert fixed.argmax() == 0
    assert float(fixed.min()) > 0
    original = constrained(column, 1e-3, "norm-first")
    assert original.argmax() == 1
    assert float(original[1]) > 0.99


@pytest.mark.parametrize("order", ["clamp", "normalise", ""])
def test_an_unknown_order_is_an_error(order: str) -> None:
    with pytest.raises(ValueError, match=f"order is {order!r}; it must be 'clamp-first' or 'norm-first'"):
        constrained(torch.ones(2, 1), 0.0, order)  # type: ignore[arg-type]


def test_a_column_without_mass_is_an_error() -> None:
    with pytest.raises(ValueError, match="column 1"):
        constrained(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), 0.0)


def test_softmax_weights_stay_probabilities_under_any_optimiser() -> None:
    torch.manual_seed(0)
    layer = SbSLayer(1, 3, (3, 3), 3, 50, weight_form="softmax")
    optimizer = torch.optim.SGD(layer.parameters(), 50.0)
    image = torch.rand(4, 1, 3, 3)
    before = layer.weights.detach().clone()
    for _ in range(3):
        optimizer.zero_grad()
        layer(image)[:, 0].sum().backward()
        optimizer.step()
    assert not torch.equal(before, layer.weights)
    assert torch.allclose(layer.weights.sum(0), torch.ones(3))
    assert float(layer.weights.detach().min()) > 0
    with pytest.raises(ValueError, match="softmax"):
        layer.threshold_weights(0.1)


def test_softmax_gradient_is_the_rule_through_the_normalisation() -> None:
    torch.manual_seed(0)
    plain = SbSLayer(1, 3, (3, 3), 3, 50)
    soft = SbSLayer(1, 3, (3, 3), 3, 50, weight_form="softmax")
    soft.weights = plain.weights.detach()
    image = torch.rand(4, 1, 3, 3)
    for layer in (plain, soft):
        layer(image, seed=2)[:, 0].sum().backward()
    w, g = plain.weights.detach(), plain._weights.grad
    assert g is not None
    assert soft._weights.grad is not None
    assert torch.allclose(soft._weights.grad, w * (g - (w * g).sum(0)), atol=1e-5)


def test_rates_of_zero_or_less_mean_torchs_default() -> None:
    parameter = nn.Parameter(torch.ones(1))
    assert adam([parameter], -1).param_groups[0]["lr"] == 1e-3
    assert adam([parameter], 0).param_groups[0]["lr"] == 1e-3
    assert adam([parameter], 0.5).param_groups[0]["lr"] == 0.5


def test_plateau_of_patience_zero_or_less_is_off() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], 1.0)
    assert plateau(optimizer, 0.5, -1) is None
    assert plateau(optimizer, 0.5, 0) is None
    schedule = plateau(optimizer, 0.5, 2)
    assert schedule is not None
    for _ in range(4):
        schedule.step(1.0)
    assert optimizer.param_groups[0]["lr"] == 0.5
    with pytest.raises(ValueError, match="factor"):
        plateau(optimizer, 1.5, 2)


def test_multiplicative_adam_by_hand_and_positive() -> None:
    w = nn.Parameter(torch.tensor([0.5, 2.0]))
    optimizer = MultiplicativeAdam([w], lr=0.1)
    w.grad = torch.tensor([3.0, -1e-3])
    optimizer.step()
    factor = 0.5 * math.tanh(0.1)
    assert torch.allclose(w.detach(), torch.tensor([0.5 * (1 - factor), 2.0 * (1 + factor)]), rtol=1e-4)
    big = nn.Parameter(torch.ones(5))
    optimizer = MultiplicativeAdam([big], lr=1e6)
    for _ in range(20):
        big.grad = torch.full((5,), 1e3)
        optimizer.step()
    assert torch.allclose(big.detach(), torch.full((5,), 0.5**20))
    copy = MultiplicativeAdam([nn.Parameter(torch.ones(5))], lr=1.0)
    copy.load_state_dict(optimizer.state_dict())
    assert float(next(iter(copy.state.values()))["step"]) == 20
    with pytest.raises(ValueError, match="lr"):
        MultiplicativeAdam([w], lr=0.0)


def test_multiplicative_adam_equals_torch_adam_where_it_adds() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(4))
    first = MultiplicativeAdam([ours], lr=0.01, multiplicative=False)
    second = torch.optim.Adam([theirs], lr=0.01)
    for _ in range(10):
        grad = torch.randn(4)
        ours.grad, theirs.grad = grad.clone(), grad.clone()
        first.step()
        second.step()
    assert torch.allclose(ours, theirs, rtol=1e-5)


def test_sbs_schedule_follows_the_loss_down_and_forgets_at_a_plateau() -> None:
    optimizer = SGD([nn.Parameter(torch.ones(1))], 1.0)
    schedule = SbSLRScheduler(optimizer, factor=0.5, patience=2, tau=10)
    schedule.step(4.0)
    assert optimizer.param_groups[0]["lr"] == 1.0  # 4 / 4, filtered and corrected: 1
    schedule.step(2.0)
    filtered = (0.1 * 0.9 + 0.1 * 0.5) / (1 - 0.9**2)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(filtered)
    state = schedule.state_dict()
    rate = optimizer.param_groups[0]["lr"]
    for _ in range(3):
        schedule.step(4.0)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.5 * rate)
    assert (schedule.steps, schedule.largest, schedule.minimum) == (0, 0.0, None)
    other = SbSLRScheduler(SGD([nn.Parameter(torch.ones(1))], rate), factor=0.5, patience=2, tau=10)
    other.load_state_dict(state)
    for _ in range(3):
        other.step(4.0)
    assert other.rates() == pytest.approx(schedule.rates())


@pytest.mark.parametrize(
    "change", [{"factor": 0.0}, {"patience": 0}, {"tau": 0.5}, {"factor": float("nan")}], ids=str
)
def test_sbs_schedule_names_bad_arguments(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        SbSLRScheduler(SGD([nn.Parameter(torch.ones(1))], 1.0), **change)


@pytest.mark.parametrize("form", ["v1", "v1.1", "v2"])
def test_the_mixed_loss_is_finite_where_an_output_is_zero(form: Any) -> None:
    h = torch.tensor([[0.0, 1.0], [0.5, 0.5]], requires_grad=True)
    loss = mixed(h, torch.tensor([0, 1]), form)
    loss.backward()
    assert math.isfinite(loss.item())
    assert h.grad is not None
    assert bool(h.grad.isfinite().all())


@pytest.mark.parametrize("axes", [(), (1, 1)])
@pytest.mark.parametrize("form", ["v1", "v1.1", "v2"])
@pytest.mark.parametrize(
    "posterior", [[[0.2, 0.8]], [[1.0]], [[0.3], [1.0], [0.6]], [[0.25, 0.25, 0.5]]], ids=str
)
def test_losses_of_one_sample_or_one_class_follow_the_formula(posterior: Any, form: Any, axes: Any) -> None:
    h = torch.tensor(posterior, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([h.shape[1] - 1] * len(h))
    m, k, terms, slopes = 0.7, 1.9, [], []
    for sample in posterior:
        for j, value in enumerate(sample):
            target = float(j == len(sample) - 1)
            divergence = -target * math.log(value) if target else 0.0
            terms.append((m * (value - target) ** 2 + k * divergence) / (m + k))
            slopes.append((2 * m * (value - target) - k * target / value) / (m + k))
    number = 1 if form == "v2" else len(terms)
    loss = mixed(h.view(*h.shape, *axes), labels, form, m, k)
    assert loss.item() == pytest.approx(sum(terms) / number, rel=1e-12)
    loss.backward()
    assert h.grad is not None
    assert h.grad.flatten().tolist() == pytest.approx([slope / number for slope in slopes], rel=1e-12)
    entropy = [math.log(sum(math.exp(value) for value in sample)) - sample[-1] for sample in posterior]
    assert cross_entropy(h.view(*h.shape, *axes), labels).item() == pytest.approx(
        sum(entropy) / len(h), abs=1e-12
    )


def test_losses_name_bad_arguments() -> None:
    h, labels = torch.full((3, 4), 0.25), torch.tensor([0, 1, 2])
    assert mixed(h.view(3, 4, 1, 1), labels).item() == mixed(h, labels).item()
    for call, message in (
        (lambda: mixed(h, labels, "v3"), "form"),  # type: ignore[arg-type]
        (lambda: mixed(h, labels, "v1", 0.0, 0.0), "both 0"),
        (lambda: mixed(h, labels, "v1", -1.0, 3.0), r"^mse_weight is -1.0; it must be at least 0$"),
        (lambda: mixed(h, labels, "v1", 3.0, -1.0), r"^kl_weight is -1.0; it must be at least 0$"),
        (lambda: mixed(h, labels, "v1", float("nan"), 1.0), "^mse_weight is nan"),
        (lambda: mixed(h.numpy(), labels), "h is a ndarray"),  # type: ignore[arg-type]
        (lambda: cross_entropy(h, [0, 1, 2]), "labels is a list"),  # type: ignore[arg-type]
        (lambda: mixed(h, labels[:2]), "labels"),
        (lambda: mixed(h, labels + 2), "labels"),
        (lambda: cross_entropy(h.view(3, 2, 2), labels), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_time_courses() -> None:
    assert torch.equal(TimeCourse().values(3), torch.ones(3))
    assert torch.allclose(TimeCourse("power").values(4), torch.tensor([1, 2**-0.5, 3**-0.5, 0.5]))
    cooled = TimeCourse("power", after=2, reduction=4.0, exponent=1.0).values(4)
    assert torch.allclose(cooled, torch.tensor([1, 1 / 2, 1 / 12, 1 / 16]))
    assert torch.equal(TimeCourse("cooldown", 2, 10.0).values(3), torch.tensor([1, 1, 0.1]))
    with pytest.raises(ValueError, match="reduction"):
        TimeCourse("cooldown", 2, 0.0)
