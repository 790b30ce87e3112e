"""The five architectures A1-A5 and own ones, and their layers on images of a given size."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from reprokit import UserError

from dalton.checks import check_number, whole

Downsample = Literal["avgpool", "maxpool", "stride"]
PoolType = Literal["avg", "max"]
Kind = Literal["conv", "dense"]


@dataclass(frozen=True)
class ConvSpec:
    """A spiking convolution: valid padding, no bias.

    Attributes:
        channels: Output channels.
        kernel: Side of the square kernel.
        stride: Stride of the convolution.
        pool: Side and stride of the pooling of its currents; 1: none.
        dropout: Probability that an emitted spike is dropped in training.
    """

    channels: int
    kernel: int
    stride: int = 1
    pool: int = 1
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("channels", "kernel", "stride", "pool"):
            _positive(f"ConvSpec {name}", getattr(self, name))
        check_number("ConvSpec dropout", self.dropout)
        if not 0 <= self.dropout < 1:
            raise UserError(f"ConvSpec dropout is {self.dropout}; it must be at least 0 and below 1.")


@dataclass(frozen=True)
class Architecture:
    """Convolutions, then dense spiking layers; the class matrix follows from the data.

    Attributes:
        conv: Spiking convolutions, at least one.
        dense: Sizes of the spiking dense layers, at least one.
        pool_type: "avg" or "max", of all pooled convolutions.
        name: Name in reports.

    Raises:
        UserError: A part is missing or out of range.
    """

    conv: tuple[ConvSpec, ...]
    dense: tuple[int, ...] = (128, 64)
    pool_type: PoolType = "avg"
    name: str = "own"

    def __post_init__(self) -> None:
        if not isinstance(self.conv, tuple | list) or not all(isinstance(x, ConvSpec) for x in self.conv):
            raise UserError(f"conv is {self.conv!r}; give a tuple, for example (ConvSpec(16, 3, pool=2),).")
        if not isinstance(self.dense, tuple | list):
            raise UserError(f"dense is {self.dense!r}; give a tuple of sizes, for example (128, 64).")
        if not self.conv or not self.dense:
            raise UserError("an Architecture needs at least one convolution and one dense layer.")
        if self.pool_type not in get_args(PoolType):
            raise UserError(f"pool_type is {self.pool_type!r}; choose avg or max.")
        for size in self.dense:
            _positive("a size in Architecture dense", size)

    def layers(self, input_shape: tuple[int, int, int]) -> tuple[LayerSpec, ...]:
        """Return the layers on inputs (channel, height, width), bottom first.

        Raises:
            UserError: The image is too small for a layer.
        """
        if len(input_shape) != 3:
            raise UserError(f"input_shape is {input_shape}; it must be (channels, height, width).")
        for size in input_shape:
            _positive("a size in input_shape", size)
        layers, shape = [], tuple(input_shape)
        for number, conv in enumerate(self.conv, 1):
            maps = tuple(((n - conv.kernel) // conv.stride + 1) // conv.pool for n in shape[1:])
            if min(maps) < 1 or min(shape[1:]) < conv.kernel:
                raise UserError(
                    f"architecture {self.name} is too deep for inputs of {tuple(input_shape)}: conv{number} (kernel "
                    f"{conv.kernel}, stride {conv.stride}, pool {conv.pool}) gets maps of {shape[1]} x {shape[2]}; use "
                    "larger images or fewer, smaller or unpooled layers."
                )
            output = (conv.channels, *maps)
            layers.append(LayerSpec(f"conv{number}", "conv", shape, output, (conv.channels, shape[0], conv.kernel,
                          conv.kernel), conv.stride, conv.pool, self.pool_type, conv.dropout))  # fmt: skip
            shape = output
        for number, size in enumerate(self.dense, 1):
            layers.append(LayerSpec(f"dense{number}", "dense", shape, (size,), (size, math.prod(shape))))
            shape = (size,)
        return tuple(layers)


@dataclass(frozen=True)
class LayerSpec:
    """One spiking layer of a network.

    Attributes:
        name: conv1, ..., dense1, ...
        kind: "conv" or "dense".
        input_shape: (channel, height, width), or (unit,).
        output_shape: The same, after pooling.
        weight_shape: (out, in, kernel, kernel) or (out, in).
        stride: Of the convolution.
        pool: Side and stride of the pooling; 1: none.
        pool_type: "avg" or "max".
        dropout: Probability of dropping a spike.
    """

    name: str
    kind: Kind
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    weight_shape: tuple[int, ...]
    stride: int = 1
    pool: int = 1
    pool_type: PoolType = "avg"
    dropout: float = 0.0

    @property
    def units(self) -> int:
        """Number of neurons."""
        return math.prod(self.output_shape)

    @property
    def max_pooled(self) -> bool:
        """Whether the currents are max-pooled, so that the gradient needs the switches."""
        return self.pool > 1 and self.pool_type == "max"


def _positive(name: str, value: object) -> None:
    if (whole(value) or 0) < 1:
        raise UserError(f"{name} is {value!r}; it must be a whole number of 1 or more.")


# (channels, kernel, dropout, whether it is down-sampled) of each convolution, and the dense sizes.
_TABLE: dict[str, tuple[tuple[tuple[int, int, float, bool], ...], tuple[int, ...]]] = {
    "A1": (((16, 3, 0.0, True),), (128, 64)),
    "A2": (((32, 7, 0.1, True), (32, 5, 0.1, True)), (512, 128)),
    "A3": (((48, 5, 0.0, True), (64, 3, 0.1, True), (128, 3, 0.2, True)), (512, 256)),
    "A4": (((24, 3, 0.0, False), (24, 3, 0.1, True), (48, 3, 0.2, True), (48, 3, 0.3, True)), (256, 128)),
    "A5": (((64, 3, 0.0, False), (64, 3, 0.1, True), (128, 3, 0.2, True), (128, 3, 0.3, True)), (1024, 1024)),
}
ARCHITECTURES = tuple(_TABLE)


def architecture(name: str, downsample: Downsample = "avgpool") -> Architecture:
    """Return one of A1-A5, the original's.

    Args:
        name: "A1" to "A5".
        downsample: "avgpool" or "maxpool" 2 x 2, or "stride" 2 without pooling.

    Raises:
        UserError: Unknown name or mode.
    """
    if name not in _TABLE:
        raise UserError(
            f"architecture is {name!r}; choose one of {', '.join(_TABLE)}, or make an Architecture."
        )
    if downsample not in get_args(Downsample):
        raise UserError(f"downsample is {downsample!r}; choose one of {', '.join(get_args(Downsample))}.")
    convolutions, dense = _TABLE[name]
    strided = downsample == "stride"
    conv = tuple(
        ConvSpec(channels, kernel, stride=2 if strided and small else 1, pool=2 if small and not strided else 1,
                 dropout=dropout)
        for channels, kernel, dropout, small in convolutions
    )  # fmt: skip
    return Architecture(conv, dense, "max" if downsample == "maxpool" else "avg", name)
