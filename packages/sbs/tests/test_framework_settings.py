"""Settings of torch that users often change: the results of the default settings, or one sentence."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from reprokit import UserError
from sbs import MultiplicativeAdam, SbSLayer, mixed, sbs_pooling
from torch import Tensor, nn

IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.fixture(autouse=True)
def _float32_again() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def network(engine: str = "auto", per_kernel: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    same: dict[str, Any] = {"engine": engine, "epsilon_t": "power", "epsilon_xy_initial": 0.5}
    return nn.Sequential(
        SbSLayer(1, 6, 8, 3, 60, weight_noise_amplitude=3.0, epsilon_per_kernel=per_kernel, **same),
        sbs_pooling(6, 6, 2, 60, **same),
        SbSLayer(6, 3, 3, 3, 60, weight_noise_amplitude=3.0, **same),
    )


def train(
    change: Callable[[nn.Module], Any] = lambda _: None,
    images: Tensor = IMAGES,
    fused: bool = False,
    steps: int = 3,
) -> tuple[Tensor, list[Tensor]]:
    """Return the last output and the weights after some steps."""
    net = network()
    change(net)
    options: dict[str, Any] = {"fused": True} if fused else {"foreach": False}
    optimizer = torch.optim.Adam([net[0]._weights, net[2]._weights], 0.01, **options)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        mixed(net(images), LABELS).backward()
        optimizer.step()
        for layer in (net[0], net[2]):
            layer.constrain_weights(1e-4)
    return net(images).detach(), [net[0].weights.detach(), net[2].weights.detach()]


def same(
    first: tuple[Tensor, list[Tensor]], second: tuple[Tensor, list[Tensor]], tolerance: float = 0.0
) -> None:
    for a, b in zip([first[0], *first[1]], [second[0], *second[1]], strict=True):
        assert float((a.double() - b.double()).abs().max()) <= tolerance


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_requires_grad_false_changes_no_output(engine: str) -> None:
    net = network(engine)
    torch.manual_seed(2)
    free = net(IMAGES).detach()
    net.requires_grad_(False)
    torch.manual_seed(2)
    assert torch.equal(net(IMAGES), free)
    shown = IMAGES.clone().requires_grad_()
    torch.manual_seed(2)
    net(shown).pow(2).sum().backward()
    assert shown.grad is not None
    assert bool(shown.grad.abs().sum() > 0)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("per_kernel", [False, True])
def test_channels_last_changes_no_bit(per_kernel: bool) -> None:
    def result(format_: torch.memory_format) -> list[Tensor]:
        net = network(per_kernel=per_kernel).to(memory_format=format_)
        torch.manual_seed(2)
        h = net(IMAGES.contiguous(memory_format=format_))
        h.pow(2).sum().backward()
        return [h.detach(), net[0]._weights.grad, net[2]._weights.grad, net[0]._epsilon_xy.grad]

    plain, last = result(torch.contiguous_format), result(torch.channels_last)
    assert all(torch.equal(a, b) for a, b in zip(plain, last, strict=True))


def test_fused_optimisers_train_the_same() -> None:
    same(train(fused=True), train(), 1e-5)


def test_default_dtype_float64() -> None:
    torch.set_default_dtype(torch.float64)
    layer = SbSLayer(1, 3, 8, 3, 20)
    assert layer(IMAGES, seed=1).dtype == torch.float32
    assert layer(IMAGES.double(), seed=1).dtype == torch.float64
    torch.set_default_dtype(torch.float32)
    net = network()
    torch.set_default_dtype(torch.float64)
    for engine in ("auto", "reference"):
        for stage in net:
            stage.engine = engine
        torch.manual_seed(5)
        h = net(IMAGES)
        torch.set_default_dtype(torch.float32)
        torch.manual_seed(5)
        assert torch.equal(h, net(IMAGES))
        torch.set_default_dtype(torch.float64)
    for mode in ("spikes", "expected"):
        layer.mode = mode
        h = layer(IMAGES)
        h.pow(2).sum().backward()
        assert h.dtype == torch.float32
        assert bool(h.isfinite().all())
        assert bool(layer._weights.grad.isfinite().all())


def test_double_trains_the_same_within_rounding() -> None:
    same(train(nn.Module.double, IMAGES.double(), steps=1), train(steps=1), 2e-2)
    net = network()
    torch.manual_seed(3)
    single = net(IMAGES)
    torch.manual_seed(3)
    assert torch.allclose(net.double()(IMAGES.double()).float(), single, atol=1e-5)


def test_manual_seed_decides_and_no_seed_means_random() -> None:
    layer = SbSLayer(1, 3, 8, 3, 20, weight_noise_amplitude=3.0)
    torch.manual_seed(4)
    first = layer(IMAGES)
    assert not torch.equal(layer(IMAGES), first)
    torch.manual_seed(4)
    assert torch.equal(layer(IMAGES), first)
    assert torch.equal(layer(IMAGES, seed=7), layer(IMAGES, seed=7))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_the_layer_in_float32(dtype: torch.dtype) -> None:
    def result(autocast: bool) -> list[Tensor]:
        net = network()
        torch.manual_seed(2)
        with torch.autocast("cpu", dtype, enabled=autocast):
            loss = mixed(net(IMAGES), LABELS)
            loss.backward()
        return [loss.detach(), net[0]._weights.grad, net[2]._weights.grad]

    assert all(torch.equal(a, b) for a, b in zip(result(True), result(False), strict=True))
    mixed_net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), SbSLayer(1, 3, 8, 8, 20), nn.Flatten())
    with torch.autocast("cpu", dtype):
        output = mixed_net(IMAGES)
        nn.functional.cross_entropy(output, LABELS).backward()
    assert output.dtype == torch.float32
    assert bool(mixed_net[0].weight.grad.isfinite().all())


@pytest.mark.parametrize(
    "make", [lambda p: torch.optim.Adam(p, 0.01), lambda p: MultiplicativeAdam(p, lr=0.01)]
)
def test_a_gradient_scaler_takes_the_same_step(
    make: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> None:
    def result(scaled: bool) -> Tensor:
        net = network()
        scaler = torch.amp.GradScaler("cpu", enabled=scaled)
        optimizer = make([net[0]._weights, net[2]._weights])
        torch.manual_seed(2)
        scaler.scale(mixed(net(IMAGES), LABELS)).backward()
        scaler.step(optimizer)
        scaler.update()
        return net[0]._weights.detach()

    assert torch.allclose(result(True), result(False), atol=1e-6)


def test_accumulated_gradients_are_those_of_one_batch() -> None:
    def gradients(parts: int) -> Tensor:
        layer = SbSLayer(1, 3, 8, 3, 40)
        layer.weights = torch.rand(9, 3, generator=torch.Generator().manual_seed(0)) + 0.1
        size = len(IMAGES) // parts
        for first in range(0, len(IMAGES), size):
            layer(IMAGES[first : first + size], seed=1, first_sample=first).pow(2).sum().backward()
        assert layer._weights.grad is not None
        return layer._weights.grad

    assert torch.allclose(gradients(3), gradients(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convert", [
    nn.Module.half, nn.Module.bfloat16, lambda net: net.to(torch.bfloat16), lambda net: net.to(dtype=torch.float16),
])  # fmt: skip
def test_half_precision_is_refused_before_anything_changes(convert: Callable[[nn.Module], Any]) -> None:
    net = network()
    with pytest.raises(UserError, match="autocast"):
        convert(net)
    assert all(parameter.dtype == torch.float32 for parameter in net.parameters())


@pytest.mark.parametrize("engine", ["auto", "reference"])
def test_inference_mode_gives_the_same_output(engine: str) -> None:
    net = network(engine).eval()
    torch.manual_seed(2)
    expected = net(IMAGES).detach()
    with torch.inference_mode():
        made = network(engine).eval()
        for each in (net, made):
            torch.manual_seed(2)
            assert torch.equal(each(IMAGES), expected)


def test_pooling_weights_changed_through_data_are_used() -> None:
    layer = sbs_pooling(2, 4, 2, 400, epsilon_xy_initial=0.1)
    image = torch.rand(1, 2, 4, 4)
    before = layer(image, seed=1)
    layer._weights.data.copy_(layer._weights.data.flip(1))
    assert torch.allclose(layer(image, seed=1), before.flip(1), atol=1e-5)
