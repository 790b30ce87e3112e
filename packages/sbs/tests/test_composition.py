"""The rule in networks that are not chains: residual, branching, tied, recurrent, checkpointed and functional.

Each is compared with the same network of plain autograd operations: `reference.fixed_point_update` with h held fixed is
what the rule "v2" differentiates, see `sbs.rules.backward`.
"""

from collections.abc import Callable

import pytest
import torch
from sbs import SbSLayer
from sbs.engines.reference import fixed_point_update
from torch import Tensor
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

Step = Callable[[SbSLayer, Tensor, int], Tensor]  # layer, input, seed


def layers(engine: str = "auto") -> list[SbSLayer]:
    torch.manual_seed(0)
    options = {"gradient": "v2", "weight_noise_amplitude": 3.0, "engine": engine}
    same = [SbSLayer(3, 3, 6, 3, 80, padding=1, **options) for _ in range(2)]
    return [*same, SbSLayer(3, 4, 6, 6, 80, **options), SbSLayer(3, 2, 6, 6, 80, **options)]


def ours(layer: SbSLayer, image: Tensor, seed: int) -> Tensor:
    return layer(image, seed=seed)


def plainly(layer: SbSLayer, image: Tensor, seed: int) -> Tensor:
    """The layer of plain operations: its value is h, its gradient that of the fixed-point update."""
    h = layer(image.detach().float(), seed=seed).detach()
    rows = h.permute(0, 2, 3, 1).flatten(0, 2).to(image.dtype)
    patches = layer.geometry.patches(image)
    x = patches + (patches / patches.sum(1, keepdim=True) - patches).detach()
    update = fixed_point_update(x, layer.weights.to(image.dtype), rows)
    samples, neurons, columns, lines = h.shape
    value = rows + update - update.detach()
    return value.view(samples, columns, lines, neurons).permute(0, 3, 1, 2)


def residual(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    first = step(stack[0], image, 1)
    return step(stack[2], step(stack[1], first + image, 2) + first, 3)


def branching(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    shared = step(stack[0], image, 1)
    return torch.cat([step(stack[2], shared, 2), step(stack[3], shared, 3)], 1)


def applied_twice(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    return step(stack[2], step(stack[0], step(stack[0], image, 1), 2), 3)


def recurrent(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    state = torch.full_like(image, 1 / 3)
    for time in range(3):
        state = step(stack[0], image + state, 10 + time)
    return step(stack[2], state, 3)


def tied(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    stack[1]._weights = stack[0]._weights
    return step(stack[2], step(stack[1], step(stack[0], image, 1), 2), 3)


def frozen_between(stack: list[SbSLayer], image: Tensor, step: Step) -> Tensor:
    stack[1].requires_grad_(False)
    return residual(stack, image, step)


NETWORKS = [residual, branching, applied_twice, recurrent, tied, frozen_between]


def gradients(network: Callable, step: Step, dtype: torch.dtype, engine: str = "auto") -> dict[str, Tensor]:
    stack = layers(engine)
    image = (
        torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
        .add(0.05)
        .to(dtype)
        .requires_grad_()
    )
    out = network(stack, image, step).flatten(1)
    target = torch.linspace(0, 1, out.shape[1], dtype=out.dtype)
    ((out - target) ** 2).sum().backward()
    found = {"image": image.grad}
    found |= {f"layer {index}": layer._weights.grad for index, layer in enumerate(stack)}
    return {name: value for name, value in found.items() if value is not None}


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert float(value.abs().max()) > 0, name
        assert float((found[name] - value).abs().max() / value.abs().max()) < 1e-4, name


@pytest.mark.parametrize("engine", ["auto", "reference"])
@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_gradients_are_those_of_the_plain_network(network: Callable, engine: str) -> None:
    same(gradients(network, ours, torch.float32, engine), gradients(network, plainly, torch.float64))


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("network", [residual, recurrent], ids=lambda network: network.__name__)
def test_a_checkpointed_network_has_the_same_gradients(network: Callable, reentrant: bool) -> None:
    def step(layer: SbSLayer, image: Tensor, seed: int) -> Tensor:
        return (
            checkpoint(layer, image, seed=seed, use_reentrant=False)
            if not reentrant
            else again(layer, image, seed)
        )

    def again(layer: SbSLayer, image: Tensor, seed: int) -> Tensor:
        return checkpoint(lambda shown: layer(shown, seed=seed), image, use_reentrant=True)

    found, wanted = (gradients(network, one, torch.float32) for one in (step, ours))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_a_checkpoint_without_a_seed_draws_the_same_spikes_again() -> None:
    layer = layers()[0]
    image = torch.rand(2, 3, 6, 6)
    grads = []
    for run in (layer, lambda shown: checkpoint(layer, shown, use_reentrant=False)):
        layer.zero_grad()
        torch.manual_seed(4)
        run(image).pow(2).sum().backward()
        assert layer._weights.grad is not None
        grads.append(layer._weights.grad.clone())
    assert torch.equal(*grads)


def test_given_weights_get_the_gradient() -> None:
    layer = layers()[0]
    image = torch.rand(2, 3, 6, 6)
    other = layers()[1].weights.detach().clone().requires_grad_()
    functional_call(layer, {"_weights": other}, (image,), {"seed": 1}).pow(2).sum().backward()
    assert layer._weights.grad is None
    plain = layers()[1]
    plain(image, seed=1).pow(2).sum().backward()
    assert torch.equal(other.grad, plain._weights.grad)


def test_hooks_fire_and_nothing_stale_is_added() -> None:
    layer = layers()[0]
    image = torch.rand(2, 3, 6, 6)
    seen: list[str] = []
    layer.register_forward_hook(lambda *_: seen.append("forward"))
    layer.register_full_backward_hook(lambda *_: seen.append("backward"))
    layer._weights.register_hook(lambda _: seen.append("weights"))
    grads = []
    for _ in range(2):
        layer.zero_grad()
        shown = image.clone().requires_grad_()
        layer(shown, seed=1).pow(2).sum().backward()
        assert layer._weights.grad is not None
        grads.append(layer._weights.grad.clone())
    assert torch.equal(*grads)
    assert sorted(seen) == sorted(["forward", "backward", "weights"] * 2)


def test_positions_of_a_layer_applied_twice_are_counted_twice() -> None:
    stack = layers()
    image = torch.rand(2, 3, 6, 6)
    applied_twice(stack, image, ours).pow(2).sum().backward()
    assert stack[0].learning.contributions == 2 * (2 * 6 * 6)
    assert stack[2].learning.contributions == 2
