"""The layer as a torch module: shapes, state, modes, properties, and one clear error per mistake."""

import copy
import inspect
import pickle
from typing import Any

import pytest
import torch
from reprokit.run.cost import InferenceCost
from sbs import SbS, SbSLayer, TimeCourse, sbs_pooling
from sbs.config import LayerConfig, NetworkConfig
from sbs.engines import kernel, reference
from sbs.engines.reference import spikes_from_uniforms
from sbs.model.cost import inference_cost
from sbs.model.networks import build_network, sbs_layers
from sbs.model.weights import constrained, pooling_weights, random_weights
from sbs.rules.losses import mixed
from torch import Tensor, nn


def make(**changes: Any) -> SbSLayer:
    arguments: dict[str, Any] = {
        "number_of_input_neurons": 2,
        "number_of_neurons": 4,
        "input_size": [8, 7],
        "forward_kernel_size": [3, 2],
        "number_of_spikes": 30,
    }
    return SbSLayer(**(arguments | changes))


IMAGE = torch.rand(3, 2, 8, 7, generator=torch.Generator().manual_seed(0))


def test_alias_and_the_original_order_of_arguments() -> None:
    assert SbS is SbSLayer
    course = torch.ones(30)
    layer = SbS(2, 4, [8, 7], [3, 2], 30, course, 0.2, 0.9, 0.05, False, [2, 1], [1, 2], [1, 1], 0, 2)
    assert layer.output_size == (4, 7)
    assert layer.calculate_output_size([8, 7]) == (4, 7)
    assert (layer.stride, layer.dilation, layer.padding, layer.kernel_size) == (
        (2, 1),
        (1, 2),
        (1, 1),
        (3, 2),
    )
    assert layer.number_of_cpu_processes == 2
    assert layer.epsilon_0 == 0.9
    assert torch.allclose(layer.epsilon_xy, torch.full((4, 7), 0.2))
    assert torch.equal(layer.epsilon_t, course)
    assert layer(IMAGE).shape == (3, 4, 4, 7)


def test_the_misspelt_argument_is_an_alias() -> None:
    assert torch.equal(make(epsilon_xy_intitial=0.3).epsilon_xy, make(epsilon_xy_initial=0.3).epsilon_xy)


def test_defaults_that_failed_in_the_original_work() -> None:
    layer = make(padding=[2, 1])
    assert layer.dilation == (1, 1)
    assert layer(IMAGE).shape == (3, 4, 10, 8)


def test_output_is_a_distribution_in_channels_last_memory() -> None:
    h = make()(IMAGE)
    assert (h.sum(1) - 1).abs().max() < 1e-6
    assert bool((h >= 0).all())
    assert h.is_contiguous(memory_format=torch.channels_last)
    assert make()(IMAGE.double()).dtype == torch.float64


@pytest.mark.parametrize("change", [
    {}, {"epsilon_per_kernel": True}, {"epsilon_t": TimeCourse("power", exponent=0.7)},
    {"epsilon_t": torch.rand(40) + 0.1}, {"weight_form": "softmax"}, {"gradient_scale_updates": 3},
    {"number_of_neurons": 2, "is_pooling_layer": True}, {"eval_number_of_spikes": 7},
], ids=str)  # fmt: skip
def test_state_copies_and_pickles_carry_everything(change: dict[str, Any]) -> None:
    torch.manual_seed(1)
    layer = make(**change)
    layer.h_initial = torch.arange(1, layer.number_of_neurons + 1)
    layer.epsilon_0 = 0.6
    layer(IMAGE, seed=1).pow(2).sum().backward()
    expected = layer(IMAGE, seed=5)
    fresh = make(**{name: value for name, value in change.items() if name != "epsilon_t"})
    fresh.load_state_dict(layer.state_dict())
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), fresh):
        assert torch.equal(other(IMAGE, seed=5), expected)
        assert other.learning.scale == layer.learning.scale
        assert other.eval_number_of_spikes == layer.eval_number_of_spikes
    assert layer.state_dict().keys() == fresh.state_dict().keys()


