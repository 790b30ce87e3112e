"""The slice of bdfa on a GPU: one epoch of the paper's MNIST table, six networks and five rules, one seed.

    python -m benchmarks.programs.gpu_bdfa --device cuda
    python -m benchmarks.programs.gpu_bdfa --device cpu --tiny

Each rule is trained as `bdfa reproduce` does it: a network on its own, plain SGD, 391 steps of 128 of 50,000 resident
images, each step one CUDA graph that adds up errors and losses. The table has 300 such epochs; its evaluations after
each epoch and its files are left out. Random images are as good as MNIST for a time. ``together_seconds`` is the same
epoch with the five rules of a network as one program.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import bdfa
import torch
from bdfa.training.evaluation import scores_loss

from benchmarks.programs.gpu_slice import print_slice

RULES, EPOCHS, RATE = ("bp", "fa", "dfa", "bfa", "bdfa"), 300, 1e-4
SIZES = {"samples": 50_000, "inputs": 784, "batch": 128, "widths": (400, 800), "depths": (1, 2, 3)}
TINY = {"samples": 24, "inputs": 12, "batch": 8, "widths": (5,), "depths": (1, 2)}


class Epoch:
    """One epoch of one network under some rules, as one program.

    Args:
        widths: Hidden widths.
        rules: Rules.
        images: (sample, input), on the device.
        labels: (sample,), on the device.
        batch: Samples of a batch; a smaller last one is trained step by step.
    """

    def __init__(
        self,
        widths: Sequence[int],
        rules: Sequence[str],
        images: torch.Tensor,
        labels: torch.Tensor,
        batch: int,
    ) -> None:
        models = []
        for rule in rules:
            net = bdfa.mlp(images.shape[1], tuple(widths), 10)
            bdfa.initialise(net, rule, seed=1)
            models.append(bdfa.FeedbackModel(net.to(images.device), rule, seed=1))
        self.images, self.labels, self.batch = images, labels, batch
        self.fast = bdfa.FastMLP(
            models, lr=RATE, batch_size=batch, check=False, criterion=bdfa.Criterion("bce")
        )
        self.sums = torch.zeros(2, len(rules), dtype=torch.float64, device=images.device)
        self.step = bdfa.ResidentStep(self.fast, images, labels, batch_size=batch, note=self._add_up)

    def _add_up(self, scores: torch.Tensor, labels: torch.Tensor) -> None:
        scores = scores if scores.dim() == 3 else scores[None]
        self.sums[0] += (scores.argmax(-1) != labels).sum(-1)
        self.sums[1] += scores_loss(scores, labels, "bce")

    def __call__(self, steps: int | None = None) -> None:
        """Train for an epoch, or some steps of it, and wait for the device."""
        order = torch.randperm(len(self.labels)).to(self.labels.device)
        for index in order.split(self.batch)[:steps]:
            if len(index) == self.batch:
                self.step(index)
            else:
                self._add_up(self.fast.step(self.images[index], self.labels[index]), self.labels[index])
        assert bool(self.sums.isfinite().all())


def slice_(device: str = "cuda", tiny: bool = False) -> dict[str, Any]:
    """Time one epoch of every network and rule, after a few steps that record.

    Args:
        device: PyTorch's device.
        tiny: The smallest sizes, to try the flow.

    Returns:
        ``what``, ``seconds`` of the epoch of all cells, ``slices`` of that size that make the table, and the seconds
        with the rules of a network as one program.
    """
    sizes, place = TINY if tiny else SIZES, torch.device(device)
    random = torch.Generator().manual_seed(0)
    images = torch.rand(sizes["samples"], sizes["inputs"], generator=random).to(place)
    labels = torch.randint(0, 10, (sizes["samples"],), generator=random).to(place)
    seconds = {"apart": 0.0, "together": 0.0}
    for depth in sizes["depths"]:
        for width in sizes["widths"]:
            for way, groups in (("apart", [(rule,) for rule in RULES]), ("together", [RULES])):
                for rules in groups:
                    epoch = Epoch((width,) * depth, rules, images, labels, sizes["batch"])
                    epoch(4)
                    started = time.perf_counter()
                    epoch()
                    seconds[way] += time.perf_counter() - started
    nets = len(sizes["depths"]) * len(sizes["widths"])
    return {
        "package": "bdfa",
        "what": f"one epoch of {nets} networks under {len(RULES)} rules, one seed, {sizes['samples']} random images",
        "seconds": seconds["apart"],
        "slices": EPOCHS,
        "together_seconds": seconds["together"],
        "device": torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the slice as one line of JSON."""
    print_slice(slice_, __doc__ or "", arguments)


if __name__ == "__main__":
    main()
