"""Settings of the framework that users often change: the default's result, or one sentence before anything changes."""

import copy

import dalton
import pytest
import torch
import torch.nn.utils.prune
from core_networks import problem
from dalton import SpikingCNN
from framework_steps import (
    KINDS,
    SMALL,
    adam,
    assert_same,
    engines,
    kinds,
    optimizer_of,
    step,
    trained,
    trained_by,
    trained_plainly,
)
from reprokit import UserError
from torch import nn

# requires_grad_(False)


@engines
@kinds
@pytest.mark.parametrize("frozen", [("conv1",), ("conv1", "conv2", "dense1"), ("dense2",), ("out", "conv2")])
def test_frozen_layers_stay(method, setting, engine, frozen):
    case = problem(1)

    def freeze(net: SpikingCNN) -> None:
        for name in frozen:
            net.weight(name).requires_grad_(False)

    found = trained(case, method, setting, engine, change=freeze)
    start, free = case.net.state_dict(), trained_plainly(1, torch.float64, method, setting, engine)
    for name in (*case.net.layer_names, "out"):
        learns = name != "out" or method == "surrgd"
        assert torch.equal(found[name], start[name]) == (name in frozen or not learns), name
        if setting == "bptt" and name not in frozen and frozen != ("conv1", "conv2", "dense1"):
            continue
    assert not torch.equal(free["conv1"], start["conv1"])


@engines
def test_a_frozen_layer_gets_no_gradient_and_the_others_their_own(engine):
    case = problem(2)
    net, whole = copy.deepcopy(case.net), copy.deepcopy(case.net)
    net.weight("conv2").requires_grad_(False)
    for one in (net, whole):
        step(one, case, "surrgd", "bptt", engine, update=False)
    assert net.weight("conv2").grad is None
    for name in ("conv1", "dense1", "dense2", "out"):
        assert torch.equal(net.weight(name).grad, whole.weight(name).grad), name


def test_trainable_leaves_frozen_layers_out():
    net = SpikingCNN(SMALL, (1, 9, 9))
    net.weight("conv1").requires_grad_(False)
    assert list(dalton.trainable(net, "dalton")) == ["dense1"]
    assert list(dalton.trainable(net, "surrgd")) == ["dense1", "out"]


def test_everything_frozen_is_refused():
    case = problem(3)
    net = copy.deepcopy(case.net).requires_grad_(False)
    with pytest.raises(UserError, match="conv1, conv2, dense1, dense2 are frozen"):
        step(
            net,
            case,
            "dalton",
            "bptt",
            "torch",
            optimizer=torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1),
        )


# memory formats, strides and fused optimizers


def transposed(net: SpikingCNN) -> None:
    """Give every weight strides in reverse order."""
    for name in (*net.layer_names, "out"):
        weight = net.weight(name).data
        back = tuple(reversed(range(weight.dim())))
        net.weight(name).data = weight.permute(back).contiguous().permute(back)


def channels_last(net: SpikingCNN) -> None:
    net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


OPTIMIZERS = [(kind, fused) for kind in ("Adam", "AdamW", "SGD", "Adagrad") for fused in (True, False)]


@engines
@pytest.mark.parametrize(
    ("method", "setting", "kind", "fused"),
    [
        (*rule, kind, fused)
        for rule in KINDS
        for kind, fused in (
            OPTIMIZERS if rule == KINDS[1] else [("Adam", True), ("Adam", False), ("SGD", True)]
        )
    ],
)
@pytest.mark.parametrize("layout", [channels_last, transposed])
def test_strides_change_nothing(method, setting, engine, layout, kind, fused):
    """Every optimizer with one rule, two of them with every rule."""
    found = trained(problem(4), method, setting, engine, optimizer_of(kind, fused), layout)
    for name, value in trained_by(kind, fused, method, setting, engine).items():
        # torch's fused Adam rounds the elements at the end of its vectors differently
        torch.testing.assert_close(found[name], value, rtol=1e-9 if fused else 0, atol=1e-12 if fused else 0)


@engines
def test_channels_last_inputs_change_nothing(engine):
    case = problem(5)
    wanted = dalton.predict(case.net, *case.batch()[::2], engine=engine)
    inputs = case.inputs.to(memory_format=torch.channels_last)
    assert torch.equal(dalton.predict(case.net, inputs, case.steps, engine=engine), wanted)


