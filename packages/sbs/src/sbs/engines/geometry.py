"""A layer's geometry: kernel, stride, dilation and padding, and the patches they cut from an image.

Input component ``i = (c * k0 + a) * k1 + b`` (channel slowest), the order of `torch.nn.functional.unfold`.
"""

from dataclasses import dataclass

from reprokit import UserError
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """Kernel geometry of one layer.

    Attributes:
        kernel: Rows and columns of a patch.
        stride: Step between positions.
        dilation: Distance between the elements of a patch.
        padding: Zeros added on each side; such components have probability 0.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    padding: Pair = (0, 0)

    def output_size(self, size: Pair) -> Pair:
        """Return X, Y = floor((n + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

        Raises:
            UserError: The kernel does not fit the input.
        """
        x, y = (
            (size[axis] + 2 * self.padding[axis] - self.dilation[axis] * (self.kernel[axis] - 1) - 1)
            // self.stride[axis]
            + 1
            for axis in (0, 1)
        )
        if x < 1 or y < 1:
            raise UserError(
                f"an input of {size[0]}x{size[1]} is too small for kernel {self.kernel}, dilation {self.dilation} "
                f"and padding {self.padding}"
            )
        return x, y

    def patches(self, images: Tensor) -> Tensor:
        """Cut all patches.

        Args:
            images: ``(sample, channel, height, width)``.

        Returns:
            ``(position, component)``; positions in the order sample, x, y.
        """
        columns = functional.unfold(images, self.kernel, self.dilation, self.padding, self.stride)
        return columns.transpose(1, 2).flatten(0, 1)

    def fold(self, patches: Tensor, samples: int, size: Pair) -> Tensor:
        """Put patches back into the image, adding overlaps: the adjoint of `patches`.

        Args:
            patches: ``(position, component)``.
            samples: Number of images.
            size: Height and width of the images.

        Returns:
            ``(sample, channel, height, width)``.
        """
        if self.kernel == (1, 1) and self.stride == (1, 1) and self.padding == (0, 0):
            return patches.view(samples, *size, patches.shape[1]).permute(0, 3, 1, 2)
        x, y = self.output_size(size)
        columns = patches.view(samples, x * y, patches.shape[1]).transpose(1, 2)
        return functional.fold(columns, size, self.kernel, self.dilation, self.padding, self.stride)
