"""The pooling layer: an SbS layer with one neuron per channel and fixed weights, W = delta(c, j) / (k0 k1).

A spike of channel c touches neuron c alone, so the kernel takes no dot product: u_c += scale epsilon_t. The
expected result is the average pooling of the normalised input.
"""

from typing import Any

from sbs.model.layer import SbSLayer
from sbs.model.layer_shape import Pair


def sbs_pooling(
    channels: int,
    input_size: Pair,
    kernel: Pair,
    number_of_spikes: int,
    stride: Pair | None = None,
    **options: Any,
) -> SbSLayer:
    """Return a pooling layer; by default its stride is its kernel.

    Args:
        channels: Channels of input and output.
        input_size: Height and width of the input.
        kernel: Rows and columns that are pooled.
        number_of_spikes: S per position.
        stride: Step between positions; None takes the kernel.
        **options: Further arguments of `SbSLayer`.
    """
    return SbSLayer(
        channels,
        channels,
        input_size,
        kernel,
        number_of_spikes,
        is_pooling_layer=True,
        strides=kernel if stride is None else stride,
        **options,
    )
