"""The memory that a training step needs, and an error that says which batch size would fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from reprokit import UserError

from dalton.checks import whole
from dalton.model.network import SpikingCNN
from dalton.names import METHODS, SETTINGS


def bytes_per_sample(network: SpikingCNN, method: str, setting: str, steps: int) -> int:
    """Return an upper estimate of the bytes that one sample of a batch takes in a step of the torch engine.

    Args:
        network: The network.
        method: "surrgd", "tfr", "dalton" or "predict".
        setting: "bptt", "online" or "rtrl".
        steps: Time-steps.

    Raises:
        UserError: An unknown name, or steps that are not a whole number of 1 or more.
    """
    for name, value, known in (("method", method, (*METHODS, "predict")), ("setting", setting, SETTINGS)):
        if value not in known:
            raise UserError(f"{name} is {value!r}; choose one of {', '.join(known)}.")
    if (whole(steps) or 0) < 1:
        raise UserError(f"steps is {steps!r}; it must be a whole number of 1 or more.")
    item = torch.finfo(network.dtype).bits // 8
    units = [layer.units for layer in network.layers]
    maps = [layer.units * layer.pool**2 for layer in network.layers]
    pixels = math.prod(network.input_shape)
    moments = steps if setting == "bptt" else 1
    kept = 3 * max(units) if method in ("tfr", "predict") else 3 * sum(units)
    total = moments * (pixels + kept + 4 * max(maps))
    if setting == "rtrl":
        fans = [math.prod(layer.weight_shape[1:]) for layer in network.layers]
        total += 3 * sum(n * fan for n, fan in zip(units, fans, strict=True))
    return total * item


@contextmanager
def helpful_out_of_memory(
    network: SpikingCNN, method: str, setting: str, steps: int, batch: int
) -> Iterator[None]:
    """Turn an accelerator's out-of-memory error into one that names a batch size that would fit.

    Raises:
        UserError: Instead of torch.OutOfMemoryError.
    """
    kept = _kept_bytes(network.device)
    try:
        yield
    except torch.OutOfMemoryError as error:
        need = bytes_per_sample(network, method, setting, steps)
        free = max(0, _free_bytes(network.device) - kept)
        fits = min(batch - 1, int(0.9 * free) // need)
        advice = (
            f"a batch of about {fits} would fit" if fits >= 1 else "not even one sample fits: use fewer time-steps, "
            "a smaller network, or the setting online"
        )  # fmt: skip
        raise UserError(
            f"the memory of {network.device} is exhausted by a batch of {batch} samples with {steps} time-steps "
            f"({method}, {setting}: about {need / 2**20:.1f} MiB per sample, {free / 2**20:.0f} MiB are free); "
            f"{advice}."
        ) from error


def _kept_bytes(device: torch.device) -> int:
    """Return the bytes that tensors of this process take on an accelerator."""
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _free_bytes(device: torch.device) -> int:
    """Return the bytes of an accelerator that are free or reserved by this process, in use or not."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device)