# precision


@engines
@kinds
def test_default_dtype_changes_nothing(method, setting, engine):
    case = problem(6, torch.float32)
    wanted = trained_plainly(6, torch.float32, method, setting, engine)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert_same(trained(case, method, setting, engine), wanted)
        made = SpikingCNN("A3", (1, 28, 28), seed=4).state_dict()
        outputs = case.net(*case.batch()[::2])
    finally:
        torch.set_default_dtype(before)
    assert_same(made, SpikingCNN("A3", (1, 28, 28), seed=4).state_dict())
    assert torch.equal(outputs, case.net(*case.batch()[::2]))


@engines
@kinds
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_changes_nothing(method, setting, engine, dtype):
    case = problem(7, torch.float32)
    wanted = trained_plainly(7, torch.float32, method, setting, engine)
    outputs, plain = dalton.predict(case.net, *case.batch()[::2], engine=engine), case.net(*case.batch()[::2])
    scaler = torch.amp.GradScaler("cpu")  # pyright: ignore[reportPrivateImportUsage]
    with torch.autocast("cpu", dtype=dtype):
        assert_same(trained(case, method, setting, engine), wanted)
        assert torch.equal(dalton.predict(case.net, *case.batch()[::2], engine=engine), outputs)
        assert torch.equal(case.net(*case.batch()[::2]), plain)
    assert scaler.get_scale() == 65536


@engines
def test_autocast_around_the_backward_of_forward_changes_nothing(engine):
    del engine
    case, grads = problem(8, torch.float32), []
    for enabled in (False, True):
        net = copy.deepcopy(case.net)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = net(*case.batch()[::2]).square().mean()
        loss.backward()
        grads.append({name: p.grad for name, p in net.named_parameters()})
    assert_same(grads[1], grads[0])


@engines
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("part", ["all", "conv2", "readout_conv1"])
def test_half_precision_is_refused(engine, dtype, part):
    case = problem(9, torch.float32)
    net = copy.deepcopy(case.net)
    if part == "all":
        net.to(dtype)
    else:
        getattr(net, part).data = getattr(net, part).data.to(dtype)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    uses = [
        lambda: step(net, case, "dalton", "bptt", engine, update=False),
        lambda: step(net, case, "tfr", "online", engine, optimizer=adam(net)),
        lambda: dalton.predict(net, *case.batch()[::2], engine=engine),
        lambda: net(*case.batch()[::2]),
    ]
    for use in uses:
        with pytest.raises(UserError, match=f"{dtype}.*float32") as error:
            use()
        assert "\n" not in str(error.value)
    assert_same(net.state_dict(), before)


# gradients


@engines
@kinds
def test_accumulated_gradients_are_those_of_the_whole_batch(method, setting, engine):
    case = problem(10, batch=6)
    whole, parts = copy.deepcopy(case.net), copy.deepcopy(case.net)
    step(whole, case, method, setting, engine, update=False)
    optimizer = adam(parts)
    optimizer.zero_grad()
    for k in range(3):
        part = case._replace(
            inputs=case.inputs[2 * k : 2 * k + 2], labels=case.labels[2 * k : 2 * k + 2],
            masks={name: mask[:, 2 * k : 2 * k + 2] for name, mask in case.masks.items()},
        )  # fmt: skip
        step(parts, part, method, setting, engine, update=False)
    for name, value in dalton.trainable(whole, method).items():
        torch.testing.assert_close(parts.get_parameter(name).grad, 3 * value.grad, rtol=1e-9, atol=1e-12)
    before = parts.weight("conv1").clone()
    optimizer.step()
    assert not torch.equal(parts.weight("conv1"), before)


@engines
@kinds
def test_foreign_and_older_gradients_are_set_aside(method, setting, engine):
    """Those of a head in the same optimizer, and those accumulated before, are neither applied nor lost."""
    case = problem(11)
    wanted = trained(case, method, setting, engine)
    net, head = copy.deepcopy(case.net), nn.Linear(3, 2)
    head.weight.grad, net.weight("conv1").grad = torch.ones(2, 3), torch.ones_like(net.weight("conv1"))
    net.out.grad = torch.ones_like(net.out)
    before = head.weight.detach().clone()
    optimizer = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=0.01)
    for _ in range(2):
        step(net, case, method, setting, engine, optimizer=optimizer)
    assert_same(net.state_dict(), wanted)
    assert torch.equal(head.weight, before)
    for parameter in (head.weight, net.weight("conv1"), net.out):
        assert parameter.grad is not None
        assert bool((parameter.grad == 1).all())
    assert net.weight("conv2").grad is None
    assert head.bias.grad is None


