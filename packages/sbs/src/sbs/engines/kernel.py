"""The choice of the engine: compiled code, or `sbs.engines.reference` where there is none.

Tensors on the CPU go to the C++ core, those on a CUDA or ROCm device to the Triton kernels of `sbs.engines.gpu`.
Without these (a build without a compiler, no Triton, another device) the reference runs and says so once.
"""

import functools
import os
import warnings
from typing import Any

import numpy as np
import torch
from reprokit import UserError
from reprokit.errors import ask_core
from torch import Tensor

from sbs.config import Engine
from sbs.engines import reference
from sbs.engines.call import Call, Isa, bad_input
from sbs.engines.geometry import Geometry

try:
    from sbs import _kernel
except ImportError:
    _kernel = None

AT_ONCE = 1 << 14  # entries of the patches that are iterated together in expectation
AT_ONCE_ELSEWHERE = 1 << 24  # the same on a GPU, which a few samples would not fill

if hasattr(os, "register_at_fork"):
    # The kernel's threads end with each call, but torch's own pool is lost in a forked child, whose next
    # parallel operation would wait forever. So a child uses one thread, as the workers of torch's DataLoader do.
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))


def kernel_available() -> bool:
    """Return whether the compiled kernel was built."""
    return _kernel is not None


@functools.cache
def kernel_instructions() -> str:
    """Return the vector instructions of the kernel: "avx512", "avx2", "neon", "portable"; "none" without it.

    They are the best of this processor, or those that the environment variable ``REPROKIT_ISA`` names.

    Raises:
        UserError: The variable names instructions that this processor or build does not have.
    """
    return "none" if _kernel is None else ask_core(_kernel.isa)


def has_instructions(isa: str) -> bool:
    """Return whether the kernel exists and this processor has ``isa``."""
    return _kernel is not None and _kernel.has_isa(isa)


def all_instructions() -> list[Isa]:
    """Return the instruction sets the kernel can use here, best first."""
    return [] if _kernel is None else list(_kernel.all_isa())


def use_kernel(engine: Engine, device: torch.device, shape: tuple[int, ...] = (1, 1)) -> bool:
    """Return whether compiled code runs: the C++ core, or Triton kernels on a GPU; warn once if "auto" cannot use it.

    Args:
        engine: The engine that was asked for.
        device: Where the layer is.
        shape: Components and neurons of its weights.

    Raises:
        UserError: The engine is "kernel" and cannot run.
    """
    if engine == "reference":
        return False
    reason = _obstacle(device, shape)
    if reason is None:
        return True
    if engine == "kernel":
        raise UserError(f"engine is 'kernel', but {reason}; or set engine to 'reference'")
    _warn(reason)
    return False


def on_gpu(engine: Engine, device: torch.device, shape: tuple[int, ...] = (1, 1)) -> bool:
    """Return whether Triton kernels compute a layer, see `use_kernel`."""
    return device.type == "cuda" and use_kernel(engine, device, shape)


def _obstacle(device: torch.device, shape: tuple[int, ...]) -> str | None:
    if device.type == "cuda":
        from sbs.engines import gpu  # takes Triton along, which nobody else needs

        return gpu.missing(device, *shape)
    if _kernel is None:
        return "the compiled kernel is missing; reinstall sbs where a C++ compiler is available"
    if device.type != "cpu":
        return f"the kernel works on CPU tensors and the layer is on {device}"
    kernel_instructions()  # refuses unavailable instructions
    return None


@functools.cache
def _warn(reason: str) -> None:
    warnings.warn(f"sbs runs its slow torch reference: {reason}.", RuntimeWarning, stacklevel=4)


def infer(image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call) -> tuple[Tensor, Tensor | None]:
    """Draw spikes and iterate h.

    Args:
        image: float32 ``(sample, channel, height, width)``, any strides.
        weights: float32 ``(component, neuron)``.
        epsilon_xy: float32 ``(X, Y)`` or ``(X, Y, k0, k1)``.
        call: Everything else.

    Returns:
        h float32 ``(sample, X, Y, neuron)``, and the spikes int32 ``(sample, spike, X, Y)`` if they are kept;
        a spike is -1 if the patch is empty.

    Raises:
        UserError: The input has a negative, infinite or missing value, or an array has a wrong shape or dtype.
    """
    _check(image, weights, epsilon_xy, call)
    if call.expected:
        return _with_reference(image, weights, epsilon_xy, call)
    if on_gpu(call.engine, image.device, weights.shape):
        from sbs.engines import gpu

        return gpu.infer(image, weights, epsilon_xy, call)
    if use_kernel(call.engine, image.device, weights.shape):
        return _with_kernel(image, weights, epsilon_xy, call)
    return _with_reference(image, weights, epsilon_xy, call)


def patches(image: Tensor, geometry: Geometry, engine: Engine, threads: int) -> Tensor:
    """Return float32 patches ``(position, component)``."""
    if _kernel is None or engine == "reference" or image.device.type != "cpu" or image.dtype != torch.float32:
        return geometry.patches(image)
    return torch.from_numpy(_kernel.patches(image.numpy(), _geometry_array(geometry), threads))