def test_a_state_of_another_geometry_is_refused() -> None:
    with pytest.raises(RuntimeError, match="geometry"):
        make(strides=[1, 1], input_size=[8, 7]).load_state_dict(
            make(strides=[1, 1], input_size=[9, 8], dilation=[1, 1], padding=[0, 0]).state_dict()
            | {"geometry": torch.tensor([3, 2, 2, 2, 1, 1, 0, 0])},
            strict=True,
        )


def test_a_state_with_epsilon_per_kernel_loads_into_a_plain_layer() -> None:
    source = make(epsilon_per_kernel=True)
    layer = make()
    layer.load_state_dict(source.state_dict())
    assert layer.epsilon_xy.shape == (6, 6, 3, 2)


def test_a_missing_setting_is_reported() -> None:
    state = make().state_dict()
    del state["epsilon_t"]
    with pytest.raises(RuntimeError, match="epsilon_t"):
        make().load_state_dict(state)


def test_mixes_with_other_torch_layers_and_optimisers() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 2, 3),
        nn.ReLU(),
        make(input_size=[6, 5], number_of_spikes=200),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    images, labels = torch.rand(12, 1, 8, 7), torch.arange(12) % 3
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        layer = network[2]
        assert isinstance(layer, SbSLayer)
        layer.constrain_weights(1e-4)
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_eval_mode_may_use_other_spike_numbers() -> None:
    layer = make(eval_number_of_spikes=7, epsilon_t="power")
    assert layer.infer_with_spikes(IMAGE)[1].shape[1] == 30
    layer.eval()
    assert layer.infer_with_spikes(IMAGE)[1].shape[1] == 7
    layer.eval_number_of_spikes = None
    assert len(layer.epsilon_t) == 30


def test_an_empty_batch() -> None:
    for change in ({}, {"engine": "reference"}, {"alpha_number_of_iterations": 2}, {"mode": "expected"}):
        layer = make(**change)
        image = torch.zeros(0, 2, 8, 7, requires_grad=True)
        h = layer(image)
        assert h.shape == (0, 4, 6, 6)
        h.sum().backward()


def test_an_empty_patch_keeps_h_initial_and_gets_no_gradient() -> None:
    image = IMAGE.clone()
    image[0] = 0
    image.requires_grad_()
    for engine in ("kernel", "reference"):
        for layer in (make(engine=engine), sbs_pooling(2, [8, 7], [2, 2], 30, engine=engine)):
            image.grad = None
            h = layer(image)
            assert torch.equal(h[0], layer.h_initial.view(-1, 1, 1).expand(h[0].shape))
            h.pow(2).sum().backward()
            assert image.grad is not None
            assert bool((image.grad[0] == 0).all())
            assert bool(image.grad.isfinite().all())
            assert layer.epsilon_xy.grad is not None
            assert bool(layer.epsilon_xy.grad.isfinite().all())


def test_pooling_approaches_average_pooling_of_the_normalised_input() -> None:
    layer = sbs_pooling(
        3, [4, 4], [2, 2], 20000, epsilon_t=TimeCourse("power", exponent=1.0), epsilon_xy_initial=1.0
    )
    image = torch.rand(1, 3, 4, 4) + 0.05
    mean = nn.functional.avg_pool2d(image, 2)
    assert (layer(image, seed=1) - mean / mean.sum(1, keepdim=True)).abs().max() < 0.02
    assert layer.weights.requires_grad is False
    with pytest.raises(ValueError, match="pooling layer needs as many"):
        make(is_pooling_layer=True)


def test_a_pooling_layer_with_other_weights_uses_them() -> None:
    layer = sbs_pooling(2, [8, 7], [2, 2], 50)
    layer.weights = torch.rand(8, 2) + 0.1
    plain = SbSLayer(2, 2, [8, 7], [2, 2], 50, strides=[2, 2])
    plain.weights = layer.weights
    assert (layer(IMAGE, seed=1) - plain(IMAGE, seed=1)).abs().max() < 1e-5


