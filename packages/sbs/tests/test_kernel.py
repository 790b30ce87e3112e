"""The compiled kernel: equal to the reference, and the same bits for any threads, instructions and batch split."""

import threading
from dataclasses import replace
from typing import Any

import pytest
import torch
from reprokit import UserError
from sbs import SbSLayer
from sbs.engines import kernel
from sbs.engines.geometry import Geometry
from sbs.engines.kernel import Call
from sbs.engines.reference import uniforms
from torch import Tensor

SHAPES = [  # channels, neurons, size, kernel, pooling
    (2, 32, 9, 5, False),
    (3, 10, 6, 3, False),
    (5, 16, 5, 2, False),
    (20, 48, 6, 3, False),
    (40, 64, 6, 5, False),
    (3, 100, 5, 2, False),
    (4, 300, 4, 3, False),
    (1, 3, 4, 1, False),
    (32, 32, 6, 2, True),
    (70, 70, 4, 2, True),
    (300, 7, 1, 1, False),
]


def problem(
    shape: tuple[int, int, int, int, bool], spikes: int = 150, **options: Any
) -> tuple[Tensor, SbSLayer, Call]:
    channels, neurons, size, width, pooling = shape
    torch.manual_seed(sum(shape))
    layer = SbSLayer(
        channels, neurons, (size, size), width, spikes, "power", 0.4, weight_noise_amplitude=2.0,
        is_pooling_layer=pooling, strides=width if pooling else 1,
    )  # fmt: skip
    image = torch.rand(7, channels, size, size) ** 3
    image[0, :, :width, :width] = 0  # an empty patch
    call = Call(
        layer.geometry,
        layer.epsilon_t,
        0.9,
        layer.h_initial,
        seed=2**63 + 12345,
        one_hot=pooling,
        first_position=2**32 - 5,
    )
    return image, layer, replace(call, **options)


def infer(image: Tensor, layer: SbSLayer, call: Call) -> tuple[Tensor, Tensor | None]:
    return kernel.infer(image, layer.weights.detach(), layer.epsilon_xy.detach(), call)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("forgetting", [0.0, 0.2])
def test_the_kernel_agrees_with_the_reference(
    shape: tuple[int, int, int, int, bool], forgetting: float
) -> None:
    image, layer, call = problem(shape, keep_spikes=True, forgetting_offset=forgetting)
    h, spikes = infer(image, layer, call)
    h_reference, spikes_reference = infer(image, layer, replace(call, engine="reference"))
    assert spikes is not None
    assert spikes_reference is not None
    assert torch.equal(spikes, spikes_reference)
    assert (h - h_reference).abs().max() < 5e-7
    assert (h.sum(-1) - 1).abs().max() < 1e-6
    assert bool((spikes[0, :, 0, 0] == -1).all())
    assert torch.equal(h[0, 0, 0], layer.h_initial)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_bits_for_any_instructions_threads_and_kept_spikes(
    shape: tuple[int, int, int, int, bool],
) -> None:
    image, layer, call = problem(shape)
    h, _ = infer(image, layer, call)
    for isa in kernel.all_instructions():
        for threads in (1, 2, 3, 8):
            assert torch.equal(infer(image, layer, replace(call, isa=isa, threads=threads))[0], h), (
                isa,
                threads,
            )
        assert torch.equal(infer(image, layer, replace(call, isa=isa, keep_spikes=True))[0], h), isa


@pytest.mark.parametrize(
    "components", [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 63, 64, 65, 128, 129, 1023, 1024, 1025, 2048, 2049]
)
def test_every_search_finds_the_spikes_of_the_reference(components: int) -> None:
    """Each instruction set searches in its own way, which changes with the number of components."""
    generator = torch.Generator().manual_seed(components)
    image = torch.rand(2, components, 1, 1, generator=generator) ** 3
    image[1, : components // 2] = 0  # half of the components have no spikes
    image[1, -1] = 1
    call = Call(Geometry((1, 1)), torch.ones(500), 1.0, torch.ones(1), seed=components, keep_spikes=True)
    weights, epsilon = torch.ones(components, 1), torch.ones(1, 1)
    wanted = kernel.infer(image, weights, epsilon, replace(call, engine="reference"))[1]
    for isa in kernel.all_instructions():
        found = kernel.infer(image, weights, epsilon, replace(call, isa=isa))[1]
        assert found is not None
        assert wanted is not None
        assert torch.equal(found, wanted), isa


@pytest.mark.parametrize("split", [1, 3, 5])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[5], SHAPES[8]], ids=str)
def test_parts_of_a_batch_give_the_same_bits(shape: tuple[int, int, int, int, bool], split: int) -> None:
    image, layer, _ = problem(shape)
    whole = layer(image, seed=99)
    parts = [
        layer(image[first : first + split], seed=99, first_sample=first)
        for first in range(0, len(image), split)
    ]
    assert torch.equal(torch.cat(parts), whole)


