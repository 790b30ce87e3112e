"""Settings of the framework that users often change: the default's result, or one sentence before anything changes."""

import copy
from collections.abc import Callable
from functools import cache
from typing import Any

import dalton
import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from core_networks import Problem, problem
from dalton import Architecture, ConvSpec, SpikingCNN
from reprokit import UserError
from torch import Tensor, nn

ENGINES = ("torch", "native") if dalton.kernel_available() else ("torch",)
engines = pytest.mark.parametrize("engine", ENGINES)
KINDS = [("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "rtrl")]
kinds = pytest.mark.parametrize(("method", "setting"), KINDS)
SMALL = Architecture((ConvSpec(2, 3),), (5,))
Make = Callable[[SpikingCNN], torch.optim.Optimizer]


def adam(net: SpikingCNN) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=0.01)


def step(net: SpikingCNN, case: Problem, method: str, setting: Any, engine: Any, **options: Any) -> Any:
    return dalton.train_step(
        method, net, options.pop("optimizer", None), *case.batch(), setting, burn_in=3, dropout_masks=case.masks,
        engine=engine, **options,
    )  # fmt: skip


def trained(
    case: Problem,
    method: str,
    setting: str,
    engine: str,
    make: Make = adam,
    change: Callable[[SpikingCNN], Any] = id,
) -> dict[str, Tensor]:
    """Return the weights after two steps of a copy of the network that was changed before."""
    net = copy.deepcopy(case.net)
    change(net)
    optimizer = make(net)
    for _ in range(2):
        step(net, case, method, setting, engine, optimizer=optimizer)
    return {name: value.clone() for name, value in net.state_dict().items()}


@cache
def trained_plainly(
    seed: int, dtype: torch.dtype, method: str, setting: str, engine: str
) -> dict[str, Tensor]:
    """Return the weights after two steps of a problem's network as it is."""
    return trained(problem(seed, dtype), method, setting, engine)


@cache
def trained_by(kind: str, fused: bool, method: str, setting: str, engine: str) -> dict[str, Tensor]:
    """Return the weights after two steps by another optimizer."""
    return trained(problem(4), method, setting, engine, optimizer_of(kind, fused))


def optimizer_of(kind: str, fused: bool) -> Make:
    return lambda net: getattr(torch.optim, kind)(net.parameters(), lr=0.01, fused=fused)


def assert_same(found: dict[str, Tensor], wanted: dict[str, Tensor], names: Any = None) -> None:
    for name in names or wanted:
        assert torch.equal(found[name], wanted[name]), name


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


# inference_mode, seeds


@engines
def test_inference_mode(engine):
    case = problem(15)
    wanted = dalton.predict(case.net, *case.batch()[::2], engine=engine)
    with torch.inference_mode():
        assert torch.equal(dalton.predict(case.net, *case.batch()[::2], engine=engine), wanted)
        torch.testing.assert_close(case.net(*case.batch()[::2]), wanted)
        made = copy.deepcopy(case.net)
        optimizer = adam(case.net)
        with pytest.raises(UserError, match="inference_mode"):
            step(case.net, case, "dalton", "bptt", engine, optimizer=optimizer)
        fresh = SpikingCNN(SMALL, (1, 9, 9))
    assert not optimizer.state
    del made
    images = torch.rand(2, 1, 9, 9)
    assert torch.equal(dalton.predict(fresh, images, 6, engine=engine),
                       dalton.predict(SpikingCNN(SMALL, (1, 9, 9)), images, 6, engine=engine))  # fmt: skip
    for method, setting in KINDS:
        with pytest.raises(UserError, match="inference_mode"):
            dalton.train_step(method, fresh, adam(fresh), images, torch.tensor([0, 1]), 6, setting, burn_in=2,
                              engine=engine)  # fmt: skip
    trained(case, "dalton", "bptt", engine)


def test_seed_none_is_random_and_follows_torch():
    def drawn(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return SpikingCNN(SMALL, (1, 9, 9), seed=None).conv1.detach()

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    torch.manual_seed(1)
    first, second = (SpikingCNN(SMALL, (1, 9, 9), seed=None) for _ in range(2))
    assert not torch.equal(first.conv1, second.conv1)
    assert torch.equal(SpikingCNN(SMALL, (1, 9, 9), seed=first.seed).conv1, first.conv1)
    state = torch.get_rng_state()
    SpikingCNN(SMALL, (1, 9, 9), seed=7)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("seed", [1.5, "7", -1, True])
def test_seeds_are_whole_numbers(seed):
    with pytest.raises(UserError, match="seed is"):
        SpikingCNN(SMALL, (1, 9, 9), seed=seed)


# wrappers


def test_wrapped_networks():
    case = problem(16)
    wanted = dalton.predict(case.net, *case.batch()[::2])
    averaged = torch.optim.swa_utils.AveragedModel(case.net)
    compiled: Any = torch.compile(case.net, backend="eager")
    for wrapped in (averaged, compiled, nn.DataParallel(case.net)):
        assert torch.equal(dalton.predict(wrapped, *case.batch()[::2]), wanted)
    plain = copy.deepcopy(case.net)
    for net, outer in ((plain, plain), (case.net, compiled)):
        step(outer, case, "dalton", "bptt", "torch", optimizer=adam(net))
    assert_same(case.net.state_dict(), plain.state_dict())
    with pytest.raises(UserError, match="AveragedModel"):
        step(averaged, case, "dalton", "bptt", "torch", optimizer=adam(case.net))  # pyright: ignore
    with pytest.raises(UserError, match="Linear"):
        dalton.predict(nn.Linear(2, 2), *case.batch()[::2])  # pyright: ignore


# dropout, autograd and torch.func


def test_forward_drops_spikes_in_training_alone():
    case = problem(17, dropout=0.5, pool=2)
    net, (inputs, _, steps) = case.net, case.batch()
    assert not torch.equal(net(inputs, steps), net(inputs, steps))
    torch.manual_seed(3)
    first = net(inputs, steps)
    torch.manual_seed(3)
    assert torch.equal(net(inputs, steps), first)
    without = net(inputs, steps, {})
    net.eval()
    assert torch.equal(net(inputs, steps), without)
    torch.testing.assert_close(dalton.predict(net, inputs, steps), without.detach())
    torch.testing.assert_close(net(inputs, steps, case.masks), net.train()(inputs, steps, case.masks))


@engines
def test_evaluation_mode_switches_the_dropout_of_a_step_off(engine):
    case, grads = problem(18, dropout=0.5, pool=2), []
    for masks in (None, {}):
        net = copy.deepcopy(case.net).eval()
        dalton.train_step(
            "dalton", net, None, *case.batch(), dropout_masks=masks, engine=engine, update=False
        )
        grads.append({name: net.weight(name).grad for name in net.layer_names})
    assert_same(grads[0], grads[1])


def test_images_without_steps_are_refused():
    net = SpikingCNN(SMALL, (1, 9, 9))
    images = torch.rand(4, 1, 9, 9)
    for use in (lambda: net(images), lambda: nn.Sequential(net)(images), lambda: dalton.predict(net, images)):
        with pytest.raises(UserError, match="steps is None; images need"):
            use()
    colour = SpikingCNN(SMALL, (3, 9, 9))
    for inputs, steps, part in (
        (torch.rand(4, 3, 9, 9), None, "steps"), (torch.rand(4, 3, 9, 9) * 255, 5, "divide by 255"),
        (torch.rand(4, 3, 9, 9), 5.0, "steps"), (torch.rand(3, 9, 9), 5, "shape"),
        (torch.rand(2, 4, 3, 9, 9), 5, "2 frames"),
        (torch.full((4, 3, 9, 9), torch.nan), 5, "NaN"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=part):
            colour(inputs, steps)
    with pytest.raises(UserError, match="divide by 255"):
        dalton.encode(images * 255, net.encoder, steps=5)
    with pytest.raises(UserError, match="conv9"):
        net(images, 5, {"conv9": images})


def test_a_state_of_other_samples_is_refused():
    net = SpikingCNN(SMALL, (1, 9, 9))
    with pytest.raises(UserError, match=r"\(1, 1, 9, 9\).*\(8, 1, 9, 9\)"):
        net.step(torch.rand(1, 1, 9, 9), net.initial_state(8))


def test_states_can_be_detached():
    net = SpikingCNN(SMALL, (1, 9, 9))
    outputs, state = net.step(torch.rand(2, 1, 9, 9), net.initial_state(2))
    assert outputs.requires_grad
    held = state.detach()
    assert not any(value.requires_grad for layer in held.layers for value in layer)
    assert torch.equal(held.layers[0].v, state.layers[0].v)


def test_a_gradient_of_inputs_is_refused():
    net = SpikingCNN(SMALL, (1, 9, 9))
    with pytest.raises(UserError, match="inputs require a gradient"):
        net(torch.rand(2, 1, 9, 9, requires_grad=True), 5)


def test_functional_calls():
    """torch.func on the weights gives autograd's gradient; vmap over copies of the weights each one's outputs."""
    case = problem(19)
    net, (inputs, _, steps) = case.net.eval(), case.batch()
    weights = {name: p.detach() for name, p in net.named_parameters()}

    def loss(given: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(net, given, (inputs, steps)).square().mean()

    found = torch.func.grad(loss)(weights)
    net(inputs, steps).square().mean().backward()
    assert_same(found, {name: p.grad for name, p in net.named_parameters() if p.grad is not None})
    several = {name: torch.stack([w, 0.7 * w]) for name, w in weights.items()}
    outputs = torch.func.vmap(lambda one: torch.func.functional_call(net, one, (inputs, steps)))(several)
    for k in range(2):
        one = torch.func.functional_call(net, {name: w[k] for name, w in several.items()}, (inputs, steps))
        torch.testing.assert_close(outputs[k], one)


def test_a_second_derivative_is_that_of_the_surrogate():
    net = SpikingCNN(SMALL, (1, 9, 9), dtype=torch.float64)
    loss = net(torch.rand(2, 1, 9, 9), 5).square().sum()
    (first,) = torch.autograd.grad(loss, net.weight("conv1"), create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), net.weight("conv1"))
    assert bool(second.isfinite().all())
    delta = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(dalton.spike(delta).sum(), delta, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), delta)
    inside = delta.detach().abs() > 0
    wanted = -10 * delta.detach().sign() / (1 + 5 * delta.detach().abs()) ** 3
    torch.testing.assert_close(curvature[inside], wanted[inside])


@engines
@kinds
def test_weight_norm_trains_its_own_parameters(method, setting, engine):
    """The gradient of the weight flows on through the parametrization, as autograd takes it."""
    case = problem(20)
    net = copy.deepcopy(case.net)
    torch.nn.utils.parametrizations.weight_norm(net, "conv2")
    own = [f"parametrizations.conv2.original{k}" for k in (0, 1)]
    assert set(own) <= set(dalton.trainable(net, method))
    step(net, case, method, setting, engine, update=False)
    plain = copy.deepcopy(case.net)
    step(plain, case, method, setting, engine, update=False)
    weight: Any = net.weight("conv2")
    wanted = torch.autograd.grad(
        weight, [net.get_parameter(name) for name in own], plain.weight("conv2").grad
    )
    for name, gradient in zip(own, wanted, strict=True):
        torch.testing.assert_close(net.get_parameter(name).grad, gradient, rtol=1e-9, atol=1e-12)
    before = net.weight("conv2").detach().clone()
    step(net, case, method, setting, engine, optimizer=adam(net))
    assert not torch.equal(net.weight("conv2"), before)
    torch.nn.utils.parametrize.remove_parametrizations(net, "conv2")
    torch.testing.assert_close(
        dalton.predict(net, *case.batch()[::2]), net.eval()(*case.batch()[::2]).detach()
    )


def test_pruned_weights_are_refused_in_a_step():
    case = problem(21)
    torch.nn.utils.prune.l1_unstructured(case.net, "conv1", 0.5)
    with pytest.raises(UserError, match=r"conv1 is not a parameter.*prune.remove"):
        step(case.net, case, "dalton", "bptt", "torch", optimizer=adam(case.net))
    torch.nn.utils.prune.remove(case.net, "conv1")
    step(case.net, case, "dalton", "bptt", "torch", optimizer=adam(case.net))


# shapes and values of weights


@engines
@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("dense2", torch.randn(128, 128)), ("conv1", torch.randn(32, 1, 3, 3)), ("conv1", torch.randn(8, 1, 3, 3)),
        ("conv1", torch.randn(16, 1, 5, 5)), ("out", torch.randn(10, 63)), ("out", torch.randn(11, 64)),
        ("readout_conv1", torch.randn(10, 5)), ("dense1", torch.randn(128, 2704, 1)), ("conv1", torch.tensor(1.0)),
        ("dense1", torch.randn(0, 2704)),
    ],
)  # fmt: skip
def test_weights_of_another_shape_are_refused(engine, name, weight):
    net = SpikingCNN("A1", (1, 28, 28))
    getattr(net, name).data = weight
    images, labels = torch.rand(2, 1, 28, 28), torch.tensor([0, 1])
    uses = [
        lambda: dalton.predict(net, images, 5, engine=engine),
        lambda: net(images, 5),
        *(
            lambda m=m, s=s: dalton.train_step(
                m, net, adam(net), images, labels, 5, s, burn_in=1, engine=engine
            )
            for m, s in KINDS
        ),
    ]
    for use in uses:
        with pytest.raises(UserError, match=f"{name} has shape.*the architecture needs"):
            use()


