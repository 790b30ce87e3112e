"""The backward rule against autograd and finite differences of the fixed point it approximates."""

from typing import Any

import pytest
import torch
from sbs import SbSLayer
from sbs.engines import reference
from sbs.engines.geometry import Geometry
from sbs.model.weights import pooling_weights
from sbs.rules.backward import Request, backward_rule
from sbs.rules.inference import alpha
from torch import Tensor

N, SAMPLES, C, KERNEL, J = 12, 3, 2, 3, 5
GRID = (2, 2)


def case(epsilon_shape: tuple[int, ...] = GRID, seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    components = C * KERNEL**2
    x = torch.rand(N, components, dtype=torch.float64)
    x[:, 3] = 0
    weights = torch.rand(components, J, dtype=torch.float64) + 0.1
    h = torch.rand(N, J, dtype=torch.float64)
    return {
        "x": x / x.sum(1, keepdim=True),
        "weights": weights / weights.sum(0),
        "h": h / h.sum(1, keepdim=True),
        "grad": torch.randn(N, J, dtype=torch.float64),
        "epsilon": torch.rand(*epsilon_shape, dtype=torch.float64) + 0.1,
    }


def rule(c: dict[str, Tensor], request: Request | None = None, **changes: Tensor) -> Any:
    c = c | changes
    return backward_rule(c["x"], c["weights"], c["h"], c["grad"], c["epsilon"], 0.7, request)


def test_weights_and_input_agree_with_autograd_of_the_fixed_point() -> None:
    c = case()
    x, weights = c["x"].clone().requires_grad_(), c["weights"].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: reference.fixed_point_update(a, b, c["h"][:2]), (x[:2] + 0.01, weights)
    )
    (reference.fixed_point_update(x, weights, c["h"]) * c["grad"]).sum().backward()
    result = rule(c, Request(damped=False))
    assert weights.grad is not None
    assert x.grad is not None
    assert torch.allclose(result.weights, weights.grad, rtol=1e-9, atol=1e-12)
    seen = c["x"] > 0
    assert torch.allclose(result.patches[seen], x.grad[seen], rtol=1e-9, atol=1e-12)


def test_epsilon_agrees_with_finite_differences() -> None:
    """d/dE of (h + E h') / (1 + E), where h' is the fixed-point update."""
    c = case()
    update = reference.fixed_point_update(c["x"], c["weights"], c["h"])

    def loss(epsilon: Tensor) -> Tensor:
        e = (0.7 * epsilon).reshape(-1, 1).repeat(SAMPLES, 1)
        return (((c["h"] + e * update) / (1 + e)) * c["grad"]).sum()

    result = rule(c)
    step = 1e-6
    for place in ((0, 0), (1, 0), (1, 1)):
        up, down = c["epsilon"].clone(), c["epsilon"].clone()
        up[place] += step
        down[place] -= step
        assert float(result.epsilon[place]) == pytest.approx(
            float(loss(up) - loss(down)) / (2 * step), rel=1e-5
        )


def test_v1_damps_the_input_gradient_and_v2_does_not() -> None:
    c = case()
    e = (0.7 * c["epsilon"]).reshape(-1, 1).repeat(SAMPLES, 1)
    damped, plain = rule(c).patches, rule(c, Request(damped=False)).patches
    assert torch.allclose(damped, plain * e / (1 + e))


def test_epsilon_per_kernel_element_sums_component_terms() -> None:
    c = case((*GRID, KERNEL, KERNEL))
    result = rule(c)
    x, weights, h, grad = c["x"], c["weights"], c["h"], c["grad"]
    r = h @ weights.T
    terms = x * ((h * grad) @ weights.T / r) - (h * grad).sum(1, keepdim=True)
    e = 0.7 * c["epsilon"]
    expected = terms.view(SAMPLES, *GRID, C, KERNEL, KERNEL).sum((0, 3)) * 0.7 / (1 + e) ** 2
    assert torch.allclose(result.epsilon, expected, rtol=1e-9)
    damped = rule(c, Request(damped=False)).patches.view(SAMPLES, *GRID, C, KERNEL, KERNEL)
    factor = (e / (1 + e)).unsqueeze(2)
    assert torch.allclose(result.patches.view(SAMPLES, *GRID, C, KERNEL, KERNEL), damped * factor)


