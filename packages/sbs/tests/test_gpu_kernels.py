"""The GPU's kernels, run by Triton's interpreter, against the CPU's engines; `test_gpu.py` runs them on a GPU."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from interpreted import interpreter, needs_triton
from reprokit import UserError
from sbs.engines import kernel

slow = pytest.mark.slow
CASES = [
    "plain", "odd geometry", "many neurons", "many components", "epsilon per kernel", "forgetting", "pooling",
    "pooling, epsilon per kernel",
]  # fmt: skip
LEARNING = [
    "v1", "v2", "epsilon per kernel", "pooling", "pooling, epsilon per kernel", "attention", "local",
    "local with a target", "expected",
]  # fmt: skip


QUICK = (
    "odd geometry",
    "v1",
    "expected",
)  # the interpreter takes a tenth of a millisecond for each operation


@pytest.fixture(scope="module")
def cases() -> Iterator[Any]:
    """The cases, while the kernels are interpreted: their programs take more positions, for each costs much here."""
    needs_triton()
    with interpreter(), pytest.MonkeyPatch.context() as patch:
        import gpu_cases as module
        from sbs.engines import gpu

        patch.setattr(module, "gpu", gpu)
        patch.setattr(gpu, "WARP", 8192)
        patch.setattr(gpu, "COUNTERS", 32)
        yield module


@pytest.fixture
def layers_use_them(cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "on_gpu", lambda *_: True)


def test_the_cases_are_all_there(cases: Any) -> None:
    assert list(cases.CASES) == CASES
    assert list(cases.LEARNING) == LEARNING


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=slow) for name in CASES]
)
def test_spikes_are_the_cores_and_h_within_rounding(cases: Any, name: str) -> None:
    layer, image = cases.layer_of(name)
    call = cases.call_of(layer, keep_spikes=True)
    h, spikes = cases.on_cpu(layer, image, call)
    found, drawn = cases.on_gpu(layer, image, call, "cpu")
    assert torch.equal(drawn, spikes)
    assert float((found - h).abs().max()) < 5e-7
    empty = (spikes < 0).all(1)
    assert bool(empty.any())
    assert torch.equal(found[empty], layer.h_initial.expand(int(empty.sum()), -1))


@slow
@pytest.mark.parametrize("name", ["plain", "pooling"])
def test_kept_spikes_change_no_bit(cases: Any, name: str) -> None:
    layer, image = cases.layer_of(name)
    call = cases.call_of(layer, keep_spikes=True)
    unkept, none = cases.on_gpu(layer, image, replace(call, keep_spikes=False), "cpu")
    assert none is None
    assert torch.equal(unkept, cases.on_gpu(layer, image, call, "cpu")[0])


@slow
@pytest.mark.parametrize("rule", ["upper", "lower"])
def test_given_numbers_and_given_spikes(cases: Any, rule: Any) -> None:
    layer, image = cases.layer_of("plain")
    numbers = torch.rand(2, cases.SPIKES, 2, 2, generator=torch.Generator().manual_seed(0))
    numbers[1, :2] = torch.tensor([0.0, float("nan")]).view(2, 1, 1)
    call = cases.call_of(layer, uniform=numbers, rule=rule, keep_spikes=True)
    h, spikes = cases.on_cpu(layer, image, call)
    found, drawn = cases.on_gpu(layer, image, call, "cpu")
    assert torch.equal(drawn, spikes)
    cut = spikes.clone()
    cut[1, 40] = -1
    call = cases.call_of(layer, spikes=cut, keep_spikes=True)
    (h, spikes), (found, drawn) = cases.on_cpu(layer, image, call), cases.on_gpu(layer, image, call, "cpu")
    assert torch.equal(drawn, spikes)
    assert float((found - h).abs().max()) < 5e-7


@slow
def test_long_steps_do_not_overflow_and_chunks_change_no_bit(
    cases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sbs.engines import gpu

    for name in ("plain", "pooling"):
        layer, image = cases.layer_of(name)
        layer.epsilon_xy = torch.full(layer.output_size, 3.0)
        call = cases.call_of(layer, epsilon_t=torch.ones(cases.SPIKES), first_position=0)
        h, found = cases.on_cpu(layer, image, call)[0], cases.on_gpu(layer, image, call, "cpu")[0]
        assert float((found - h).abs().max()) < 5e-7
        monkeypatch.setattr(gpu, "SCRATCH", 3 * (layer.number_of_components + cases.SPIKES))
        assert torch.equal(cases.on_gpu(layer, image, call, "cpu")[0], found)
        monkeypatch.undo()


@pytest.mark.parametrize(
    "bad", [float("nan"), *(pytest.param(bad, marks=slow) for bad in (-1.0, float("inf"), 3e38))]
)
def test_a_bad_value_anywhere_is_found(cases: Any, bad: float) -> None:
    layer, image = cases.layer_of("plain")
    image[1, 1, 1:3, 2] = bad
    for infer in (cases.on_cpu, lambda *given: cases.on_gpu(*given, "cpu")):
        with pytest.raises(UserError, match="negative, infinite or missing"):
            infer(layer, image, cases.call_of(layer, epsilon_t=layer.epsilon_t[:2]))


def test_a_million_draws_are_the_cores_but_for_those_at_an_edge(
    cases: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sbs.engines import gpu
    from sbs.engines.agreement import count_draws

    monkeypatch.setattr(gpu, "COUNTERS", 16384)
    found = count_draws("cpu")
    assert found.draws == 1_000_000
    assert found.unexplained == 0
    assert found.different <= found.near <= 20


@pytest.mark.usefixtures("layers_use_them")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=slow) for name in LEARNING]
)
def test_outputs_and_gradients_of_a_layer(cases: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cases.learn(name, "cpu")
    monkeypatch.undo()
    wanted = cases.learn(name, "cpu")
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        near = 1e-5 * float(value.abs().max())
        torch.testing.assert_close(
            found[key], value, rtol=0, atol=near, msg=lambda text, key=key: f"{key}: {text}"
        )


@slow
@pytest.mark.usefixtures("layers_use_them")
def test_the_default_dtype_changes_no_bit(cases: Any) -> None:
    layer, image = cases.layer_of("many components", number_of_spikes=5)

    def learned() -> list[torch.Tensor]:
        layer.zero_grad()
        h = layer(image, seed=1)
        h.pow(2).sum().backward()
        return [h.detach(), layer._weights.grad, layer._epsilon_xy.grad]

    wanted = learned()
    torch.set_default_dtype(torch.float64)
    try:
        found = learned()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


@slow
@pytest.mark.usefixtures("layers_use_them")
def test_parts_of_a_batch_and_spans_of_positions_add_up(cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sbs.rules import backward_gpu

    whole = cases.learn("v2", "cpu")
    for name, value in (
        ("SCRATCH", 1),
        ("SPAN", 3),
        ("POSITIONS", 1),
    ):  # one sample, spans of three positions
        monkeypatch.setattr(backward_gpu, name, value)
    parts = cases.learn("v2", "cpu")
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=0, atol=1e-5 * float(value.abs().max()))


@slow
@pytest.mark.usefixtures("layers_use_them")
def test_a_network_learns_the_same(cases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = cases.train("cpu")
    monkeypatch.undo()
    for value, wanted in zip(found, cases.train("cpu"), strict=True):
        torch.testing.assert_close(value, wanted, rtol=0, atol=1e-5)
