"""One training step: rules of `bdfa`, by module and by fast path, against autograd BP and BioTorch.

The network is 784-800-800-10, tanh, bce, batch 64, float32. Rows "5 seeds at once" (also of 784-400-400-10 and
784-100-100-10) train five networks on the same eight batches, the other side one network after the other, so that
their ratio is that of the times per seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from benchmarks import environments
from benchmarks.cases import Call, Case, Floor, Growth, Settings, Unequal, Work
from benchmarks.remote import Remote

BATCH, SEEDS, BATCHES = 64, 5, 8
PACKAGES = ("torch", "bdfa")
TOLERANCE = 1e-2  # of the change of the weights; RMSprop turns gradients near 0 into steps of full length
OPTIMISERS = ("sgd", "rmsprop")


def products(width: int, bp: bool) -> float:
    """Return the operations of a step's matrix products: forward, weight gradients, and bp's hidden signals."""
    sizes = (784, width, width, 10)
    forward = sum(2 * BATCH * a * b for a, b in itertools.pairwise(sizes))
    hidden = sum(2 * BATCH * a * b for a, b in itertools.pairwise(sizes[1:]))
    return 2 * forward + (hidden if bp else 2 * BATCH * 10 * 2 * width)


def cases(settings: Settings) -> list[Case]:
    """List the cases."""
    found: list[Case] = []

    def case(
        engine: str, peer: str, build: Callable[[], Work], name: str = "784-800-800-10", guarded: bool = False
    ) -> None:
        title = f"{name} batch {BATCH} {settings.device}"
        found.append(Case("bdfa", title, engine, peer, build, repeats=15, packages=PACKAGES, guarded=guarded))

    for name in OPTIMISERS:
        bp = f"bp autograd {name}"
        for rule, ours in (("dfa", False), ("bdfa", False), ("dfa", True)):
            engine = f"{rule} FeedbackModel {'own ' if ours else ''}{name}"
            case(engine, bp, by_module(rule, ours, name, settings))
        for rule in ("bp", "fa", "dfa", "bdfa", "bfa"):
            case(
                f"{rule} FastMLP {name}",
                bp,
                by_fast_path(rule, name, settings, "autograd"),
                guarded=rule != "fa",
            )
        case(f"dfa FastMLP {name}", f"bp FastMLP {name}", by_fast_path("dfa", name, settings, "bp"))
        case(f"bdfa FastMLP {name}", f"dfa FastMLP {name}", by_fast_path("bdfa", name, settings, "dfa"))
        case(f"dfa FastMLP {name}", f"BioTorch dfa {name}", against_biotorch(name, settings))
    for width in (800, 400, 100):
        title = f"784-{width}-{width}-10, {SEEDS} networks {BATCHES} batches,"
        for name in OPTIMISERS:
            engine = f"dfa FastMLP {name}, {SEEDS} seeds at once"
            for kind in ("FastMLP", "FeedbackModel"):
                guarded = kind == "FastMLP" and width == 100
                case(
                    engine,
                    f"five {kind} {name} one by one",
                    seeds_at_once(width, name, kind, settings),
                    title,
                    guarded,
                )
    return found


def equal(what: str, ours: Any, theirs: Any) -> str:
    """Compare one training step of both.

    Raises:
        Unequal: The weights change differently.
    """
    from benchmarks.programs.bdfa import difference

    error = difference(ours, theirs)
    if not error < TOLERANCE:
        raise Unequal(f"the weights change differently from {what}, by {error:.1e} of the change")
    return f"changes of the weights equal to {error:.0e} with {what}"


def by_module(rule: str, ours: bool, optimiser: str, settings: Settings) -> Callable[[], Work]:
    """A rule by `FeedbackModel` against back-propagation by autograd."""

    def build() -> Work:
        import torch

        from benchmarks.programs.bdfa import eager, fast, module

        device = torch.device(settings.device)
        mine = module(rule, optimiser, device, ours)

        def proof() -> str:
            if ours or optimiser == "sgd":  # PyTorch's RMSprop is not the package's
                return (
                    equal("FastMLP", module(rule, optimiser, device, ours), fast(rule, optimiser, device))
                    + ", another rule than bp"
                )
            return "another rule than bp, PyTorch's RMSprop on both sides"

        return Work(mine, eager(optimiser, device), proof, Floor(products(800, bp=False)))

    return build


def by_fast_path(rule: str, optimiser: str, settings: Settings, other: str) -> Callable[[], Work]:
    """A rule by `FastMLP` against autograd, or against another rule of it."""

    def build() -> Work:
        import torch

        from benchmarks.programs.bdfa import eager, fast, module

        device = torch.device(settings.device)
        theirs = eager(optimiser, device) if other == "autograd" else fast(other, optimiser, device)

        def proof() -> str:
            if rule == "bp" and optimiser == "sgd":
                return equal("autograd", fast(rule, optimiser, device), eager(optimiser, device))
            same = equal(
                "FeedbackModel", fast(rule, optimiser, device), module(rule, optimiser, device, ours=True)
            )
            return (
                same
                if rule == "bp"
                else f"{same}, another rule than {'bp' if other == 'autograd' else other}"
            )

        return Work(
            fast(rule, optimiser, device), theirs, proof, Floor(products(800, bp=rule not in ("dfa", "bdfa")))
        )

    return build


def against_biotorch(optimiser: str, settings: Settings) -> Callable[[], Work]:
    """DFA by `FastMLP` against BioTorch's."""

    def build() -> Work:
        import torch

        from benchmarks.programs.bdfa import fast

        python = environments.python("biotorch")
        theirs = Remote(
            python, "benchmarks.peers.biotorch_dfa:step", {"optimiser": optimiser, "device": settings.device}
        )
        ours = fast("dfa", optimiser, torch.device(settings.device))

        def proof() -> str:
            mine, other = sum(w.numel() for w in ours.weights()), int(theirs()["weights"])
            if mine != other:
                raise Unequal(f"{mine} weights and {other}")
            return f"same rule and {mine} weights; its feedback is its own"

        return Work(ours, theirs, proof, Floor(products(800, bp=False)), theirs.close)

    return build


