"""The SbS kernel against its plain-torch reference: the V1 MNIST stack, batch 24, 1200 spikes per position.

Both sides draw the same spikes from the same seed. Rows: forward and forward + backward with one thread, forward with
two threads against one, and forward per instruction set against the plainest one.
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.cases import Call, Case, Floor, Growth, LeftOut, Settings, Unequal, Work, curves
from benchmarks.machine import usable

BATCH, SPIKES = 24, 1200
PACKAGES = ("torch",)


def cases(settings: Settings, batch: int = BATCH, spikes: int = SPIKES) -> list[Case]:
    """List the cases; tests take smaller ones."""
    title, fast = f"V1 MNIST stack, batch {batch}, {spikes} spikes", f"kernel {settings.isa}"
    found = [
        Case(
            "sbs",
            f"{title}, forward",
            fast,
            "torch reference",
            forward(batch, spikes),
            repeats=3,
            packages=PACKAGES,
            guarded=True,
        ),
        Case(
            "sbs",
            f"{title}, forward + backward",
            fast,
            "torch reference",
            training(batch, spikes),
            repeats=3,
            packages=PACKAGES,
        ),
        Case(
            "sbs",
            f"{title}, forward, two threads against one",
            fast,
            f"{fast}, 1 thread",
            threads(batch, spikes),
            2,
            15,
            PACKAGES,
        ),
    ]
    for isa in [isa for isa in usable(settings.isa) if isa != "portable"][::-1]:
        found.append(
            Case(
                "sbs",
                f"{title}, forward, instruction sets",
                f"kernel {isa}",
                "kernel portable",
                instructions(isa, batch, spikes),
                packages=PACKAGES,
            )
        )
    return found


def forward(batch: int, spikes: int) -> Callable[[], Work]:
    """A forward pass against the reference."""

    def build() -> Work:
        from benchmarks.programs import sbs as programs

        network, (inputs, _) = programs.build(spikes), programs.images(batch)
        ours, theirs = (programs.forward(network, inputs, engine) for engine in ("kernel", "reference"))

        def proof() -> str:
            off = float((ours() - theirs()).abs().max())
            if not off < 1e-3:  # layer by layer equal to 1e-7; a later spike may flip on such a difference
                raise Unequal(f"the output differs by {off:.1e}")
            return f"output equal to {off:.0e}"

        return Work(ours, theirs, proof, Floor(programs.spikes_work(batch, spikes)))

    return build


def training(batch: int, spikes: int) -> Callable[[], Work]:
    """A forward and a backward pass against the reference."""

    def build() -> Work:
        from benchmarks.programs import sbs as programs

        network, (inputs, labels) = programs.build(spikes), programs.images(batch)
        ours, theirs = (
            programs.training(network, inputs, labels, engine) for engine in ("kernel", "reference")
        )

        def proof() -> str:
            (loss, gradient), (other_loss, other) = ours(), theirs()
            off, error = abs(loss - other_loss), float((gradient - other).norm() / other.norm())
            if not (off < 1e-3 and error < 1e-2):
                raise Unequal(f"the loss differs by {off:.1e}, the last layer's gradient by {error:.1e}")
            return f"loss equal to {off:.0e}, the last layer's gradient to {error:.0e}"

        return Work(ours, theirs, proof, Floor(programs.spikes_work(batch, spikes)))

    return build


def threads(batch: int, spikes: int) -> Callable[[], Work]:
    """A forward pass with two threads against one."""

    def build() -> Work:
        from benchmarks.programs import sbs as programs

        network, (inputs, _) = programs.build(spikes), programs.images(batch)
        two, one = (programs.forward(network, inputs, "kernel", n) for n in (2, 1))
        return Work(two, one, lambda: same(two, one))

    return build


def instructions(isa: str, batch: int, spikes: int) -> Callable[[], Work]:
    """A forward pass with one set of vector instructions against plain ones."""

    def build() -> Work:
        from sbs.engines import kernel

        from benchmarks.programs import sbs as programs

        if isa not in kernel.all_instructions():
            raise LeftOut(f"the kernel is not built for {isa}")
        network, (inputs, _) = programs.build(spikes), programs.images(batch)
        ours, plain = (
            programs.one_instruction_set(network, inputs, spikes, name) for name in (isa, "portable")
        )
        return Work(ours, plain, lambda: same(ours, plain))

    return build


def same(one: Call, other: Call) -> str:
    """Compare outputs bit for bit.

    Raises:
        Unequal: They differ.
    """
    import torch

    if not torch.equal(one(), other()):  # pyright: ignore[reportArgumentType]
        raise Unequal("the outputs differ")
    return "the same bits"


def growth(settings: Settings) -> list[Growth]:
    """List the curves: spikes, neurons, batch and threads, one layer of 3 x 3 patches; and the expected mode."""
    del settings

    def made(
        *,
        spikes: int = 400,
        neurons: int = 64,
        batch: int = 16,
        threads: int = 1,
        mode: str = "spikes",
        backward: bool = False,
    ) -> Call:
        import torch
        from sbs import SbSLayer, TimeCourse

        torch.manual_seed(0)
        layer = SbSLayer(8, neurons, 10, 3, spikes, TimeCourse("cooldown", spikes, 25.0), mode=mode)
        layer.number_of_cpu_processes = threads
        inputs = torch.rand(batch, 8, 10, 10)

        def run() -> object:
            if not backward:
                with torch.no_grad():
                    return layer(inputs)
            layer.zero_grad()
            return layer(inputs).square().sum().backward()

        return run

    base = "one layer of 8 x 8 positions"
    return curves(
        "sbs", PACKAGES, made,
        (f"{base}, 64 neurons, batch 16, forward", "spikes", (100, 200, 400, 800, 1600), {}),
        (f"{base}, 64 neurons, batch 16, forward + backward", "spikes", (100, 200, 400, 800, 1600), {"backward": True}),
        (f"{base}, 64 neurons, batch 16, expected, forward", "spikes", (25, 50, 100, 200, 400), {"mode": "expected"}),
        (f"{base}, 400 spikes, batch 16, forward", "neurons", (16, 64, 256, 1024), {}),
        (f"{base}, 64 neurons, 400 spikes, forward", "batch", (8, 16, 32, 64, 128), {}),
        (f"{base}, 64 neurons, 100 spikes, expected, forward", "batch", (4, 8, 16, 32, 64),
         {"spikes": 100, "mode": "expected"}),
        (f"{base}, 64 neurons, 400 spikes, batch 64, forward", "threads", (1, 2), {"batch": 64}),
    )  # fmt: skip
