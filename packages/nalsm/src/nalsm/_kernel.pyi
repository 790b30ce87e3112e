from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

class Source:
    def __init__(
        self,
        probability: NDArray[np.float64] | None,
        first: NDArray[np.int64] | None,
        channels: NDArray[np.int32] | None,
        sample: NDArray[np.int64],
        seed: int,
    ) -> None: ...

class Core:
    def __init__(
        self,
        excitatory: int,
        inhibitory: int,
        inputs: int,
        post: NDArray[np.int32],
        pre: NDArray[np.int32],
        isa: str,
    ) -> None: ...
    def sequence(
        self,
        options: Mapping[str, float],
        source: Source,
        presentations: int,
        weights: NDArray[np.float32],
        trace: NDArray[np.float32],
        calcium: NDArray[np.float32],
        carry: bool,
        record: bool,
    ) -> dict[str, NDArray[Any]]: ...
    def independent(
        self,
        options: Mapping[str, float],
        source: Source,
        presentations: int,
        weights: NDArray[np.float32],
        trace: NDArray[np.float32],
        record: bool,
        threads: int,
        final_weights: NDArray[np.float32] | None = None,
    ) -> dict[str, NDArray[Any]]: ...

class Stream:
    def __init__(
        self,
        core: Core,
        options: Mapping[str, float],
        weights: NDArray[np.float32],
        trace: NDArray[np.float32],
        calcium: NDArray[np.float32],
    ) -> None: ...
    @property
    def elapsed(self) -> int: ...
    def run(self, source: Source, duration: int, record: bool) -> dict[str, NDArray[Any]]: ...
    def state(self) -> dict[str, NDArray[np.float32]]: ...
    def restore(
        self,
        potential: NDArray[np.float32],
        refractory: NDArray[np.float32],
        residue: NDArray[np.float32],
        current: NDArray[np.float32],
        rates: NDArray[np.float32],
        elapsed: int,
    ) -> None: ...

def isa() -> str: ...
def has_isa(name: str) -> bool: ...
def all_isa() -> list[str]: ...
