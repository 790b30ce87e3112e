"""NALSM: the compiled event-driven engine against our PyTorch reference and against Brian 2, and a network of 8000.

Samples of 250 ms on a liquid of 1000 neurons: `plastic` from weights that a NALSM initialisation phase reached,
`static` with |w| = 0.9. All sides see the same events. In Brian 2 STDP is the plain pair rule, with our engine set to
the same rule; it applies the depressing and the potentiating term one after another, where NALSM adds both. Our times
include drawing the events; Brian 2 is given them, and all samples are one run of it, so that its start-up is paid
once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks import environments
from benchmarks.cases import Call, Case, Floor, Growth, Settings, Unequal, Work, curves
from benchmarks.remote import Remote

SAMPLES, DURATION, PRESENTATIONS, LARGE_PRESENTATIONS = 16, 250, 10_000, 2_000
LARGE = (20, 20, 20)
EQUAL = 0.999  # share of spike counts that must be equal; ties of floating point may fall on either side
CLOSE = 0.05  # share by which all spikes may differ where two rules round and clip in another order
PACKAGES = ("nalsm", "torch", "numpy")


def cases(settings: Settings) -> list[Case]:
    """List the cases."""
    del settings
    found = []
    base = f"1000 neurons, {SAMPLES} mnist samples of {DURATION} ms"
    for kind in ("plastic", "static"):
        for threads in (1, 2):
            found.append(
                Case(
                    "nalsm",
                    f"{base}, {kind}",
                    "events",
                    "torch reference",
                    against_reference(kind, threads),
                    threads,
                    5,
                    PACKAGES,
                    guarded=threads == 1,
                )
            )
        rule = "pair-STDP" if kind == "plastic" else kind
        found.append(
            Case(
                "nalsm",
                f"{base}, {rule}",
                "events",
                f"Brian {environments.pinned('brian2')}",
                against_brian(kind, rule),
                1,
                5,
                ("nalsm", "numpy"),
            )
        )
    found.append(
        Case(
            "nalsm",
            f"8000 neurons, {SAMPLES} mnist samples of {DURATION} ms, plastic",
            "events",
            "events, 1 thread",
            large,
            2,
            5,
            PACKAGES,
        )
    )
    return found


def agreement(ours: Any, theirs: Any, least: float = EQUAL) -> str:
    """Say how many spike counts are equal.

    Raises:
        Unequal: Too few, and the sums differ by more than `CLOSE` where `least` is 0.
    """
    import numpy as np

    share, mine, other = float(np.mean(ours == theirs)), int(ours.sum()), int(theirs.sum())
    words = f"{share:.2%} of spike counts equal, {mine} and {other} spikes"
    if share < least or abs(mine - other) > CLOSE * other:
        raise Unequal(words)
    return words


def named(liquids: Any, title: str) -> str:
    """Return the name of the case if other images stand in for MNIST."""
    return "" if liquids.data_name == "mnist" else title.replace("mnist", liquids.data_name)


def against_reference(kind: str, threads: int) -> Callable[[], Work]:
    """The events engine against the reference in PyTorch."""

    def build() -> Work:
        from nalsm import Simulator

        from benchmarks.programs.nalsm import Liquids

        liquids = Liquids(SAMPLES, PRESENTATIONS)
        weights, rule = liquids.weights(kind), liquids.rules[kind]
        engine, reference = (Simulator(liquids.network, engine=name) for name in ("events", "torch"))

        def ours() -> Any:
            return engine.present_independent(liquids.source, weights, rule, threads=threads).counts

        def theirs() -> Any:
            return reference.present_independent(liquids.source, weights, rule).counts

        title = f"1000 neurons, {SAMPLES} mnist samples of {DURATION} ms, {kind}"
        floor = Floor(2 * liquids.visits(ours(), kind == "plastic") / threads)
        return Work(ours, theirs, lambda: agreement(ours(), theirs()), floor, name=named(liquids, title))

    return build


def against_brian(kind: str, rule_name: str) -> Callable[[], Work]:
    """The events engine against Brian 2, whose runtime mode has one thread."""

    def build() -> Work:
        python = environments.python("brian2")
        import numpy as np
        from nalsm import Simulator

        from benchmarks.programs.nalsm import Liquids

        liquids = Liquids(SAMPLES, PRESENTATIONS)
        network, weights, rule = liquids.network, liquids.weights(kind), liquids.rules[rule_name]
        events, active = liquids.source.events(DURATION), network.active
        cells = np.repeat(np.arange(events.first[:, :-1].size), np.diff(events.first, axis=1).ravel())
        sample, time_ms = np.divmod(cells, DURATION)
        numbers = {
            "excitatory": network.excitatory,
            "liquid": network.liquid,
            "inputs": network.inputs,
            "plastic": kind != "static",
            "duration": DURATION,
            "samples": len(events),
        }
        theirs = Remote(
            python,
            "benchmarks.peers.brian2_liquid:present",
            {
                **{name: np.array(value) for name, value in numbers.items()},
                "weight": weights,
                "pre": network.pre[active],
                "post": network.post[active],
                "channel": events.channels,
                "time": sample * DURATION + time_ms,
            },
        )
        engine = Simulator(network, engine="events")

        def ours() -> Any:
            return engine.present_independent(liquids.source, weights, rule).counts

        title = f"1000 neurons, {SAMPLES} mnist samples of {DURATION} ms, {rule_name}"
        floor = Floor(2 * liquids.visits(ours(), kind == "plastic"))
        return Work(
            ours,
            theirs,
            lambda: agreement(ours(), theirs()["counts"], EQUAL if kind == "static" else 0.0),
            floor,
            theirs.close,
            named(liquids, title),
        )

    return build


def large() -> Work:
    """8000 plastic neurons with two threads against one."""
    from nalsm import Simulator

    from benchmarks.programs.nalsm import Liquids

    liquids = Liquids(SAMPLES, LARGE_PRESENTATIONS, LARGE, astrocyte_weight=0.0075)
    engine, weights, rule = (
        Simulator(liquids.network, engine="events"),
        liquids.weights("plastic"),
        liquids.rules["plastic"],
    )

    def presented(threads: int) -> Callable[[], Any]:
        return lambda: engine.present_independent(liquids.source, weights, rule, threads=threads).counts

    two, one = presented(2), presented(1)
    title = f"8000 neurons, {SAMPLES} mnist samples of {DURATION} ms, plastic"
    return Work(two, one, lambda: agreement(two(), one(), 1.0), name=named(liquids, title))


def growth(settings: Settings) -> list[Growth]:
    """List the curves: neurons, time-steps, batch and threads, static and plastic liquids."""
    del settings

    def made(
        kind: str, *, neurons: int = 1000, time_steps: int = DURATION, batch: int = 8, threads: int = 1
    ) -> Call:
        import numpy as np
        from nalsm import NetworkSpec, Simulator, generate

        from benchmarks.programs.nalsm import RULES, STATIC_WEIGHT, images

        data, side = images(), round((neurons / 10) ** 0.5)
        network = generate(NetworkSpec((side, side, 10), data.inputs, seed=1))
        weights, engine = network.start_weights(STATIC_WEIGHT), Simulator(network, engine="events")
        source = data.source("train", np.arange(batch), 7)
        return lambda: engine.present_independent(
            source, weights, RULES[kind], duration=time_steps, threads=threads
        )

    return [
        curve
        for kind in ("static", "plastic")
        for curve in curves(
            "nalsm", PACKAGES, made,
            (f"{kind}, 8 samples of 250 ms, layers of 10", "neurons", (490, 1000, 1960, 4000), {"kind": kind}),
            (f"{kind}, 1000 neurons, 8 samples", "time-steps", (125, 250, 500, 1000), {"kind": kind}),
            (f"{kind}, 1000 neurons, 250 ms", "batch", (4, 8, 16, 32, 64), {"kind": kind}),
            (f"{kind}, 1000 neurons, 16 samples of 250 ms", "threads", (1, 2), {"kind": kind, "batch": 16}),
        )
    ]  # fmt: skip