def test_one_patch_with_epsilon_per_kernel_element() -> None:
    c = case((*GRID, KERNEL, KERNEL))
    alone = {name: c[name][:1] for name in ("x", "h", "grad")} | {"epsilon": c["epsilon"][:1, :1]}
    assert torch.allclose(rule(c, **alone).patches, rule(c).patches[:1], rtol=1e-12)


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    c = case()
    whole = rule(c)
    monkeypatch.setattr("sbs.rules.backward.CHUNK", 1)
    monkeypatch.setattr("builtins.max", lambda *values: sorted(values)[0] or 1)
    parts = rule(c)
    monkeypatch.undo()
    for name in ("patches", "weights", "epsilon"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-15)


def test_centring_keeps_float32_digits_on_nearly_uniform_weights() -> None:
    torch.manual_seed(0)
    weights = torch.rand(50, 32, dtype=torch.float64) * 0.01 + 1
    weights /= weights.sum(0)
    h = torch.rand(400, 32, dtype=torch.float64) + 1
    h /= h.sum(1, keepdim=True)
    x = torch.rand(400, 50, dtype=torch.float64)
    grad = torch.randn(400, 32, dtype=torch.float64) * 0.01 + 5
    epsilon = torch.full((20, 20), 0.1)
    exact = backward_rule(x, weights, h, grad, epsilon, 1.0).weights
    single = backward_rule(x.float(), weights.float(), h.float(), grad.float(), epsilon, 1.0).weights
    assert exact is not None
    assert single is not None
    assert float((single - exact).abs().max() / exact.abs().max()) < 1e-4


def test_empty_patches_and_dead_neurons_give_finite_gradients() -> None:
    c = case()
    x, h, weights = c["x"].clone(), c["h"].clone(), c["weights"].clone()
    x[0] = 0
    h[1] = 0
    h[1, 0] = 1
    weights[4] = 0
    weights[5, 1:] = 0
    h[2, 0] = 0
    for dtype in (torch.float32, torch.float64):
        result = rule({name: value.to(dtype) for name, value in c.items()} | {
            "x": x.to(dtype), "h": h.to(dtype), "weights": weights.to(dtype)
        })  # fmt: skip
        for name in ("patches", "weights", "epsilon"):
            value = getattr(result, name)
            assert bool(value.isfinite().all())
            assert float(value.abs().max()) < 1e6, name
        assert bool((result.patches[0] == 0).all())


def test_local_learning() -> None:
    c = case()
    target = torch.nn.functional.one_hot(torch.arange(N) % J, J).double()
    r = c["h"] @ c["weights"].T
    hidden = rule(c, Request(local=True)).weights
    assert torch.allclose(hidden, -2 * (c["x"] - r).T @ c["h"])
    output = backward_rule(
        c["x"], c["weights"], c["h"], c["grad"], c["epsilon"], 0.7, Request(local=True), target
    ).weights
    assert output is not None
    assert torch.allclose(output, -2 * (c["x"] - r).T @ target)


def test_local_learning_leaves_out_positions_without_input() -> None:
    c = case()
    dark = c["x"].clone()
    dark[0] = 0
    kept = {name: c[name][1:] for name in ("x", "h", "grad")}
    found = rule(c | {"x": dark}, Request(local=True)).weights
    torch.testing.assert_close(found, -2 * (kept["x"] - kept["h"] @ c["weights"].T).T @ kept["h"])


def test_local_learning_through_the_layer_takes_the_target() -> None:
    torch.manual_seed(0)
    layer = SbSLayer(2, 3, (4, 4), 4, 30, local_learning=True)
    image = torch.rand(5, 2, 4, 4)
    target = torch.nn.functional.one_hot(torch.arange(5) % 3, 3).float().view(5, 3, 1, 1)
    grads = []
    for given in (None, target):
        layer.zero_grad()
        layer(image, seed=1, target=given).sum().backward()
        assert layer.weights.grad is not None
        grads.append(layer.weights.grad.clone())
    x = layer.geometry.patches(image)
    x = x / x.sum(1, keepdim=True)
    h = layer(image, seed=1).detach().flatten(1)
    r = h @ layer.weights.detach().T
    assert torch.allclose(grads[0], -2 * (x - r).T @ h, atol=1e-6)
    assert torch.allclose(grads[1], -2 * (x - r).T @ target.flatten(1), atol=1e-6)


