from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T", np.float32, np.float64)
Bits = NDArray[np.int64]
Bytes = NDArray[np.uint8]

class Geometry:
    def __init__(
        self,
        in_height: int,
        in_width: int,
        in_channels: int,
        kernel_height: int,
        kernel_width: int,
        stride: int,
        out_height: int,
        out_width: int,
        out_channels: int,
        depth: int,
        pool: int,
        /,
    ) -> None: ...

class Fold:
    def __init__(
        self,
        out: int,
        input: int,
        height: int,
        width: int,
        stride: int,
        pool: int,
        in_padded: int,
        out_padded: int,
        /,
    ) -> None: ...

class Extent:
    def __init__(self, steps: int, batch: int, threads: int, /) -> None: ...

class Maps:
    def __init__(self, height: int, width: int, channels: int, padded: int, /) -> None: ...

class _Neuron(Generic[T]):
    def __init__(
        self, decay: float, threshold: float, surrogate_scale: float, hard_reset: bool, /
    ) -> None: ...

class _Core(Generic[T]):
    lanes: int
    def __init__(self, isa: str) -> None: ...
    def encode(
        self,
        maps: Maps,
        extent: Extent,
        x: NDArray[T],
        held: bool,
        gain: float,
        bias: float,
        state: NDArray[T],
        spikes: Bits,
    ) -> None: ...
    def unpack(self, maps: Maps, extent: Extent, bits: Bits, value: float, values: NDArray[T]) -> None: ...
    def forward(
        self,
        geometry: Geometry,
        neuron: _Neuron[T],
        extent: Extent,
        spikes: Bits,
        weight: NDArray[T],
        scale: float,
        keep: Bits | None,
        v: NDArray[T] | None,
        c: NDArray[T] | None,
        potentials: NDArray[T],
        emitted: Bits,
    ) -> int: ...
    def fire(
        self,
        units: int,
        neuron: _Neuron[T],
        extent: Extent,
        keep: Bits | None,
        v: NDArray[T] | None,
        c: NDArray[T] | None,
        potentials: NDArray[T],
        emitted: Bits,
    ) -> int: ...
    def currents(
        self,
        geometry: Geometry,
        extent: Extent,
        spikes: Bits,
        weight: NDArray[T],
        scale: float,
        result: NDArray[T],
        switches: Bytes | None,
    ) -> None: ...
    def errors(
        self,
        units: int,
        neuron: _Neuron[T],
        extent: Extent,
        potentials: NDArray[T],
        z: NDArray[T],
        keep: Bits | None,
        scale: float,
        transferred: NDArray[T] | None,
        rectify: bool,
        transfer_scale: float,
    ) -> None: ...
    def weight_gradient(
        self,
        geometry: Geometry,
        extent: Extent,
        spikes: Bits,
        errors: NDArray[T],
        switches: Bytes | None,
        result: NDArray[T],
    ) -> None: ...
    def adjoint(
        self,
        geometry: Geometry,
        extent: Extent,
        vectors: int,
        weight: NDArray[T],
        errors: NDArray[T],
        switches: Bytes | None,
        result: NDArray[T],
    ) -> None: ...
    def fold(self, fold: Fold, weight: NDArray[T], rows: NDArray[T]) -> None: ...
    def unfold(self, fold: Fold, rows: NDArray[T], weight: NDArray[T]) -> None: ...
    def panels(self, geometry: Geometry, vectors: int, rows: NDArray[T], result: NDArray[T]) -> None: ...

class NeuronFloat(_Neuron[np.float32]): ...
class NeuronDouble(_Neuron[np.float64]): ...
class CoreFloat(_Core[np.float32]): ...
class CoreDouble(_Core[np.float64]): ...

def pack(maps: Maps, extent: Extent, bytes: Bytes, bits: Bits) -> None: ...
def isa() -> str: ...
def has_isa(name: str) -> bool: ...
def all_isa() -> list[str]: ...
