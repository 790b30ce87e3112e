"""A rule that the package does not have: weight mirroring (Akrout et al., NeurIPS 2019, section 4).

Between two steps each layer is shown noise x, answers y = W x, and its feedback learns F <- (1 - decay) F + rate y x^T,
so that F grows into the direction of W although neither has access to the other.
"""

import torch
from bdfa.rules import Place, Seen
from torch import Tensor


class WeightMirror:
    """F follows W by correlations of noise."""

    name, family, needs_labels = "weight-mirror", "layer", False
    rate, decay = 0.1, 0.1

    def draw(self, place: Place, random: torch.Generator) -> Tensor:
        self.random = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=random)))
        return torch.empty(place.shape).uniform_(-0.1, 0.1, generator=random)

    def matrix(self, place: Place, feedback: Tensor, weight: Tensor) -> Tensor:
        return feedback

    def broadcast(self, error: Tensor, labels: Tensor | None) -> Tensor:
        return error

    def learn(self, place: Place, feedback: Tensor, weight: Tensor, seen: Seen) -> None:
        noise = torch.randn(len(seen.activity), weight.shape[1], generator=self.random).to(weight)
        answer = noise @ weight.T
        feedback.mul_(1 - self.decay).add_(answer.T @ noise, alpha=self.rate / len(noise))