@pytest.mark.parametrize("gradient", ["v1", "v1.1", "v2"])
@pytest.mark.parametrize("pooling", [False, True])
def test_the_layer_applies_the_rule(gradient: Any, pooling: bool) -> None:
    torch.manual_seed(1)
    layer = SbSLayer(
        3, 3 if pooling else 4, (6, 6), 2, 60, epsilon_0=0.8, is_pooling_layer=pooling, gradient=gradient,
        strides=2 if pooling else 1, weight_noise_amplitude=1.0, epsilon_per_kernel=gradient == "v1.1",
    )  # fmt: skip
    image = torch.rand(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    h = layer(image, seed=3)
    grad = torch.randn_like(h)
    h.backward(grad)
    expected = backward_rule(
        layer.geometry.patches(image.detach()),
        layer.weights.detach().double(),
        h.detach().permute(0, 2, 3, 1).reshape(-1, layer.number_of_neurons),
        grad.permute(0, 2, 3, 1).reshape(-1, layer.number_of_neurons),
        layer.epsilon_xy.double(),
        0.8,
        Request(damped=gradient != "v2", one_hot=pooling),
    )
    assert expected.patches is not None
    assert image.grad is not None
    assert image.grad.dtype == torch.float64
    folded = layer.geometry.fold(expected.patches, 2, (6, 6))
    assert torch.allclose(image.grad, folded, rtol=1e-4, atol=1e-6)
    assert layer.epsilon_xy.grad is not None
    assert expected.epsilon is not None
    assert torch.allclose(layer.epsilon_xy.grad.double(), expected.epsilon, rtol=1e-3, atol=1e-6)
    if pooling:
        assert layer.weights.grad is None
    else:
        assert layer.weights.grad is not None
        assert expected.weights is not None
        assert torch.allclose(layer.weights.grad.double(), expected.weights, rtol=1e-3, atol=1e-5)


def test_gradient_scale_grows_during_the_first_passes_and_freezes() -> None:
    torch.manual_seed(0)
    layer = SbSLayer(1, 3, (3, 3), 3, 20, gradient_scale_updates=2)
    plain = SbSLayer(1, 3, (3, 3), 3, 20)
    plain.load_state_dict(layer.state_dict())
    image = torch.rand(2, 1, 3, 3)
    pattern = torch.tensor([1.0, -0.5, 0.25]).view(1, 3, 1, 1).expand(2, 3, 1, 1)
    for size, scale in ((2.0, 2.0), (8.0, 8.0), (32.0, 8.0)):
        for one in (layer, plain):
            one.zero_grad()
            one(image, seed=1).backward(pattern * size)
        assert layer.learning.scale.largest == scale
        assert layer.weights.grad is not None
        assert plain.weights.grad is not None
        assert torch.allclose(layer.weights.grad * scale, plain.weights.grad, rtol=1e-5, atol=1e-6)


def test_average_weight_gradient_divides_by_contributions() -> None:
    layer = SbSLayer(1, 3, (4, 4), 3, 20)
    image = torch.rand(2, 1, 4, 4)
    for _ in range(2):
        layer(image, seed=1)[:, 0].sum().backward()
    assert layer.weights.grad is not None
    before = layer.weights.grad.clone()
    layer.average_weight_gradient()
    assert torch.allclose(layer.weights.grad, before / (2 * 2 * 4))
    assert layer.learning.contributions == 0


def test_memory_of_a_training_step_stays_below_ten_activations() -> None:
    """Peak of torch's allocations during backward, against input and output of the layer."""
    from torch.profiler import ProfilerActivity, profile

    layer = SbSLayer(32, 64, (10, 10), 5, 5)
    image = torch.rand(240, 32, 10, 10, requires_grad=True)
    h = layer(image, seed=0)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        h.backward(torch.rand_like(h))
    results: Any = recorded.profiler
    memory = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    current = peak = 0
    for event in sorted(memory, key=lambda event: event.start_ns()):
        current += event.nbytes()
        peak = max(peak, current)
    assert peak > 0
    activations = 4 * (image.numel() + h.numel())
    assert peak < 10 * activations


def test_float64_gradients_of_pooling_with_tiny_outputs_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)
    weights = pooling_weights(4, (2, 2)).double()
    h = torch.rand(6, 4, dtype=torch.float64, generator=generator)
    h[:, 0] = 1e-11
    h /= h.sum(1, keepdim=True)
    patches = torch.rand(6, 16, dtype=torch.float64, generator=generator)
    grad = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    found = backward_rule(patches, weights, h, grad, torch.ones(1, 1), 1.0, Request(one_hot=False))
    exact = backward_rule(patches, weights, h, grad, torch.ones(1, 1), 1.0, Request(one_hot=True))
    x = patches / patches.sum(1, keepdim=True)
    r = h @ weights.T
    centred = grad - (h * grad).sum(1, keepdim=True) / h.sum(1, keepdim=True)
    q = ((h * centred) @ weights.T) / r
    by_hand = (x / r).T @ (h * centred) - (x / r * q).T @ h
    for ours, wanted in ((found.patches, exact.patches), (found.weights, by_hand), (exact.weights, by_hand)):
        assert ours is not None
        assert wanted is not None
        assert float((ours - wanted).abs().max() / wanted.abs().max()) < 1e-13


