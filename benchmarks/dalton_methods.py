"""Training steps of dalton: every method and setting by the compiled engine, against PyTorch and three libraries.

    python benchmarks/dalton_methods.py [--arch A1 A3] [--downsample maxpool] [--repeats 7] [--threads 1] [--out FILE]
                                        [--device cuda]

A step is one batch of 50 MNIST images, 40 time-steps, Adam included; online and rtrl take 40 updates. Each method is
timed in turn with the torch engine (the same formulas in PyTorch), with plain autograd through ``network(images)``
for surrgd, and against surrogate-gradient training of the same-shaped network in snnTorch, Norse and SpikingJelly;
libraries that are not installed are left out with a sentence:

    pip install snntorch norse spikingjelly

No library has a local rule of this kind, so dalton and tfr are compared with the libraries' surrogate gradients too.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dalton
import numpy as np
import torch
from dalton_peers import NAMES, peer_step
from reprokit import UserError, bench, load_images
from torch import Tensor
from torch.nn import functional as F
from torch_steps import Step, waiting

BATCH, STEPS = 50, 40
RULES = (
    ("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "online"),
    ("dalton", "rtrl"), ("tfr", "rtrl"),
)  # fmt: skip
PACKAGES = ("dalton", "torch", "numpy")
Batches = Callable[[], tuple[Tensor, Tensor]]


def images() -> tuple[str, np.ndarray, np.ndarray]:
    """Return MNIST where a mirror or a cache has it, else the embedded digits enlarged to 28 x 28."""
    os.environ.setdefault("REPROKIT_OFFLINE", "1")
    try:
        train = load_images("mnist").train
        return "MNIST", train.images[:1000], train.labels[:1000]
    except UserError as error:
        print(f"MNIST is not available ({error}); the embedded digits stand in.")
    small = load_images("digits").train
    large = np.kron(small.images[:1000], np.ones((1, 1, 3, 3), np.uint8))
    return "enlarged digits", np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2))), small.labels[:1000]


def in_turn(pixels: np.ndarray, labels: np.ndarray, device: torch.device) -> Batches:
    """Return a function that gives one batch after the other, so that no step repeats the one before."""
    x = torch.from_numpy(pixels.astype(np.float32) / pixels.max()).to(device)
    y = torch.from_numpy(labels.astype(np.int64)).to(device)
    turn = iter(range(10**9))

    def batches() -> tuple[Tensor, Tensor]:
        first = next(turn) * BATCH % (len(x) - BATCH + 1)
        return x[first : first + BATCH], y[first : first + BATCH]

    return batches


class Bench:
    """One architecture on one kind of image.

    Args:
        arch: Its name.
        options: The command line's.
    """

    def __init__(self, arch: str, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        name, pixels, labels = images()
        shape = arch if options.downsample == "avgpool" else f"{arch} {options.downsample}"
        self.case = f"{name} {shape}, batch {BATCH}, {STEPS} steps"
        if self.device.type != "cpu":
            self.case += f", {torch.cuda.get_device_name(self.device)}"
        self.arch = arch
        self.batches = in_turn(pixels, labels, self.device)

    def network(self) -> dalton.SpikingCNN:
        """Return the same network every time."""
        network = dalton.SpikingCNN(self.arch, (1, 28, 28), seed=0, downsample=self.options.downsample)
        return network.to(self.device)

    def ours(self, method: Any, setting: Any, engine: Any) -> Step:
        """Return a training step of ours."""
        network, stream = self.network(), torch.Generator().manual_seed(0)
        optimizer = torch.optim.Adam(dalton.trainable(network, method).values(), lr=1e-3)

        def step() -> None:
            dalton.train_step(
                method, network, optimizer, *self.batches(), STEPS, setting, burn_in=0, generator=stream,
                engine=engine,
            )  # fmt: skip

        return waiting(step, self.device)

    def autograd(self) -> Step:
        """Return surrgd as plain autograd through the module."""
        network = self.network()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

        def step() -> None:
            inputs, labels = self.batches()
            optimizer.zero_grad()
            outputs = network(inputs, STEPS)
            (outputs - F.one_hot(labels, 10).to(outputs.dtype)).square().mean().backward()
            optimizer.step()

        return waiting(step, self.device)

    def pair(self, engine: str, ours: Step, peer: str, theirs: Step) -> None:
        """Time two steps in turn and print and record them."""
        packages = (*PACKAGES, *([peer.split()[0]] if peer.split()[0] in NAMES else []))
        found = bench.compare(
            "dalton", self.case, engine, peer, ours, theirs, threads=torch.get_num_threads(),
            repeats=self.options.repeats, results=self.options.out, packages=packages,
        )  # fmt: skip
        print(
            f"{self.case}: {engine:22s} {found.ours_seconds:7.4f} s   {peer:32s} {found.peer_seconds:7.4f} s   "
            f"{found.ratio:5.2f}x",
            flush=True,
        )


def measure(arch: str, options: argparse.Namespace) -> None:
    """Compare all methods of one architecture."""
    work = Bench(arch, options)
    engine = "native" if work.device.type == "cpu" and dalton.kernel_available() else "torch"
    steps = {rule: work.ours(*rule, engine) for rule in RULES if rule[1] != "rtrl" or arch in options.rtrl}
    if engine == "native":
        for (method, setting), step in steps.items():
            label = f"{method} {setting}"
            if setting != "rtrl":
                work.pair(
                    f"native {label}", step, f"torch engine, {label}", work.ours(method, setting, "torch")
                )
            else:
                work.pair(f"native {label}", step, f"native {method} online", steps[method, "online"])
    work.pair(f"{engine} surrgd bptt", steps["surrgd", "bptt"], "autograd, surrgd bptt", work.autograd())
    for method in ("dalton", "tfr"):
        work.pair(
            f"{engine} {method} bptt", steps[method, "bptt"], f"{engine} surrgd bptt", steps["surrgd", "bptt"]
        )
    for name in NAMES:
        peer = peer_step(name, work.network(), work.batches, STEPS)
        if peer is None:
            print(f"{name}: left out, it is not installed.")
            continue
        for rule in (("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt")):
            work.pair(f"{engine} {' '.join(rule)}", steps[rule], peer[0], waiting(peer[1], work.device))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", nargs="+", default=["A1", "A3"])
    parser.add_argument("--downsample", default="avgpool", help="avgpool, maxpool or stride")
    parser.add_argument("--rtrl", nargs="*", default=["A1"], help="architectures on which rtrl is timed too")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=bench.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", module=r"snntorch|norse|spikingjelly")
    for arch in options.arch:
        measure(arch, options)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
