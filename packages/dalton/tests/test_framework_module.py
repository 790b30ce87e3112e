"""A network as a module of torch: modes, seeds, wrappers, functional calls, and weights that were replaced."""

import copy
from typing import Any

import dalton
import numpy as np
import pytest
import torch
import torch.nn.utils.prune
from core_networks import problem
from dalton import Architecture, ConvSpec, SpikingCNN
from framework_steps import KINDS, SMALL, adam, assert_same, engines, kinds, step, trained
from reprokit import UserError
from torch import Tensor, nn

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
