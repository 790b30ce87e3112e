"""Each rule against autograd: surrgd's gradient, the local rules by a slow loop, online updates, cross-entropy."""

import copy

import pytest
import slow_rules
import torch
import torch.nn.functional as F
from core_networks import CASES, Problem, problem, random_deep_options, random_options
from dalton import StepResult, kernel_available, train_step, trainable
from torch import Tensor

ENGINES = ("torch", "native") if kernel_available() else ("torch",)
CLOSE = {"rtol": 1e-9, "atol": 1e-12}
both = pytest.mark.parametrize("engine", ENGINES)
every = pytest.mark.parametrize("name", CASES)


def gradients(
    case: Problem, method: str, engine: str, **options: object
) -> tuple[StepResult, dict[str, Tensor]]:
    """Return the result without an update and the gradients by name."""
    net = copy.deepcopy(case.net)
    result = train_step(
        method, net, None, *case.batch(), dropout_masks=case.masks, engine=engine, update=False, **options
    )  # pyright: ignore[reportArgumentType, reportCallIssue]
    return result, {name: p.grad for name, p in net.named_parameters() if p.grad is not None}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.abs().max() > 0, f"{name} gets no gradient, so nothing is checked"
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9 * value.abs().max().item())


@both
@every
@pytest.mark.parametrize("loss", ["mse", "ce"])
def test_surrgd_is_autograd(name, engine, loss):
    case = problem(1, **CASES[name])
    outputs = case.net(case.inputs, case.steps, case.masks)
    target = F.one_hot(case.labels, 4).double()
    if loss == "mse":
        value = (outputs - target).square().mean()
    else:
        value = F.cross_entropy(outputs.flatten(0, 1), case.labels.repeat(case.length))
    wanted = dict(
        zip(trainable(case.net, "surrgd"), torch.autograd.grad(value, [*trainable(case.net, "surrgd").values()]),
            strict=True)
    )  # fmt: skip
    result, found = gradients(case, "surrgd", engine, loss=loss)
    assert result.loss == pytest.approx(value.item(), rel=1e-9)
    torch.testing.assert_close(result.class_outputs, outputs.detach(), **CLOSE)
    assert torch.equal(result.predictions, outputs.mean(0).argmax(1))
    assert_equal(found, wanted)


@both
@every
@pytest.mark.parametrize("method", ["tfr", "dalton"])
def test_local_rule_is_the_slow_loop(name, method, engine):
    case = problem(2, **CASES[name])
    loss, wanted, outputs = slow_rules.bptt(case, method)
    result, found = gradients(case, method, engine)
    assert result.loss == pytest.approx(loss, rel=1e-9)
    assert sum(result.layer_losses.values()) == pytest.approx(loss, rel=1e-9)
    torch.testing.assert_close(result.class_outputs, outputs, **CLOSE)
    assert_equal(found, wanted)


@both
@pytest.mark.parametrize("options", [random_options, random_deep_options])
@pytest.mark.parametrize("seed", range(8))
def test_rules_on_random_networks(seed, options, engine):
    case = problem(seed, **options(seed))
    for method in ("tfr", "dalton"):
        loss, wanted, outputs = slow_rules.bptt(case, method)
        result, found = gradients(case, method, engine)
        assert result.loss == pytest.approx(loss, rel=1e-9)
        torch.testing.assert_close(result.class_outputs, outputs, **CLOSE)
        assert_equal(found, wanted)


@both
@every
@pytest.mark.parametrize("method", ["tfr", "dalton"])
def test_online_is_the_slow_loop_with_updates(name, method, engine):
    case, ours = problem(3, **CASES[name]), problem(3, **CASES[name]).net
    start = copy.deepcopy(ours)
    optimizer = torch.optim.SGD(trainable(ours, method).values(), lr=0.05, momentum=0.5)
    result = train_step(
        method, ours, optimizer, *case.batch(), "online", burn_in=3, dropout_masks=case.masks, engine=engine
    )  # pyright: ignore[reportArgumentType]
    theirs = torch.optim.SGD(trainable(case.net, method).values(), lr=0.05, momentum=0.5)
    losses, outputs = slow_rules.online(case, method, theirs, burn_in=3)
    assert isinstance(result.loss, Tensor)
    torch.testing.assert_close(result.loss, torch.tensor(losses, dtype=torch.float64), **CLOSE)
    torch.testing.assert_close(result.class_outputs, outputs, **CLOSE)
    for layer in ours.layer_names:
        assert not torch.equal(ours.weight(layer), start.weight(layer))
        torch.testing.assert_close(ours.weight(layer), case.net.weight(layer), **CLOSE)
    assert torch.equal(ours.out, start.out)


@both
def test_cross_entropy_of_tfr(engine):
    """Every layer's readout by F.cross_entropy; the last layer's gradient is that of surrgd."""
    case = problem(4, **CASES["avgpool"])
    result, found = gradients(case, "tfr", engine, loss="ce")
    spikes = gradients(case, "tfr", engine, loss="ce", record=("readout",))[0].records["readout"]
    for name, readout in spikes.items():
        wanted = F.cross_entropy(readout.flatten(0, 1), case.labels.repeat(case.length))
        assert result.layer_losses[name] == pytest.approx(float(wanted), rel=1e-9)
    _, whole = gradients(case, "surrgd", engine, loss="ce")
    torch.testing.assert_close(found["dense2"], whole["dense2"], **CLOSE)


@both
def test_gradients_add_up_without_an_update(engine):
    case = problem(5)
    _, once = gradients(case, "dalton", engine)
    for _ in range(2):
        train_step("dalton", case.net, None, *case.batch(), engine=engine, update=False)
    for name, gradient in once.items():
        torch.testing.assert_close(case.net.weight(name).grad, 2 * gradient, **CLOSE)


@both
def test_rates_are_spikes_before_dropout(engine):
    case = problem(6, **CASES["dropout"])
    found = train_step("dalton", case.net, None, *case.batch(), dropout_masks=case.masks, engine=engine,
                       update=False, record=("delta",))  # fmt: skip
    for name, delta in found.records["delta"].items():
        assert found.firing_rates[name] == pytest.approx(float((delta > 0).double().mean()))
        assert found.firing_rates[name] > 0


@both
@every
@pytest.mark.parametrize(
    ("method", "setting"),
    [("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "rtrl")],
)
def test_fused_optimizer_takes_the_same_step(name, method, setting, engine):
    """torch's fused Adam ignores the strides of a gradient, so gradients must not be transposed."""
    case, weights = problem(7, **CASES[name]), []
    for fused in (False, True):
        net = copy.deepcopy(case.net)
        optimizer = torch.optim.Adam(trainable(net, method).values(), lr=0.01, fused=fused)
        for _ in range(2):
            train_step(
                method,
                net,
                optimizer,
                *case.batch(),
                setting,
                burn_in=3,
                dropout_masks=case.masks,
                engine=engine,
            )
        weights.append(net.state_dict())
    for key, plain in weights[0].items():
        torch.testing.assert_close(weights[1][key], plain, rtol=1e-9, atol=1e-12)
