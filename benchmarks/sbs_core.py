"""The SbS kernel against its plain-torch reference: the V1 MNIST stack, batch 24, 1200 spikes per position.

    python benchmarks/sbs_core.py [--spikes 1200] [--batch 24] [--repeats 3] [--results FILE]

Both sides draw the same spikes from the same seed, and their outputs are compared before anything is timed.
Rows: forward and forward + backward with one thread, forward with two threads against one thread, and forward per
instruction set against the plainest one.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from reprokit import bench
from sbs import SbSLayer, TimeCourse, mixed
from sbs.engines import kernel
from torch import Tensor, nn

STACK = [  # channels, neurons, input, kernel, pooling
    (2, 32, 24, 5, False),
    (32, 32, 20, 2, True),
    (32, 64, 10, 5, False),
    (64, 64, 6, 2, True),
    (64, 1024, 3, 3, False),
    (1024, 10, 1, 1, False),
]


def build(spikes: int) -> nn.Sequential:
    torch.manual_seed(0)
    course = TimeCourse("cooldown", spikes * 5 // 6, 25.0)
    layers = [
        SbSLayer(
            channels,
            neurons,
            size,
            width,
            spikes,
            course,
            is_pooling_layer=pooling,
            strides=width if pooling else 1,
        )
        for channels, neurons, size, width, pooling in STACK
    ]
    return nn.Sequential(*layers)


def images(batch: int) -> tuple[Tensor, Tensor]:
    grey = torch.rand(batch, 1, 24, 24)
    on_off = torch.cat([(1 - 2 * grey).clamp(min=0), (2 * grey - 1).clamp(min=0)], 1)
    return on_off, torch.randint(0, 10, (batch,))


def with_engine(network: nn.Sequential, engine: kernel.Engine, threads: int = 1) -> None:
    for layer in network:
        assert isinstance(layer, SbSLayer)
        layer.engine = engine
        layer.number_of_cpu_processes = threads


def forward(
    network: nn.Sequential, inputs: Tensor, engine: kernel.Engine, threads: int = 1
) -> Callable[[], Tensor]:
    def run() -> Tensor:
        with_engine(network, engine, threads)
        torch.manual_seed(1)
        with torch.no_grad():
            return network(inputs)

    return run


def training(
    network: nn.Sequential, inputs: Tensor, labels: Tensor, engine: kernel.Engine
) -> Callable[[], None]:
    def run() -> None:
        with_engine(network, engine)
        torch.manual_seed(1)
        network.zero_grad()
        mixed(network(inputs), labels).backward()

    return run


def one_instruction_set(
    network: nn.Sequential, inputs: Tensor, spikes: int, isa: kernel.Isa
) -> Callable[[], Tensor]:
    def run() -> Tensor:
        h = inputs
        for layer in network:
            assert isinstance(layer, SbSLayer)
            call = kernel.Call(
                layer.geometry, layer.epsilon_t[:spikes], 1.0, layer.h_initial, seed=1, isa=isa
            )
            call = dataclasses.replace(call, one_hot=layer.is_pooling_layer)
            h = kernel.infer(h, layer.weights.detach(), layer.epsilon_xy.detach(), call)[0].permute(
                0, 3, 1, 2
            )
        return h

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--spikes", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=bench.RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    network, (inputs, labels) = build(options.spikes), images(options.batch)
    ours, theirs = (forward(network, inputs, engine) for engine in ("kernel", "reference"))
    difference = float((ours() - theirs()).abs().max())
    print(f"largest difference of the output: {difference:.1e}")
    assert difference < 1e-3  # layer by layer equal to 1e-7; a later spike may flip on such a difference
    case = f"V1 MNIST stack, batch {options.batch}, {options.spikes} spikes"
    fast, slow = f"kernel {kernel.kernel_instructions()}", "torch reference"
    two, one = forward(network, inputs, "kernel", 2), forward(network, inputs, "kernel", 1)
    assert torch.equal(two(), one())
    rows = [
        (f"{case}, forward", fast, slow, ours, theirs, 1, options.repeats),
        (
            f"{case}, forward + backward", fast, slow,
            training(network, inputs, labels, "kernel"), training(network, inputs, labels, "reference"), 1,
            options.repeats,
        ),
        (f"{case}, forward, two threads against one", fast, f"{fast}, 1 thread", two, one, 2, 15),
    ]  # fmt: skip
    plainest = one_instruction_set(network, inputs, options.spikes, "portable")
    for isa in kernel.all_instructions()[:-1]:
        run = one_instruction_set(network, inputs, options.spikes, isa)
        assert torch.equal(run(), plainest())
        rows.append(
            (f"{case}, forward, instruction sets", f"kernel {isa}", "kernel portable", run, plainest, 1, 7)
        )
    for name, engine, peer, mine, other, threads, repeats in rows:
        print(
            bench.compare(
                "sbs", name, engine, peer, mine, other, threads=threads, repeats=repeats, results=options.results,
                packages=("torch",),
            )
        )  # fmt: skip


if __name__ == "__main__":
    main()
