"""What an SbS layer is made of: sizes that are fixed when it is built."""

from collections.abc import Sequence

from torch import Tensor

from sbs.checks import pair
from sbs.engines.geometry import Geometry

Pair = int | Sequence[int] | Tensor


class LayerShape:
    """Sizes of `sbs.SbSLayer`."""

    _channels: int
    _neurons: int
    _input_size: tuple[int, int]
    _output_size: tuple[int, int]
    _geometry: Geometry

    @property
    def number_of_input_neurons(self) -> int:
        """C, channels of the input."""
        return self._channels

    @property
    def number_of_neurons(self) -> int:
        """J, channels of the output."""
        return self._neurons

    @property
    def number_of_components(self) -> int:
        """I = C k0 k1, entries of a patch."""
        return self._channels * self._geometry.kernel[0] * self._geometry.kernel[1]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self._input_size

    @property
    def geometry(self) -> Geometry:
        """Kernel, stride, dilation and padding."""
        return self._geometry

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Rows and columns of a patch."""
        return self._geometry.kernel

    @property
    def stride(self) -> tuple[int, int]:
        """Step between positions."""
        return self._geometry.stride

    @property
    def dilation(self) -> tuple[int, int]:
        """Distance between kernel elements."""
        return self._geometry.dilation

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros added on each side."""
        return self._geometry.padding

    @property
    def output_size(self) -> tuple[int, int]:
        """X, Y."""
        return self._output_size

    def calculate_output_size(self, size: Pair) -> tuple[int, int]:
        """Return X, Y for an input of the given height and width."""
        return self._geometry.output_size(pair("size", size, 1))
