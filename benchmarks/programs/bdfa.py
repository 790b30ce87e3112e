"""One training step of 784-800-800-10, tanh, bce, batch 64, float32: rules of `bdfa`, by module and by fast path."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import bdfa
import torch
from torch import nn

from benchmarks.programs.torch_steps import Step, waiting

BATCH, SIZES, CLASSES, LR = 64, (800, 800), 10, 1e-4
SEEDS, BATCHES = 5, 8  # networks, and batches of one timing, when several are trained


class Data:
    """Batches of random images, visited in turn, so that no step repeats the one before."""

    def __init__(self, device: torch.device) -> None:
        random = torch.Generator().manual_seed(0)
        self.images = torch.rand(32, BATCH, 784, generator=random).to(device)
        self.labels = torch.randint(0, CLASSES, (32, BATCH), generator=random).to(device)
        self.turn = 0

    def next(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the next batch."""
        self.turn = (self.turn + 1) % len(self.images)
        return self.images[self.turn], self.labels[self.turn]


def network(device: torch.device, sizes: tuple[int, ...] = SIZES, seed: int = 0) -> bdfa.Network:
    """Return a perceptron whose weights are the same every time."""
    net = bdfa.mlp(784, sizes, CLASSES)
    bdfa.initialise(net, zero="uniform", seed=seed)
    return net.to(device)


def pytorch_optimiser(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return PyTorch's own optimiser."""
    kinds = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}
    return kinds[name](parameters, lr=LR)


class Training:
    """A training step that can be called and timed, and the networks it trains.

    Args:
        step: One step, or several.
        networks: What it trains, in a fixed order.
        data: Its own batches; two trainings see the same ones in the same order.
    """

    def __init__(self, step: Step, networks: Sequence[nn.Module], data: Data) -> None:
        self.step, self.networks, self.data = step, list(networks), data

    def __call__(self) -> object:
        """Train."""
        return self.step()

    def weights(self) -> list[torch.Tensor]:
        """Return copies of all weights and biases."""
        return [parameter.detach().clone() for net in self.networks for parameter in net.parameters()]

    def restore(self, weights: Sequence[torch.Tensor]) -> None:
        """Put copies back."""
        with torch.no_grad():
            parameters = (parameter for net in self.networks for parameter in net.parameters())
            for parameter, value in zip(parameters, weights, strict=True):
                parameter.copy_(value)


def eager(optimiser: str, device: torch.device, sizes: tuple[int, ...] = SIZES) -> Training:
    """Back-propagation as everybody writes it."""
    data, net, criterion = Data(device), network(device, sizes), nn.BCEWithLogitsLoss(reduction="sum")
    stepper = pytorch_optimiser(optimiser, list(net.parameters()))

    def step() -> None:
        images, labels = data.next()
        stepper.zero_grad()
        criterion(net(images), nn.functional.one_hot(labels, CLASSES).float()).backward()
        stepper.step()

    return Training(waiting(step, device), [net], data)


def module(
    rule: str,
    optimiser: str,
    device: torch.device,
    ours: bool = False,
    sizes: tuple[int, ...] = SIZES,
    seed: int = 0,
) -> Training:
    """`FeedbackModel` with plain ``loss.backward()``; PyTorch's optimiser, or (`ours`) the package's."""
    data, net = Data(device), network(device, sizes, seed)
    model, criterion = bdfa.FeedbackModel(net, rule, seed=seed), bdfa.Criterion("bce")
    parameters = model.forward_parameters()
    make = (
        (lambda: bdfa.make_optimiser(optimiser, parameters, lr=LR))
        if ours
        else (lambda: pytorch_optimiser(optimiser, parameters))
    )
    stepper = make()

    def step() -> None:
        images, labels = data.next()
        stepper.zero_grad()
        criterion(model(images, labels=labels), labels).backward()
        stepper.step()

    return Training(waiting(step, device), [net], data)


def fast(
    rule: str,
    optimiser: str,
    device: torch.device,
    seeds: Iterable[int] = (0,),
    sizes: tuple[int, ...] = SIZES,
) -> Training:
    """`FastMLP`, one network or several at once."""
    data, seeds = Data(device), list(seeds)
    networks = [network(device, sizes, seed) for seed in seeds]
    models = [bdfa.FeedbackModel(net, rule, seed=seed) for net, seed in zip(networks, seeds, strict=True)]
    trainer = bdfa.FastMLP(models, optimiser=optimiser, lr=LR, check=device.type == "cpu")
    return Training(waiting(lambda: trainer.step(*data.next()), device), networks, data)


def repeated(*trainings: Training) -> Training:
    """Some batches with the first network, then as many with the next, as in trainings one after another."""

    def train() -> None:
        for training in trainings:
            for _ in range(BATCHES):
                training()

    return Training(train, [net for training in trainings for net in training.networks], trainings[0].data)


def difference(one: Training, other: Training) -> float:
    """Run each once and return the norm of the difference of their changes, over the norm of the change.

    Both must have trained on the same number of batches before. The weights are put back afterwards.
    """
    before, theirs = one.weights(), other.weights()
    one()
    other()
    first = [now - then for now, then in zip(one.weights(), before, strict=True)]
    second = [now - then for now, then in zip(other.weights(), theirs, strict=True)]
    one.restore(before)
    other.restore(theirs)
    apart = sum(float((a - b).double().square().sum()) for a, b in zip(first, second, strict=True))
    return (apart / sum(float(change.double().square().sum()) for change in second)) ** 0.5