def test_expected_mode_is_deterministic_and_differentiable() -> None:
    layer = make(mode="expected", epsilon_t="power")
    first = layer(IMAGE)
    assert torch.equal(layer(IMAGE), first)
    first.pow(2).sum().backward()
    assert layer.weights.grad is not None
    with pytest.raises(ValueError, match="expected"):
        layer.infer_with_spikes(IMAGE)


@pytest.mark.parametrize("per_kernel", [False, True])
def test_expectation_holds_the_patches_of_a_few_samples_at_a_time(
    per_kernel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = make(mode="expected", epsilon_per_kernel=per_kernel)
    image = IMAGE.repeat(2, 1, 1, 1)[:5]
    whole, held = layer(image), []
    expected = reference.expected

    def seen(patches: Tensor, *rest: Any) -> Tensor:
        held.append(patches.numel())
        return expected(patches, *rest)

    monkeypatch.setattr(reference, "expected", seen)
    layer(image)
    sample = held.pop() // 5
    monkeypatch.setattr(kernel, "AT_ONCE", 2 * sample)
    torch.testing.assert_close(layer(image), whole, rtol=1e-5, atol=1e-7)
    assert held == [2 * sample, 2 * sample, sample]


def test_expected_mode_by_hand() -> None:
    for per_kernel in (False, True):
        layer = make(
            mode="expected", number_of_spikes=1, epsilon_per_kernel=per_kernel, forgetting_offset=0.2
        )
        layer.h_initial = torch.tensor([1.0, 2.0, 3.0, 4.0])
        x = layer.geometry.patches(IMAGE)[0] / layer.geometry.patches(IMAGE)[0].sum()
        epsilon = torch.rand(12) + 0.1 if per_kernel else torch.full((12,), 0.1)
        if per_kernel:
            epsilon = epsilon[:6].repeat(2)
            layer.epsilon_xy = epsilon[:6].view(1, 1, 3, 2).expand(6, 6, 3, 2)
        wanted = torch.zeros(4)
        for i in range(12):
            q = layer.h_initial * layer.weights[i].detach()
            e = epsilon[i]
            wanted += x[i] * (layer.h_initial + e * (q / q.sum() + 0.2 / 4)) / (1 + e * 1.2)
        assert torch.allclose(layer(IMAGE)[0, :, 0, 0], wanted, atol=1e-6)


def test_alpha_iterations_sum_to_one_over_the_image() -> None:
    h = make(alpha_number_of_iterations=3)(IMAGE)
    assert torch.allclose(h.sum((1, 2, 3)), torch.ones(3), atol=1e-5)


def test_the_missing_kernel_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from sbs.engines import kernel

    expected = make()(IMAGE, seed=4)
    monkeypatch.setattr(kernel, "_kernel", None)
    kernel._warn.cache_clear()
    torch.manual_seed(0)
    layer = make()
    with pytest.warns(RuntimeWarning, match="compiled kernel is missing") as warned:
        h = [layer(IMAGE, seed=4) for _ in range(2)]
    assert len(warned) == 1
    assert h[1].shape == expected.shape
    with pytest.raises(ValueError, match="compiled kernel is missing"):
        make(engine="kernel")(IMAGE)


def test_kernel_and_reference_give_the_same_layer() -> None:
    torch.manual_seed(0)
    layer = make(strides=2, padding=1, number_of_spikes=100)
    expected = layer(IMAGE, seed=9)
    layer.engine = "reference"
    assert (layer(IMAGE, seed=9) - expected).abs().max() < 5e-7


def test_backup_restore_threshold_mean() -> None:
    layer = make()
    with pytest.raises(ValueError, match="backup_weights"):
        layer.restore_weights()
    weights, epsilon = layer.weights.detach().clone(), layer.epsilon_xy.detach().clone()
    layer.backup_weights()
    layer.backup_epsilon_xy()
    layer.initialize_weights(noise_amplitude=3.0)
    layer.epsilon_xy = torch.rand(6, 6) + 0.01
    mean = layer.epsilon_xy.detach().mean()
    layer.threshold_weights(0.1)
    assert float(layer.weights.detach().min()) >= 0.1
    layer.norm_weights()
    assert torch.allclose(layer.weights.sum(0), torch.ones(4))
    layer.mean_epsilon_xy()
    assert torch.allclose(layer.epsilon_xy, mean.expand(6, 6))
    layer.threshold_epsilon_xy(2.0)
    assert float(layer.epsilon_xy.detach().min()) == 2.0
    layer.restore_weights()
    layer.restore_epsilon_xy()
    assert torch.equal(layer.weights, weights)
    assert torch.equal(layer.epsilon_xy, epsilon)


def test_random_weights_lie_within_the_noise_of_uniform_ones() -> None:
    assert torch.equal(random_weights(5, 3, 0.0), torch.full((5, 3), 0.2))
    for amplitude in (0.01, 2.0):
        columns = random_weights(400, 3, amplitude)
        spread = columns.max(0).values / columns.min(0).values
        assert bool((spread < 1 + amplitude).all())
        assert bool((spread > 1 + 0.9 * amplitude).all())


@pytest.mark.parametrize("kernel", [[3, 2], [2, 2], [5, 4]])
def test_another_kernel_starts_parameters_of_another_shape_again(kernel: Any) -> None:
    layer = make()
    layer.epsilon_xy = torch.arange(1.0, 37.0).reshape(6, 6)
    layer.kernel_size = kernel
    size = (9 - kernel[0], 8 - kernel[1])
    assert layer.output_size == size == tuple(layer.epsilon_xy.shape)
    kept = torch.arange(1.0, 37.0).reshape(6, 6) if size == (6, 6) else torch.full(size, 18.5)
    assert torch.equal(layer.epsilon_xy.detach(), kept)
    assert layer(IMAGE).shape == (3, 4, *size)


def test_what_an_inference_costs_by_hand() -> None:
    """30 spikes at 6 x 6 places reach 4 neurons each; 20 at 1 x 3 places reach one; then the average of 1 x 3."""
    pool = sbs_pooling(4, [6, 6], [4, 2], number_of_spikes=20)
    cost = inference_cost(nn.Sequential(make(), pool, nn.AvgPool2d((1, 3))), (2, 8, 7))
    events = 36 * 30 * 4 + 3 * 20
    assert cost == InferenceCost(12 * 4, 2 * events + 4 * 3, float(events))
    cost = inference_cost(nn.Sequential(make(), nn.AvgPool2d((3, 2))), (2, 8, 7))  # 6 x 6 become 2 x 3
    events = 36 * 30 * 4
    assert cost == InferenceCost(12 * 4, 2 * events + 4 * (2 * 3) * (3 * 2), float(events))


def test_the_weights_setter_normalises() -> None:
    layer = make()
    layer.weights = torch.rand(12, 4).double() * 7
    assert torch.allclose(layer.weights.sum(0), torch.ones(4))
    assert layer.weights.dtype == torch.float32


BAD_ARGUMENTS = [
    ({"number_of_spikes": 0}, "number_of_spikes"),
    ({"number_of_spikes": -3}, "number_of_spikes"),
    ({"number_of_spikes": 1.5}, "number_of_spikes"),
    ({"number_of_neurons": 0}, "number_of_neurons"),
    ({"epsilon_xy_initial": 0.0}, "epsilon_xy_initial"),
    ({"epsilon_xy_initial": -0.1}, "epsilon_xy_initial"),
    ({"epsilon_xy_intitial": 0}, "epsilon_xy_initial"),
    ({"epsilon_0": 0}, "epsilon_0"),
    ({"epsilon_0": float("nan")}, "epsilon_0"),
    ({"epsilon_t": torch.ones(29)}, "epsilon_t has 29 values for 30 spikes"),
    ({"epsilon_t": torch.zeros(30)}, "epsilon_t"),
    ({"epsilon_t": torch.ones(30, 2)}, "epsilon_t"),
    ({"epsilon_t": "sometimes"}, "epsilon_t"),
    ({"weight_noise_amplitude": -1}, "weight_noise_amplitude"),
    ({"strides": [0, 1]}, "strides"),
    ({"dilation": [0, 0]}, "dilation"),
    ({"padding": [-1, 0]}, "padding"),
    ({"forward_kernel_size": [9, 9]}, "too small for kernel"),
    ({"forward_kernel_size": [3]}, "forward_kernel_size"),
    ({"alpha_number_of_iterations": -1}, "alpha_number_of_iterations"),
    ({"number_of_cpu_processes": 0}, "number_of_cpu_processes"),
    ({"mode": "both"}, "mode"),
    ({"gradient": "v3"}, "gradient"),
    ({"engine": "gpu"}, "engine"),
    ({"weight_form": "free"}, "weight_form"),
    ({"eval_number_of_spikes": 0}, "eval_number_of_spikes"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ARGUMENTS, ids=str)
def test_bad_arguments_name_themselves(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(**change)


BAD_IMAGES = [
    (IMAGE[0], "shape"),
    (IMAGE[:, :1], "shape"),
    (IMAGE[..., :-1], "shape"),
    (IMAGE.int(), "dtype"),
    (IMAGE.half(), "dtype"),
    (IMAGE.to("meta"), "is on meta"),
    (IMAGE.numpy(), "torch tensor"),
    (-IMAGE, "negative"),
    (IMAGE * float("nan"), "NaN"),
    (IMAGE / 0, "infinite"),
    (IMAGE.double() * 1e300, "infinite"),
]


@pytest.mark.parametrize(("image", "message"), BAD_IMAGES, ids=[message for _, message in BAD_IMAGES])
def test_bad_inputs_name_themselves(image: Any, message: str) -> None:
    for engine in ("kernel", "reference"):
        with pytest.raises(ValueError, match=message):
            make(engine=engine)(image)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", torch.zeros(12, 4), "column 0 sums to 0"),
        ("weights", torch.ones(12, 5), "shape"),
        ("weights", -torch.ones(12, 4), "negative"),
        ("weights", torch.full((12, 4), float("nan")), "NaN"),
        ("weights", "none", "weights"),
        ("epsilon_xy", torch.zeros(6, 6), "greater than 0"),
        ("epsilon_xy", torch.ones(6), "shape"),
        ("h_initial", torch.zeros(4), "sums to 0"),
        ("h_initial", torch.ones(3), "shape"),
        ("number_of_spikes", "many", "number_of_spikes"),
    ],
)
def test_bad_settings_name_themselves(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        setattr(make(), name, value)


def test_more_spikes_than_given_epsilon_t_is_an_error() -> None:
    layer = make(epsilon_t=torch.ones(30))
    layer.number_of_spikes = 31
    with pytest.raises(ValueError, match="number_of_spikes is 31"):
        layer(IMAGE)


def test_tensors_count_as_numbers() -> None:
    layer = make(number_of_spikes=torch.tensor(12), epsilon_0=torch.tensor(0.5), strides=torch.tensor([2, 2]))
    assert (layer.number_of_spikes, layer.epsilon_0, layer.stride) == (12, 0.5, (2, 2))


def test_moving_to_float64_keeps_working() -> None:
    layer = make().double()
    assert layer(IMAGE.double()).dtype == torch.float64


def defaults(callable_: Any) -> dict[str, Any]:
    """Arguments that have a default other than None."""
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (inspect.Parameter.empty, None)}


def test_defaults_are_the_originals_or_the_documented_ones() -> None:
    assert defaults(TimeCourse) == {"kind": "constant", "after": -1, "reduction": 25.0, "exponent": 0.5}
    assert defaults(mixed) == {"form": "v1", "mse_weight": 0.5, "kl_weight": 1.0}
    assert defaults(constrained) == {"order": "clamp-first"}
    assert defaults(SbSLayer) == {
        "epsilon_t": "constant", "epsilon_xy_initial": 0.1, "epsilon_0": 1.0, "weight_noise_amplitude": 0.01,
        "is_pooling_layer": False, "strides": (1, 1), "dilation": (1, 1), "padding": (0, 0),
        "alpha_number_of_iterations": 0, "number_of_cpu_processes": 1, "epsilon_per_kernel": False,
        "forgetting_offset": 0.0, "mode": "spikes", "gradient": "v1", "local_learning": False,
        "gradient_scale_updates": 0, "weight_form": "constrained", "engine": "auto",
    }  # fmt: skip


def test_a_pooling_layer_may_have_more_channels_than_small_numbers_python_shares() -> None:
    layer = SbSLayer(300, int("300"), (4, 4), (2, 2), 3, is_pooling_layer=True, strides=(2, 2))
    layer.stride = (1, 1)
    assert layer.output_size == (3, 3)
    assert layer.epsilon_xy.shape == (3, 3)
    layer.initialize_weights(True)
    with pytest.raises(ValueError, match="number_of_neurons 299; a pooling layer needs equal numbers"):
        layer.number_of_neurons = 299


def test_the_step_that_is_too_large_is_the_product() -> None:
    layer = make(epsilon_0=1e3, epsilon_xy_initial=1e10)
    layer(IMAGE, seed=1)
    layer.epsilon_0 = 2e6
    with pytest.raises(ValueError, match=r"epsilon_0 \* epsilon_xy \* epsilon_t reaches 2e\+16"):
        layer(IMAGE, seed=1)
    layer.epsilon_0, layer.epsilon_xy = 1e-6, torch.full((6, 6), 1e17)
    layer(IMAGE, seed=1)


def test_loading_keeps_the_parameter_that_an_optimiser_holds() -> None:
    saved, here = make(epsilon_per_kernel=True), make(epsilon_per_kernel=True)
    before = dict(here.named_parameters())
    here.load_state_dict(saved.state_dict())
    assert all(parameter is before[name] for name, parameter in here.named_parameters())


def test_pooling_stages_of_a_network_keep_its_channels() -> None:
    stages = (
        LayerConfig("sbs", 5, (2, 2)),
        LayerConfig("sbs-pool", 0, (2, 2), (2, 2)),
        LayerConfig("average-pool", 0, (2, 2), (2, 2)),
        LayerConfig("sbs", 3, (1, 1)),
    )
    config = NetworkConfig(layers=stages, number_of_spikes=4)
    network = build_network(config, channels=2, size=(5, 5), classes=3, seed=0)
    assert [layer.number_of_input_neurons for layer in sbs_layers(network)] == [2, 5, 5]
    assert network(torch.rand(1, 2, 5, 5)).shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    ("channels", "kernel", "message"), [(0, (1, 1), "channels is 0"), (1, (0, 1), r"kernel\[0\] is 0")]
)
def test_pooling_weights_of_nothing_are_refused(channels: int, kernel: tuple[int, int], message: str) -> None:
    assert pooling_weights(1, (1, 1)).tolist() == [[1.0]]
    with pytest.raises(ValueError, match=message):
        pooling_weights(channels, kernel)


@pytest.mark.parametrize("components", [5, 6])
@pytest.mark.parametrize("rule", ["upper", "lower"])
def test_a_number_at_the_very_end_is_the_last_component(components: int, rule: Any) -> None:
    cdf = torch.linspace(0.1, 1.0, components)[None]
    assert spikes_from_uniforms(cdf, torch.tensor([[0.0, 1.0, 2.0]]), rule).tolist() == [
        [0, components - 1, components - 1]
    ]
    assert spikes_from_uniforms(cdf * torch.nan, torch.tensor([[0.5]]), rule).tolist() == [[-1]]
