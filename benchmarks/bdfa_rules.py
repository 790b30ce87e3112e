"""Time of one training step: rules of `bdfa`, by module and by fast path, against autograd BP and BioTorch.

The network is 784-800-800-10, tanh, bce, batch 64, float32. Every row of ``benchmarks/results.csv`` is a pair
timed in turn in this run; ``ours / peer`` below is the ratio of the medians. Rows "5 seeds at once" (also of
784-400-400-10 and 784-100-100-10) train five networks on the same eight batches, the peer one network after the
other, so their ratio is that of the times per seed. BioTorch is measured when it can be imported
(``pip install --no-deps biotorch==0.0.16``).

Usage: python benchmarks/bdfa_rules.py [--threads 1] [--repeats 15] [--only-seeds] [--results FILE]
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import bdfa
import torch
from reprokit import UserError, bench
from torch import nn
from torch_steps import Step, waiting

BATCH, SIZES, CLASSES, LR = 64, (800, 800), 10, 1e-4
SEEDS, BATCHES = 5, 8  # networks, and batches of one timing, when several are trained
Pair = Callable[..., None]
PACKAGES = ("torch", "bdfa")


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
    net = bdfa.mlp(784, sizes, CLASSES)
    bdfa.initialise(net, zero="uniform", seed=seed)
    return net.to(device)


def pytorch_optimiser(name: str, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    kinds = {"sgd": torch.optim.SGD, "rmsprop": torch.optim.RMSprop, "adam": torch.optim.Adam}
    return kinds[name](parameters, lr=LR)


def eager(optimiser: str, data: Data, device: torch.device, sizes: tuple[int, ...] = SIZES) -> Step:
    """Back-propagation as everybody writes it."""
    net, criterion = network(device, sizes), nn.BCEWithLogitsLoss(reduction="sum")
    stepper = pytorch_optimiser(optimiser, list(net.parameters()))

    def step() -> None:
        images, labels = data.next()
        stepper.zero_grad()
        criterion(net(images), nn.functional.one_hot(labels, CLASSES).float()).backward()
        stepper.step()

    return waiting(step, device)


def module(
    rule: str,
    optimiser: str,
    data: Data,
    device: torch.device,
    ours: bool = False,
    sizes: tuple[int, ...] = SIZES,
    seed: int = 0,
) -> Step:
    """`FeedbackModel` with plain ``loss.backward()``; PyTorch's optimiser, or (`ours`) the package's."""
    model, criterion = bdfa.FeedbackModel(network(device, sizes, seed), rule), bdfa.Criterion("bce")
    parameters = model.forward_parameters()
    stepper = (
        bdfa.make_optimiser(optimiser, parameters, lr=LR)
        if ours
        else pytorch_optimiser(optimiser, parameters)
    )

    def step() -> None:
        images, labels = data.next()
        stepper.zero_grad()
        criterion(model(images, labels=labels), labels).backward()
        stepper.step()

    return waiting(step, device)


def fast(
    rule: str,
    optimiser: str,
    data: Data,
    device: torch.device,
    seeds: Iterable[int] = (0,),
    sizes: tuple[int, ...] = SIZES,
) -> Step:
    """`FastMLP`, one network or several at once."""
    models = [bdfa.FeedbackModel(network(device, sizes, seed), rule, seed=seed) for seed in seeds]
    trainer = bdfa.FastMLP(models, optimiser=optimiser, lr=LR, check=device.type == "cpu")
    return waiting(lambda: trainer.step(*data.next()), device)


def repeated(*steps: Step) -> Step:
    """Some batches with the first network, then as many with the next, as in trainings one after another."""

    def train() -> None:
        for step in steps:
            for _ in range(BATCHES):
                step()

    return train


def biotorch(optimiser: str, data: Data, device: torch.device) -> Step | None:
    """BioTorch's DFA through its own wrapper, which takes the targets and the loss."""
    try:
        wrapper = importlib.import_module("biotorch.module.biomodule").BioModule
    except ImportError:
        return None
    with contextlib.redirect_stdout(io.StringIO()):
        model = wrapper(network(device), mode="dfa", output_dim=CLASSES).to(device)
    criterion = nn.BCEWithLogitsLoss(reduction="sum")
    stepper = pytorch_optimiser(optimiser, list(model.parameters()))

    def step() -> None:
        images, labels = data.next()
        target = nn.functional.one_hot(labels, CLASSES).float()
        stepper.zero_grad()
        criterion(model(images, target, criterion), target).backward()
        stepper.step()

    return waiting(step, device)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only-seeds", action="store_true", help="only the rows of several networks")
    parser.add_argument("--results", type=Path, default=Path(__file__).with_name("results.csv"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    warnings.filterwarnings("ignore", message=".*full_backward_hook.*")
    warnings.filterwarnings("ignore", message=".*non-full backward hooks.*")
    data = Data(device)

    def pair(engine: str, ours: Step, peer: str, theirs: Step | None, case: str = "784-800-800-10") -> None:
        if theirs is None:
            print(f"{engine:32s} {peer}: not measured, it cannot be imported")
            return
        found = bench.compare(
            "bdfa", f"{case} batch {BATCH} {options.device}", engine, peer, ours, theirs, threads=options.threads,
            repeats=options.repeats, results=options.results, packages=PACKAGES,
        )  # fmt: skip
        print(
            f"{engine:32s} {found.ours_seconds * 1e3:8.3f} ms   {peer:32s} "
            f"{found.peer_seconds * 1e3:8.3f} ms   ours / peer {found.ours_seconds / found.peer_seconds:.3f}"
        )

    if not options.only_seeds:
        single_networks(pair, data, device)
    several_networks(pair, data, device)


def single_networks(pair: Pair, data: Data, device: torch.device) -> None:
    """One network: the rules by module and fast path against autograd, each other and BioTorch."""
    for name in ("sgd", "rmsprop"):
        bp = eager(name, data, device)
        pair(f"dfa FeedbackModel {name}", module("dfa", name, data, device), f"bp autograd {name}", bp)
        pair(f"bdfa FeedbackModel {name}", module("bdfa", name, data, device), f"bp autograd {name}", bp)
        pair(
            f"dfa FeedbackModel own {name}",
            module("dfa", name, data, device, True),
            f"bp autograd {name}",
            bp,
        )
        for rule in ("bp", "fa", "dfa", "bdfa", "bfa"):
            pair(f"{rule} FastMLP {name}", fast(rule, name, data, device), f"bp autograd {name}", bp)
        dfa = fast("dfa", name, data, device)
        pair(f"dfa FastMLP {name}", dfa, f"bp FastMLP {name}", fast("bp", name, data, device))
        pair(f"bdfa FastMLP {name}", fast("bdfa", name, data, device), f"dfa FastMLP {name}", dfa)
        pair(f"dfa FastMLP {name}", dfa, f"BioTorch dfa {name}", biotorch(name, data, device))


def several_networks(pair: Pair, data: Data, device: torch.device) -> None:
    """Five seeds of dfa as one batched program against the same five one after another."""
    seeds = range(SEEDS)
    for width in (800, 400, 100):
        sizes, case = (width, width), f"784-{width}-{width}-10, {SEEDS} networks {BATCHES} batches,"
        for name in ("sgd", "rmsprop"):
            ours = repeated(fast("dfa", name, data, device, seeds, sizes))
            alone = [fast("dfa", name, data, device, [seed], sizes) for seed in seeds]
            modules = [module("dfa", name, data, device, sizes=sizes, seed=seed) for seed in seeds]
            engine = f"dfa FastMLP {name}, {SEEDS} seeds at once"
            pair(engine, ours, f"five FastMLP {name} one by one", repeated(*alone), case)
            pair(engine, ours, f"five FeedbackModel {name} one by one", repeated(*modules), case)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
