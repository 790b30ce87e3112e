"""What an engine is asked for, and the error that all engines raise."""

from dataclasses import dataclass
from typing import Literal

from reprokit import UserError
from torch import Tensor

from sbs.config import Engine
from sbs.engines import reference
from sbs.engines.geometry import Geometry

Isa = Literal["auto", "avx512", "avx2", "neon", "portable"]


@dataclass(frozen=True)
class Call:
    """Everything that a forward pass depends on, apart from its tensors.

    Attributes:
        geometry: Kernel geometry.
        epsilon_t: float32 ``(spike,)``.
        epsilon_0: Global factor of the step.
        h_initial: float32 ``(neuron,)``.
        seed: Seed of the spikes.
        first_position: Number of the first position, for batches that are parts of a larger one.
        forgetting_offset: Pull towards the uniform distribution; 0 or less is off.
        one_hot: Whether the weights are those of a pooling layer.
        threads: Threads of the kernel.
        engine: The engine.
        isa: Vector instructions of the kernel.
        rule: Rule that turns a number into a spike, see `reference.spikes_from_uniforms`.
        uniform: Numbers to use instead of random ones, float32 ``(sample, spike, X, Y)``.
        spikes: Spikes to use instead of random ones, int ``(sample, spike, X, Y)``.
        keep_spikes: Whether to return the spikes.
        expected: Iterate expectations instead of spikes, see `reference.expected`.
    """

    geometry: Geometry
    epsilon_t: Tensor
    epsilon_0: float
    h_initial: Tensor
    seed: int = 0
    first_position: int = 0
    forgetting_offset: float = 0.0
    one_hot: bool = False
    threads: int = 1
    engine: Engine = "auto"
    isa: Isa = "auto"
    rule: reference.Rule = "upper"
    uniform: Tensor | None = None
    spikes: Tensor | None = None
    keep_spikes: bool = False
    expected: bool = False


def bad_input() -> UserError:
    """Return the error for inputs that are not intensities."""
    return UserError(
        "the input of an SbS layer holds a negative, infinite or missing (NaN) value; intensities must be finite "
        "and at least 0, for example split signed data into on and off channels"
    )
