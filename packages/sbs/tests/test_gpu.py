"""On a GPU: the Triton kernels against the CPU's engines. `test_gpu_kernels.py` interprets the same anywhere."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from gpu_cases import CASES, LEARNING, SPIKES, call_of, layer_of, learn, on_cpu, on_gpu, train
from reprokit import UserError
from sbs import evaluate, load_dataset, preset
from sbs import train as train_run
from sbs.engines.agreement import count_draws

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]


@pytest.mark.parametrize("name", CASES)
def test_spikes_are_the_cores_and_h_within_rounding(name: str) -> None:
    layer, image = layer_of(name)
    call = call_of(layer, keep_spikes=True)
    h, spikes = on_cpu(layer, image, call)
    found, drawn = on_gpu(layer, image, call, "cuda")
    assert torch.equal(drawn, spikes)
    assert float((found - h).abs().max()) < 5e-7
    assert torch.equal(on_gpu(layer, image, replace(call, keep_spikes=False), "cuda")[0], found)


@pytest.mark.parametrize("rule", ["upper", "lower"])
def test_given_numbers_and_given_spikes(rule: Any) -> None:
    layer, image = layer_of("plain")
    numbers = torch.rand(2, SPIKES, 2, 2, generator=torch.Generator().manual_seed(0))
    call = call_of(layer, uniform=numbers, rule=rule, keep_spikes=True)
    spikes = on_cpu(layer, image, call)[1]
    assert torch.equal(on_gpu(layer, image, call, "cuda")[1], spikes)
    cut = spikes.clone()
    cut[1, 40] = -1
    call = call_of(layer, spikes=cut, keep_spikes=True)
    (h, spikes), (found, drawn) = on_cpu(layer, image, call), on_gpu(layer, image, call, "cuda")
    assert torch.equal(drawn, spikes)
    assert float((found - h).abs().max()) < 5e-7


def test_a_million_draws_are_the_cores_but_for_those_at_an_edge() -> None:
    found = count_draws("cuda")
    assert found.unexplained == 0
    assert found.different <= found.near <= 20


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("tf32", [False, True])
def test_outputs_and_gradients_of_a_layer(name: str, tf32: bool) -> None:
    """Whatever PyTorch's setting for TF32; attention and expectations are PyTorch's own products."""
    if tf32 and name in ("attention", "expected"):
        pytest.skip("computed by PyTorch's products")
    wanted = learn(name, "cpu")
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    try:
        found, again = learn(name, "cuda"), learn(name, "cuda")
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=0, atol=1e-5 * float(value.abs().max()))
        assert torch.equal(again[key], found[key]), key


def test_a_network_learns_the_same() -> None:
    for value, wanted in zip(train("cuda"), train("cpu"), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-4)


def test_the_second_gpu() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    assert torch.equal(train("cuda:1")[0], train("cuda:0")[0])


def test_bad_input_is_refused() -> None:
    layer, image = layer_of("plain")
    image[1, 1, 2, 2] = float("nan")
    with pytest.raises(UserError, match="missing"):
        layer.to("cuda")(image.to("cuda"))


def test_a_run_trains_and_resumes(tmp_path: Any) -> None:
    config = preset("digits-smoke")
    config = replace(config, test_every=4, checkpoint_every=2, learning=replace(config.learning, updates=4))
    model = train_run(config, tmp_path / "run", device="cuda:0")
    result = evaluate(model.network, model.presentation, load_dataset("digits", limit_test=50).test)
    assert result.total == 50
    assert next(model.network.parameters()).device.type == "cuda"
