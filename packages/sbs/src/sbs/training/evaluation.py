"""How many images a network classifies correctly, depending on the number of spikes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from reprokit import UserError, progress
from torch import Tensor, nn

from sbs.checks import whole
from sbs.data.encoding import Presentation
from sbs.data.images import Images
from sbs.model.networks import sbs_layers
from sbs.streams import SPIKES, TEST, derived_seed

BLOCK = 100  # number of images that share one stream of spikes; recorded results depend on it


@dataclass(frozen=True)
class Evaluation:
    """Result of one pass over a set of images.

    Attributes:
        correct: Number of images whose largest output is their label.
        total: Number of images.
        seconds: Time of the forward passes.
    """

    correct: int
    total: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Correct images in percent."""
        return 100.0 * self.correct / self.total


def evaluate(
    network: nn.Module,
    presentation: Presentation,
    images: Images,
    *,
    batch_size: int = 100,
    seed: int = 0,
    number_of_spikes: int | None = None,
) -> Evaluation:
    """Classify images: the predicted class is argmax_j h_j of the last layer.

    Args:
        network: Maps ``(sample, channel, height, width)`` to ``(sample, class, 1, 1)``.
        presentation: Crop and channel split of test images.
        images: The images to classify.
        batch_size: Images per forward pass, at most; `BLOCK` are enough for every thread. It changes no result:
            image k gets the spikes of place k % `BLOCK` of stream k // `BLOCK`, whatever else is in its batch.
        seed: Seed of the spikes.
        number_of_spikes: Spikes per position in every SbS layer, overriding the layers' own numbers; by default
            each layer's own.

    Raises:
        UserError: No images, an invalid number, or a network that does not end in one position.
    """
    if not len(images):
        raise UserError("there are no images to evaluate on")
    batch_size, seed = whole("batch_size", batch_size, 1), whole("seed", seed, 0)
    device = next(network.parameters()).device
    correct, seconds = 0, 0.0
    bar = progress(total=len(images), description="test")
    with evaluating(network), spike_number(network, number_of_spikes), torch.inference_mode(), bar:
        for first, last in parts(len(images), batch_size):
            batch, labels = images.batch(slice(first, last))
            inputs = presentation.test(batch).to(device)
            begun = time.perf_counter()
            with spikes_from(seed, TEST, first // BLOCK), first_sample(network, first % BLOCK):
                outputs = network(inputs)
            seconds += time.perf_counter() - begun
            _check_outputs(outputs, len(labels))
            correct += int((outputs.flatten(1).argmax(1).cpu() == labels).sum())
            bar.update(len(labels))
    return Evaluation(correct, len(images), seconds)


def accuracy_against_spikes(
    network: nn.Module,
    presentation: Presentation,
    images: Images,
    counts: Sequence[int],
    *,
    batch_size: int = 100,
    seed: int = 0,
) -> list[tuple[int, Evaluation]]:
    """Evaluate once per number of spikes.

    Args:
        network: As in `evaluate`.
        presentation: As in `evaluate`.
        images: As in `evaluate`.
        counts: Numbers of spikes, each at least 1.
        batch_size: Images per forward pass, at most, see `evaluate`.
        seed: Seed of the spikes.
    """
    if not len(counts):
        raise UserError("numbers of spikes are []; give at least one, each at least 1")
    counts = [whole("numbers of spikes: one", count, 1) for count in counts]
    return [
        (
            count,
            evaluate(network, presentation, images, batch_size=batch_size, seed=seed, number_of_spikes=count),
        )
        for count in counts
    ]


@contextmanager
def spikes_from(seed: int, stream: int = SPIKES, *position: int) -> Iterator[None]:
    """Inside, spikes depend only on these numbers; torch's generator is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, stream, *position))
        yield


@contextmanager
def spike_number(network: nn.Module, count: int | None) -> Iterator[None]:
    """Inside the block, every SbS layer draws ``count`` spikes, in both modes; None changes nothing."""
    layers = sbs_layers(network) if count is not None else []
    before = [(layer.number_of_spikes, layer.eval_number_of_spikes) for layer in layers]
    try:
        for layer in layers:
            layer.number_of_spikes, layer.eval_number_of_spikes = count, None
        yield
    finally:
        for layer, (number, evaluation) in zip(layers, before, strict=True):
            layer.number_of_spikes, layer.eval_number_of_spikes = number, evaluation


@contextmanager
def first_sample(network: nn.Module, number: int) -> Iterator[None]:
    """Inside the block, every SbS layer counts the samples of a batch from ``number`` on."""
    layers = sbs_layers(network)
    try:
        for layer in layers:
            layer.sample_offset = number
        yield
    finally:
        for layer in layers:
            layer.sample_offset = 0


def parts(count: int, batch_size: int) -> Iterator[tuple[int, int]]:
    """Split 0 ... count - 1 into parts of at most ``batch_size`` that never cross a block boundary."""
    first = 0
    while first < count:
        last = min(first + batch_size, (first // BLOCK + 1) * BLOCK, count)
        yield first, last
        first = last


def _check_outputs(outputs: Tensor, samples: int) -> None:
    shape = tuple(outputs.shape)
    if len(outputs) != samples or len(shape) < 2 or any(length != 1 for length in shape[2:]):
        raise UserError(
            f"the network returns {shape} for {samples} images; it must be (sample, class) or (sample, class, 1, 1)"
        )
    if not bool(outputs.isfinite().all()):
        raise UserError(
            "the network returns values that are not finite (NaN or infinity), so nothing is classified"
        )


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Put a network in evaluation mode inside the block."""
    training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(training)
