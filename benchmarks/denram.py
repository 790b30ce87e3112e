"""DenRAM's engines and its layer in compiled programs: against plain JAX, PyTorch's convolution and spyx.

The networks of Fig. 4d have 64 samples, 150 steps of input and 200 of delay line; `tiny` (8 x 2 synapses for each of 3
outputs, 4 samples) shows what a call costs; `small` is 64 x 4 for 5 outputs and 16 samples; `middle` (64 x 8, 20
outputs, 16 samples) is the size at which the other programs end in reasonable time. spyx has no delays: a linear
layer and its leaky integrator over the same steps, as many weights, so much less work.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from benchmarks import environments
from benchmarks.cases import Call, Case, Floor, Growth, LeftOut, Settings, Unequal, Work, curves
from benchmarks.remote import Remote

DENSITY, TOLERANCE = 0.053, 1e-4
PACKAGES = ("jax", "jaxlib", "numpy")
TITLES = {  # of the rows; the density is the one that the seed gives
    "tiny": "layer 8x2x3 batch 4 forward+backward density 0.039",
    "small": "layer 64x4x5 batch 16 forward+backward density 0.052",
    "middle": "layer 64x8x20 batch 16 forward+backward density 0.052",
    "D2": "layer 256x16x20 batch 64 forward+backward density 0.053",
    "D1": "layer 700x16x20 batch 64 forward+backward density 0.053",
}


def cases(settings: Settings) -> list[Case]:
    """List the cases."""
    found = []
    for name, inputs in (("D2", 256), ("D1", 700)):
        density = "of the recordings" if settings.data else f"{DENSITY}"
        title = f"{inputs}x16 batch 64 forward+backward density {density}"
        for engine in ("events", "fft"):
            found.append(
                Case(
                    "denram",
                    title,
                    engine,
                    "plain jax",
                    engines(name, engine, settings),
                    repeats=5,
                    packages=("jax", "numpy"),
                    guarded=name == "D2" and engine == "events",
                )
            )
        found.append(
            Case(
                "denram",
                f"{title}, two threads against one",
                "events",
                "events, 1 thread",
                two_threads(name, settings),
                2,
                15,
                ("jax", "numpy"),
            )
        )
    peers: list[tuple[str, Callable[[str], Callable[[], Work]]]] = [
        ("DelayNetwork.loss_and_gradient", lambda size: layer(size, "imperative")),
        ("plain jax gather", lambda size: layer(size, "gather")),
        (f"torch {torch_version()} dense conv1d (DCLS form)", lambda size: layer(size, "convolution")),
        (f"spyx {environments.pinned('spyx')} LI, no delays", against_spyx),
    ]
    for size, title in TITLES.items():
        for peer, build in peers[:1] if size in ("D1", "D2") else peers:
            found.append(
                Case(
                    "denram",
                    title,
                    "layer (events)",
                    peer,
                    build(size),
                    packages=PACKAGES,
                    guarded=size == "small" and "gather" in peer,
                )
            )
    return found


def torch_version() -> str:
    """Return PyTorch's version, "(not installed)" without it."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return "(not installed)"


def compared(ours: Callable[[], tuple], theirs: Callable[[], tuple]) -> str:
    """Compare loss and gradient.

    Raises:
        Unequal: They differ.
    """
    import numpy as np

    (loss, gradient), (other_loss, other) = ours(), theirs()
    other, off = np.asarray(other), abs(float(loss) - float(other_loss))
    error = float(np.max(np.abs(np.asarray(gradient) - other)) / np.max(np.abs(other)))
    if not (error < TOLERANCE and off < TOLERANCE):
        raise Unequal(f"the loss differs by {off:.1e}, the gradient by {error:.1e} of its largest value")
    return f"loss equal to {off:.0e}, gradient to {error:.0e} of its largest value"