def test_a_constant_added_to_the_gradient_changes_little_of_epsilon() -> None:
    """h sums to 1, so the constant has no effect; what is rounded off while it is subtracted cancels, too."""
    torch.manual_seed(3)
    count, components, neurons = 400, 6, 8
    x, weights, h = (
        torch.rand(count, components),
        torch.rand(components, neurons) + 0.1,
        torch.rand(count, neurons),
    )
    h, grad = h / h.sum(1, keepdim=True), torch.randint(-40, 40, (count, neurons)) / 8
    epsilon = torch.ones(2, 2)
    plain, shifted = (
        backward_rule(x, weights / weights.sum(0), h, g, epsilon, 0.7).epsilon for g in (grad, grad + 2**20)
    )
    error = (shifted - plain).abs().max()
    assert error < 0.05 * plain.abs().max(), (error, plain)


@pytest.mark.parametrize("size", [(3, 2), (2, 1)])
def test_attention_starts_uniform(size: tuple[int, int]) -> None:
    """The first step by hand; also of maps whose numbers of columns and rows share no bit."""
    torch.manual_seed(0)
    columns, rows = size
    geometry = Geometry((2, 2))
    image, weights = torch.rand(3, 2, columns + 1, rows + 1), torch.rand(8, 5)
    h = torch.rand(3, columns, rows, 5)
    t = (h.flatten(1, 2) @ weights.T) * (1.0 / (columns * rows))
    t = t / t.sum(1, keepdim=True)
    z = (geometry.fold(t.flatten(0, 1), 3, (columns + 1, rows + 1)) * image).sum(1, keepdim=True)
    value = geometry.patches(z).sum(1).view(3, columns * rows, 1) + 1000 * torch.finfo(torch.float32).eps
    expected = (value / value.sum(1, keepdim=True)).view(3, columns, rows, 1)
    assert torch.equal(alpha(image, h, weights, geometry, 1), expected)


def test_a_few_samples_at_a_time_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """3 x 2 positions of 2 * 2 * 2 components are 48 entries a sample."""
    torch.manual_seed(0)
    layer = SbSLayer(2, 5, (4, 3), 2, 20)
    image, seen = torch.rand(5, 2, 4, 3), []
    layer(image, seed=1).pow(2).sum().backward()
    whole = layer._weights.grad
    layer.zero_grad()
    plain = backward_rule
    monkeypatch.setattr("sbs.rules.inference.CHUNK", 100)
    monkeypatch.setattr(
        "sbs.rules.inference.backward_rule",
        lambda patches, *a: (seen.append(len(patches)), plain(patches, *a))[1],
    )
    layer(image, seed=1).pow(2).sum().backward()
    assert seen == [12, 12, 6]
    assert torch.allclose(layer._weights.grad, whole, rtol=1e-5, atol=1e-7)