def seeds_at_once(width: int, optimiser: str, kind: str, settings: Settings) -> Callable[[], Work]:
    """Five seeds of dfa as one batched program against the same five one after another."""

    def build() -> Work:
        import torch

        from benchmarks.programs.bdfa import fast, module, repeated

        device, sizes, seeds = torch.device(settings.device), (width, width), range(SEEDS)

        def alone() -> Any:
            if kind == "FastMLP":
                return repeated(*(fast("dfa", optimiser, device, [seed], sizes) for seed in seeds))
            return repeated(*(module("dfa", optimiser, device, sizes=sizes, seed=seed) for seed in seeds))

        def together() -> Any:
            return repeated(fast("dfa", optimiser, device, seeds, sizes))

        def proof() -> str:
            if kind == "FeedbackModel" and optimiser == "rmsprop":
                return "same rule, networks and batches; PyTorch's RMSprop against the package's"
            return equal(f"five {kind}", together(), alone())

        work = Floor(SEEDS * BATCHES * products(width, bp=False))
        return Work(together(), alone(), proof, work)

    return build


def growth(settings: Settings) -> list[Growth]:
    """List the curves: depth, batch and seeds."""

    def trained(rule: str, engine: str, sizes: tuple[int, ...], batch: int, seeds: int) -> Call:
        import bdfa
        import torch

        device = torch.device(settings.device)
        random = torch.Generator().manual_seed(0)
        images = torch.rand(batch, 784, generator=random).to(device)
        labels = torch.randint(0, 10, (batch,), generator=random).to(device)
        networks = []
        for seed in range(seeds):
            net = bdfa.mlp(784, sizes, 10)
            bdfa.initialise(net, zero="uniform", seed=seed)
            networks.append(net.to(device))
        models = [bdfa.FeedbackModel(net, rule, seed=seed) for seed, net in enumerate(networks)]
        if engine == "FastMLP":
            trainer = bdfa.FastMLP(models, lr=1e-4, batch_size=batch)
            return lambda: trainer.step(images, labels)
        criterion, stepper = bdfa.Criterion("bce"), torch.optim.SGD(networks[0].parameters(), lr=1e-4)

        def step() -> None:
            stepper.zero_grad()
            criterion(models[0](images, labels=labels), labels).backward()
            stepper.step()

        return step

    curves = []
    for rule, engine in (("bp", "FeedbackModel"), ("dfa", "FeedbackModel"), ("dfa", "FastMLP")):
        what = f"{rule} {engine} sgd"
        curves.append(
            Growth(
                "bdfa",
                f"{what}, width 240, batch 64",
                "depth",
                (2, 4, 8, 16, 32),
                lambda n, rule=rule, engine=engine: trained(rule, engine, (240,) * n, 64, 1),
                PACKAGES,
            )
        )
        curves.append(
            Growth(
                "bdfa",
                f"{what}, 784-800-800-10",
                "batch",
                (16, 64, 256, 1024),
                lambda n, rule=rule, engine=engine: trained(rule, engine, (800, 800), n, 1),
                PACKAGES,
            )
        )
    curves.append(
        Growth(
            "bdfa",
            "dfa FastMLP sgd, 784-100-100-10, batch 64",
            "seeds",
            (1, 2, 4, 8, 16),
            lambda n: trained("dfa", "FastMLP", (100, 100), 64, n),
            PACKAGES,
        )
    )
    return curves
