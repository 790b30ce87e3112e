from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

def infer(
    image: NDArray[np.float32],
    geometry: Sequence[int],
    weights: NDArray[np.float32],
    h_initial: NDArray[np.float32],
    epsilon_t: NDArray[np.float32],
    epsilon_xy: NDArray[np.float32],
    forgetting: float,
    one_hot: bool,
    seed: int,
    first_position: int,
    uniform: NDArray[np.float32] | None,
    lower: bool,
    spikes: NDArray[np.int32] | None,
    keep_spikes: bool,
    threads: int,
    isa: str,
) -> tuple[NDArray[np.float32], NDArray[np.int32] | None, bool]: ...
def patches(image: NDArray[np.float32], geometry: Sequence[int], threads: int) -> NDArray[np.float32]: ...
def isa() -> str: ...
def has_isa(name: str) -> bool: ...
def all_isa() -> list[Literal["avx512", "avx2", "neon", "portable"]]: ...