def _check(image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call) -> None:
    """Refuse arrays that do not fit together; the compiled core checks its arguments again."""
    if image.dim() != 4 or image.dtype != torch.float32:
        raise UserError(
            f"the image has shape {tuple(image.shape)} and dtype {image.dtype}; it must be float32 "
            "(sample, channel, height, width)"
        )
    x, y = call.geometry.output_size((image.shape[2], image.shape[3]))
    kernel, spikes = call.geometry.kernel, len(call.epsilon_t)
    components = image.shape[1] * kernel[0] * kernel[1]
    neurons = weights.shape[-1]
    expected: dict[str, tuple[Tensor | None, tuple[tuple[int, ...], ...]]] = {
        "weights": (weights, ((components, neurons),)),
        "h_initial": (call.h_initial, ((neurons,),)),
        "epsilon_t": (call.epsilon_t, ((spikes,),)),
        "epsilon_xy": (epsilon_xy, ((x, y), (x, y, *kernel))),
        "uniform": (call.uniform, ((len(image), spikes, x, y),)),
        "spikes": (call.spikes, ((len(image), spikes, x, y),)),
    }
    for name, (array, shapes) in expected.items():
        if array is not None and (tuple(array.shape) not in shapes or not array.numel() > 0 < array.dim()):
            allowed = " or ".join(map(str, shapes))
            raise UserError(
                f"{name} has shape {tuple(array.shape)}; it must be {allowed}, with at least one entry"
            )
    if call.one_hot and neurons != image.shape[1]:
        raise UserError(
            f"weights have {neurons} neurons; pooling needs as many as channels, {image.shape[1]}"
        )
    if call.uniform is not None and bool(((call.uniform < 0) | (call.uniform >= 1)).any()):
        raise UserError("uniform holds a value outside 0 <= u < 1")
    if call.spikes is not None and int(call.spikes.max()) >= components:
        raise UserError(f"spikes names component {int(call.spikes.max())}; patches have {components}")


def _geometry_array(geometry: Geometry) -> list[int]:
    return [*geometry.kernel, *geometry.stride, *geometry.dilation, *geometry.padding]


def _numpy(tensor: Tensor | None, dtype: torch.dtype) -> Any:
    return None if tensor is None else np.ascontiguousarray(tensor.detach().to(dtype).numpy())


def _with_kernel(
    image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call
) -> tuple[Tensor, Tensor | None]:
    assert _kernel is not None
    output = _kernel.infer(
        image.numpy(),
        _geometry_array(call.geometry),
        _numpy(weights, torch.float32),
        _numpy(call.h_initial, torch.float32),
        _numpy(call.epsilon_t * call.epsilon_0, torch.float32),
        _numpy(epsilon_xy, torch.float32),
        max(call.forgetting_offset, 0.0),
        call.one_hot,
        call.seed,
        call.first_position,
        _numpy(call.uniform, torch.float32),
        call.rule == "lower",
        _numpy(call.spikes, torch.int32),
        call.keep_spikes,
        call.threads,
        call.isa,
    )
    h, spikes, valid = output
    if not valid:
        raise bad_input()
    return torch.from_numpy(h), None if spikes is None else torch.from_numpy(spikes)


def _with_reference(
    image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call
) -> tuple[Tensor, Tensor | None]:
    if not bool((image.isfinite() & (image >= 0)).all()):
        raise bad_input()
    samples = len(image)
    count = len(call.epsilon_t)
    columns, rows = epsilon_xy.shape[:2]
    if call.expected:
        h = _expected(image, weights, epsilon_xy, call)
        return h.view(samples, columns, rows, weights.shape[1]), None
    cut = call.geometry.patches(image)
    total = cut.sum(1, keepdim=True)
    if not bool(total.isfinite().all()):
        raise bad_input()
    empty = total <= 0
    spikes = _reference_spikes(cut, call, count)
    spikes = torch.where(empty, -1, spikes)
    step = _epsilon_of_spikes(spikes, epsilon_xy, samples) * (call.epsilon_t * call.epsilon_0)
    h = reference.dynamics(spikes, weights, step, call.h_initial, call.forgetting_offset)
    h = torch.where(empty, call.h_initial, h)
    kept = None
    if call.keep_spikes:
        kept = spikes.view(samples, columns, rows, count).permute(0, 3, 1, 2).to(torch.int32).contiguous()
    return h.view(samples, columns, rows, weights.shape[1]), kept


def _expected(image: Tensor, weights: Tensor, epsilon_xy: Tensor, call: Call) -> Tensor:
    """Return h ``(position, neuron)`` in expectation, a few samples at a time: patches are many times an image."""
    epsilon = epsilon_xy.reshape(epsilon_xy.shape[0] * epsilon_xy.shape[1], -1) * call.epsilon_0
    if epsilon.shape[1] > 1:
        epsilon = epsilon.repeat(1, len(weights) // epsilon.shape[1])
    area = len(epsilon)
    entries = AT_ONCE if image.device.type == "cpu" else AT_ONCE_ELSEWHERE
    together = max(1, entries // (area * len(weights)))
    h = weights.new_empty(len(image) * area, weights.shape[1])
    for first in range(0, len(image), together):
        some = image[first : first + together]
        h[first * area : (first + len(some)) * area] = reference.expected(
            call.geometry.patches(some),
            weights,
            epsilon.repeat(len(some), 1),
            call.epsilon_t,
            call.h_initial,
            call.forgetting_offset,
        )
    return h


def _reference_spikes(cut: Tensor, call: Call, count: int) -> Tensor:
    if call.spikes is not None:
        return call.spikes.permute(0, 2, 3, 1).reshape(len(cut), count).long()
    if call.uniform is not None:
        uniform = call.uniform.permute(0, 2, 3, 1).reshape(len(cut), count)
    else:
        uniform = reference.uniforms(call.seed, len(cut), count, call.first_position, cut.device)
    return reference.spikes_from_uniforms(reference.cumulative(cut), uniform.to(cut.device), call.rule)


def _epsilon_of_spikes(spikes: Tensor, epsilon_xy: Tensor, samples: int) -> Tensor:
    flat = epsilon_xy.reshape(epsilon_xy.shape[0] * epsilon_xy.shape[1], -1).repeat(samples, 1)
    return flat if flat.shape[1] == 1 else flat.gather(1, spikes.clamp(min=0) % flat.shape[1])