def engines(name: str, engine: str, settings: Settings) -> Callable[[], Work]:
    """One of the engines against the plain network."""

    def build() -> Work:
        from benchmarks.programs.denram_engines import Engines

        both = Engines(name, settings.data, DENSITY)
        ours, theirs = both.ours(engine), both.plain()
        spec, events = both.spec, float(both.events.dense().sum())
        taps = spec.n_out * spec.n_in * spec.n_delays
        # forward: every event meets each output's delays once; backward: two look-ups for each weight and sample
        floor = Floor(2 * events * spec.n_out * spec.n_delays + 4 * len(both.labels) * taps)
        return Work(ours, theirs, lambda: compared(ours, theirs), floor)

    return build


def two_threads(name: str, settings: Settings) -> Callable[[], Work]:
    """The event engine with two threads against one."""

    def build() -> Work:
        from benchmarks.programs.denram_engines import Engines

        both = Engines(name, settings.data, DENSITY)
        two, one = both.ours("events", 2), both.ours("events", 1)
        return Work(two, one, lambda: compared(two, one))

    return build


def layer(size: str, peer: str) -> Callable[[], Work]:
    """The layer in a compiled program against another program."""

    def build() -> Work:
        if peer == "convolution" and torch_version().startswith("("):
            raise LeftOut("torch is not installed")
        from benchmarks.programs import denram_layer as programs

        case = programs.make(size, DENSITY)
        ours, theirs = programs.layer(case), getattr(programs, peer)(case)
        return Work(ours, theirs, lambda: compared(ours, theirs))

    return build


def against_spyx(size: str) -> Callable[[], Work]:
    """The layer against a linear layer and integrator of spyx."""

    def build() -> Work:
        python = environments.python("spyx")
        from benchmarks.programs import denram_layer as programs

        case = programs.make(size, DENSITY)
        theirs = Remote(python, "benchmarks.peers.spyx_layer:step", {"size": size, "density": DENSITY})

        def proof() -> str:
            mine, other = case.weights[:, :-1].size, int(theirs()["weights"])
            if mine != other:
                raise Unequal(f"{mine} weights and {other}")
            return f"not the same work: {mine} weights and the same spikes, but no delays"

        return Work(programs.layer(case), theirs, proof, close=theirs.close)

    return build


def growth(settings: Settings) -> list[Growth]:
    """List the curves: delays, time-steps, channels and batch, forward and backward pass."""
    del settings

    def made(
        engine: str, batch: int = 16, channels: int = 64, delays: int = 8, time_steps: int = 150
    ) -> Call:
        import denram
        import numpy as np

        spec = denram.NetworkSpec(n_in=channels, n_delays=delays, n_out=20, steps_in=time_steps)
        rng, drawn = np.random.default_rng(0), denram.initialise(spec, 42)
        dense = np.zeros((batch, time_steps, channels), np.uint8)
        dense[:, 1:] = rng.random((batch, time_steps - 1, channels)) < DENSITY
        events, labels = denram.EventBatch.from_dense(dense), rng.integers(0, 20, batch)
        network = denram.DelayNetwork(drawn.delays, spec, engine=engine)
        return lambda: np.asarray(network.loss_and_gradient(drawn.weights, events, labels).gradient)

    return [
        curve
        for engine in ("events", "fft")
        for curve in curves(
            "denram", PACKAGES, made,
            (f"{engine}, 20 outputs, 64 channels, batch 16, 150 steps", "delays", (2, 4, 8, 16, 32),
             {"engine": engine}),
            (f"{engine}, 20 outputs, 64 channels, 8 delays, batch 16", "time-steps", (50, 100, 200, 400, 800),
             {"engine": engine}),
            (f"{engine}, 20 outputs, 8 delays, batch 16, 150 steps", "channels", (32, 64, 128, 256, 512),
             {"engine": engine}),
            (f"{engine}, 20 outputs, 64 channels, 8 delays, 150 steps", "batch", (8, 16, 32, 64, 128),
             {"engine": engine}),
        )
    ]  # fmt: skip
