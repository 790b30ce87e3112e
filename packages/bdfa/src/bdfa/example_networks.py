"""Small networks beyond the perceptron, for ``--model bdfa.example_networks:small_conv`` and as examples."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def small_conv(input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Two 5×5 convolutions with 3×3 max pooling, then one hidden layer of 128 tanh units."""
    layers = (
        nn.Conv2d(input_shape[0], 16, 5, padding=2), nn.Tanh(), nn.MaxPool2d(3, 2),
        nn.Conv2d(16, 32, 5, padding=2), nn.Tanh(), nn.MaxPool2d(3, 2), nn.Flatten(),
    )  # fmt: skip
    with torch.no_grad():
        features = nn.Sequential(*layers)(torch.zeros(1, *input_shape)).shape[1]
    return nn.Sequential(*layers, nn.Linear(features, 128), nn.Tanh(), nn.Linear(128, classes))


class ResidualBlock(nn.Module):
    """``h ← tanh(h + W_2 tanh(W_1 h))``.

    Args:
        width: Units of the stream and of the branch.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.inner, self.outer = nn.Tanh(), nn.Tanh()

    def forward(self, stream: Tensor) -> Tensor:
        """Add the branch to the stream and squash."""
        return self.outer(stream + self.second(self.inner(self.first(stream))))


def residual(input_shape: tuple[int, int, int], classes: int) -> nn.Sequential:
    """Residual network on flattened images: a linear stem, two blocks of 256 units, a linear readout."""
    pixels, width = input_shape[0] * input_shape[1] * input_shape[2], 256
    stem = nn.Sequential(nn.Flatten(), nn.Linear(pixels, width), nn.Tanh())
    return nn.Sequential(stem, ResidualBlock(width), ResidualBlock(width), nn.Linear(width, classes))