@engines
@kinds
def test_a_grad_scaler_beside_a_head(method, setting, engine):
    """The recipe of train_step: gradients times the scale; the scale, a power of 2, has no effect on the result."""
    case, results = problem(27, torch.float32), []
    for scaled in (False, True):
        torch.manual_seed(0)
        net, head = copy.deepcopy(case.net), nn.Linear(3, 2)
        scaler = torch.amp.GradScaler("cpu", enabled=scaled)  # pyright: ignore[reportPrivateImportUsage]
        optimizer = torch.optim.SGD([*net.parameters(), *head.parameters()], lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            scaler.scale(head(torch.ones(1, 3)).sum()).backward()
            step(net, case, method, setting, engine, update=False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.grad *= scaler.get_scale()
            scaler.step(optimizer)
            scaler.update()
        results.append({**net.state_dict(), **{f"head {k}": v for k, v in head.state_dict().items()}})
    assert_same(results[1], results[0])
    assert not torch.equal(results[0]["conv1"], case.net.conv1)


def test_a_grad_scaler_that_scaled_nothing_says_so():
    """What train_step leaves is not scaled, which the scaler notices; nothing is divided by 65536."""
    case = problem(28, torch.float32)
    optimizer, scaler = adam(case.net), torch.amp.GradScaler("cpu")  # pyright: ignore[reportPrivateImportUsage]
    step(case.net, case, "dalton", "bptt", "torch", update=False)
    with pytest.raises(AssertionError, match=r"scaler\.scale"):
        scaler.step(optimizer)


def test_recorded_gradients_do_not_change_later():
    case = problem(12)
    first = step(case.net, case, "dalton", "bptt", "torch", update=False, record=("gradient",))
    kept = first.records["gradient"]["conv1"].clone()
    step(case.net, case, "dalton", "bptt", "torch", update=False)
    assert torch.equal(first.records["gradient"]["conv1"], kept)


@engines
@kinds
def test_hooks_of_parameters_fire(method, setting, engine):
    case, seen = problem(13), []

    def hooked(net: SpikingCNN) -> None:
        net.weight("conv2").register_hook(torch.zeros_like)
        net.weight("dense1").register_post_accumulate_grad_hook(
            lambda parameter: seen.append(parameter.shape)
        )

    found = trained(case, method, setting, engine, change=hooked)
    assert torch.equal(found["conv2"], case.net.weight("conv2"))
    assert seen == [case.net.weight("dense1").shape] * (2 if setting == "bptt" else 12)
    if setting == "bptt":
        assert not torch.equal(found["conv1"], case.net.weight("conv1"))


@engines
@kinds
@pytest.mark.parametrize("make", [adam, lambda net: torch.optim.Adam(net.parameters(), lr=0.01, fused=True)])
def test_gradients_handed_over_are_those_of_a_backward_pass(method, setting, engine, make):
    """Parameters with hooks get their gradients from torch's backward, others without the copy it makes."""
    case = problem(26)

    def hooked(net: SpikingCNN) -> None:
        for parameter in net.parameters():
            parameter.register_hook(lambda gradient: gradient)

    assert_same(
        trained(case, method, setting, engine, make), trained(case, method, setting, engine, make, hooked)
    )
    grads = []
    for change in (id, hooked):
        net = copy.deepcopy(case.net)
        change(net)
        for _ in range(2):
            step(net, case, method, setting, engine, update=False)
        grads.append({name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    assert grads[0].keys() == grads[1].keys()
    assert_same(*grads)


def test_optimizers_that_need_a_closure_are_refused():
    case = problem(14)
    with pytest.raises(UserError, match="LBFGS"):
        step(case.net, case, "dalton", "bptt", "torch", optimizer=torch.optim.LBFGS(case.net.parameters()))