@engines
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("conv1", value) for value in (torch.nan, torch.inf, -torch.inf, 1e30)),
        *((name, torch.nan) for name in ("dense2", "out", "readout_conv1")),
    ],
)
def test_weights_that_are_not_finite_are_refused(engine, value, name):
    case = problem(22, torch.float32)
    getattr(case.net, name).data.view(-1)[3] = value
    for use in (
        lambda: dalton.predict(case.net, *case.batch()[::2], engine=engine),
        lambda: step(case.net, case, "tfr", "bptt", engine, optimizer=adam(case.net)),
        lambda: case.net(*case.batch()[::2]),
    ):
        with pytest.raises(
            UserError, match=f"{name} holds weights that are NaN or beyond.*smaller learning rate"
        ):
            use()


@engines
@kinds
def test_a_step_that_diverges_says_so(method, setting, engine):
    case = problem(23, torch.float32)
    with pytest.raises(UserError, match="diverged"):
        step(
            case.net,
            case,
            method,
            setting,
            engine,
            optimizer=torch.optim.Adam(case.net.parameters(), lr=1e30),
        )


@engines
def test_a_gradient_that_is_not_finite_changes_nothing(engine):
    """Class outputs beyond float32 when squared: refused before the optimizer sees them."""
    case = problem(24, torch.float32)
    case.net.out.data.fill_(9e19)
    before = copy.deepcopy(case.net.state_dict())
    with pytest.raises(UserError, match=r"the gradient of .* is not finite|the loss of .* is inf"):
        step(case.net, case, "surrgd", "bptt", engine, optimizer=adam(case.net))
    assert_same(case.net.state_dict(), before)


@pytest.mark.parametrize(
    ("kind", "value"), [("steps", 9), ("burn_in", 3), ("classes", 4), ("input_shape", (2, 13, 12))]
)
def test_numpy_numbers_are_numbers(kind, value):
    case = problem(25)
    given = tuple(np.int64(n) for n in value) if isinstance(value, tuple) else np.int64(value)
    if kind == "steps":
        assert torch.equal(case.net(case.inputs, given), case.net(case.inputs, 9))
        assert torch.equal(
            dalton.predict(case.net, case.inputs, given), dalton.predict(case.net, case.inputs, 9)
        )
    elif kind == "burn_in":
        assert len(dalton.predict(case.net, case.inputs, 9, given)) == 6
    else:
        options = {"input_shape": (2, 13, 12), "classes": 4, kind: given}
        arch = Architecture((ConvSpec(np.int64(4), np.int64(3), pool=np.int64(2)),), (np.int64(5),))  # pyright: ignore
        assert SpikingCNN(arch, **options).out.shape == (4, 5)