def test_repeated_and_concurrent_calls_give_the_same_bits() -> None:
    image, layer, call = problem(SHAPES[0], spikes=400, threads=2)
    expected, _ = infer(image, layer, call)
    results: list[Tensor] = []
    workers = [
        threading.Thread(target=lambda: results.append(infer(image, layer, call)[0])) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 4
    assert all(torch.equal(result, expected) for result in results)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_memory_layout_does_not_matter(layout: torch.memory_format) -> None:
    image, layer, call = problem(SHAPES[3])
    expected, _ = infer(image, layer, call)
    assert torch.equal(infer(image.contiguous(memory_format=layout), layer, call)[0], expected)
    wide = torch.zeros(7, 40, 6, 12)
    wide[:, ::2, :, ::2] = image
    assert torch.equal(infer(wide[:, ::2, :, ::2], layer, call)[0], expected)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
@pytest.mark.parametrize("dilation", [(1, 1), (2, 1)])
@pytest.mark.parametrize("padding", [(0, 0), (3, 1)])
def test_patches_are_those_of_unfold(
    stride: tuple[int, int], dilation: tuple[int, int], padding: tuple[int, int]
) -> None:
    layer = SbSLayer(3, 4, (9, 8), (3, 2), 20, strides=stride, dilation=dilation, padding=padding)
    image = torch.rand(2, 3, 9, 8)
    ours = kernel.patches(image, layer.geometry, "auto", 2)
    assert torch.equal(ours, layer.geometry.patches(image))
    columns, lines = layer.output_size
    assert len(ours) == 2 * columns * lines
    assert layer(image).shape == (2, 4, columns, lines)


def test_epsilon_per_kernel_element() -> None:
    image, layer, call = problem(SHAPES[3], keep_spikes=True)
    layer.epsilon_xy = torch.rand(*layer.output_size, 3, 3) + 0.05
    h, _ = infer(image, layer, call)
    other, _ = infer(image, layer, replace(call, engine="reference"))
    assert (h - other).abs().max() < 5e-7
    layer.epsilon_xy = torch.full((*layer.output_size, 3, 3), 0.4)
    plain = problem(SHAPES[3])[1]
    assert torch.equal(infer(image, layer, call)[0], infer(image, plain, call)[0])


def test_a_negative_given_spike_ends_the_train() -> None:
    for shape in (SHAPES[0], SHAPES[8]):
        image, layer, call = problem(shape, keep_spikes=True)
        _, spikes = infer(image, layer, call)
        assert spikes is not None
        cut = spikes.clone()
        cut[:, 70] = -1
        short = replace(call, epsilon_t=call.epsilon_t[:70], spikes=spikes[:, :70].contiguous())
        expected, _ = infer(image, layer, short)
        assert torch.equal(infer(image, layer, replace(call, spikes=cut, keep_spikes=False))[0], expected)


def test_long_trains_do_not_overflow() -> None:
    image, layer, call = problem(SHAPES[0], spikes=3000)
    layer.epsilon_xy = torch.full(layer.output_size, 3.0)
    long = replace(call, epsilon_t=torch.ones(3000))
    h, _ = infer(image, layer, long)
    assert bool(h.isfinite().all())
    assert (h.sum(-1) - 1).abs().max() < 1e-6


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_a_bad_value_anywhere_is_found(bad: float) -> None:
    image, layer, call = problem(SHAPES[0])
    image[3, 1, 4, 4] = bad
    for engine in ("kernel", "reference"):
        with pytest.raises(ValueError, match="negative, infinite or missing"):
            infer(image, layer, replace(call, engine=engine))


def test_uniforms_are_counted_not_sequential() -> None:
    whole = uniforms(7, 10, 200)
    assert torch.equal(uniforms(7, 4, 200, first_position=6), whole[6:])
    assert torch.equal(uniforms(7, 10, 65), whole[:, :65])
    assert not torch.equal(uniforms(8, 10, 200), whole)
    assert float(whole.min()) >= 0
    assert float(whole.max()) < 1
    assert torch.equal(whole * 2**24, (whole * 2**24).floor())


def test_instructions_are_the_best_or_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def named(isa: str) -> str:
        monkeypatch.setenv("REPROKIT_ISA", isa)
        kernel.kernel_instructions.cache_clear()
        return kernel.kernel_instructions()

    monkeypatch.delenv("REPROKIT_ISA", raising=False)
    kernel.kernel_instructions.cache_clear()
    try:
        assert kernel.kernel_instructions() == named("") == kernel.all_instructions()[0]
        assert [named(isa) for isa in kernel.all_instructions()] == kernel.all_instructions()
        with pytest.raises(UserError, match=r"REPROKIT_ISA is 'sse9'; .* have .*: choose one of them"):
            named("sse9")
        with pytest.raises(UserError, match="REPROKIT_ISA is 'sse9'"):
            kernel.use_kernel("auto", torch.device("cpu"))
    finally:
        kernel.kernel_instructions.cache_clear()


def test_philox_known_answers() -> None:
    """Vectors of the generator's authors (Random123, kat_vectors, philox4x32-10)."""
    from sbs.engines.reference import philox

    def run(counter: tuple[int, int, int, int], key: int) -> list[int]:
        c0, c1, c2, c3 = (torch.tensor([word]) for word in counter)
        return [int(word) for word in philox(c0, c1, c2, c3, key)]

    assert run((0, 0, 0, 0), 0) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    ones = 0xFFFFFFFF
    assert run((ones, ones, ones, ones), 2**64 - 1) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
    assert run(pi, 0x299F31D0 << 32 | 0xA4093822) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]
