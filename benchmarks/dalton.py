"""Training steps of dalton against PyTorch and three libraries, and its event pipeline against tonic's transforms.

A step is one batch of 50 MNIST images, 40 time-steps, Adam included; online and rtrl take 40 updates. Each method is
timed in turn with the torch engine (the same formulas in PyTorch), with plain autograd through ``network(images)`` for
surrgd, and against surrogate-gradient training of the same-shaped network in snnTorch, Norse and SpikingJelly. No
library has a local rule of this kind, so dalton and tfr, online too, are compared with the libraries' surrogate
gradients.

The event pipeline: noise filter, 1 ms frames, down-sampling where it applies; the same recordings in memory on both
sides. Each side returns what its training loop needs: dalton the cells that hold events, tonic dense frames. dalton
does this once and keeps the cells on disk, the original in every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks import environments
from benchmarks.cases import Call, Case, Floor, Growth, LeftOut, Settings, Unequal, Work
from benchmarks.remote import Remote

BATCH, STEPS, RECORDINGS = 50, 40, 40
TOLERANCE = 1e-9  # of the gradient's norm, in float64
RULES = (
    ("surrgd", "bptt"),
    ("dalton", "bptt"),
    ("tfr", "bptt"),
    ("dalton", "online"),
    ("tfr", "online"),
    ("dalton", "rtrl"),
    ("tfr", "rtrl"),
)
BPTT = RULES[:3]
NETWORKS = (("A1", "avgpool"), ("A3", "avgpool"), ("A1", "maxpool"))
PEERS = ("snntorch", "norse", "spikingjelly", "spikingjelly multi-step")
PACKAGES = ("dalton", "torch", "numpy")
LENGTHS = (40, 80, 160, 320, 640)


def cases(settings: Settings) -> list[Case]:
    """List the cases."""
    found: list[Case] = []
    native = "native" if settings.device == "cpu" else "torch"
    for arch, pool in NETWORKS:
        title, quick = title_of(arch, pool, settings), (arch, pool) == NETWORKS[0]

        def case(
            engine: str,
            peer: str,
            build: Callable[[], Work],
            guarded: bool = False,
            also: tuple[str, ...] = (),
            title: str = title,
        ) -> None:
            found.append(
                Case("dalton", title, engine, peer, build, packages=(*PACKAGES, *also), guarded=guarded)
            )

        here = (arch, pool, settings)
        for method, setting in RULES if native == "native" else ():
            label = f"{method} {setting}"
            if setting != "rtrl":
                case(
                    f"native {label}",
                    f"torch engine, {label}",
                    engines(*here, method, setting, "native", "torch"),
                )
            elif arch == "A1":
                case(
                    f"native {label}",
                    f"native {method} online",
                    rules(*here, (method, setting), (method, "online"), native),
                )
        case(
            f"{native} surrgd bptt",
            "autograd, surrgd bptt",
            engines(*here, "surrgd", "bptt", native, "autograd"),
            guarded=quick,
        )
        for method in ("dalton", "tfr"):
            case(
                f"{native} {method} bptt",
                f"{native} surrgd bptt",
                rules(*here, (method, "bptt"), ("surrgd", "bptt"), native),
            )
        for peer in PEERS:
            package = peer.split()[0]
            for method, setting in RULES[:5] if native == "native" and pool == "avgpool" else BPTT:
                case(
                    f"{native} {method} {setting}",
                    f"{peer} {environments.pinned(package)}",
                    libraries(*here, (method, setting), peer, native),
                    guarded=quick and method == "surrgd",
                    also=(package,),
                )
    found.append(
        Case(
            "dalton",
            f"event pipeline, digits-events, {RECORDINGS} recordings",
            "numpy",
            f"tonic {environments.pinned('tonic')}",
            event_pipeline("digits-events", RECORDINGS),
            repeats=5,
            packages=("dalton", "numpy"),
        )
    )
    return found


def device_name(device: str) -> str:
    """Return the name of an accelerator."""
    import torch

    return torch.cuda.get_device_name(torch.device(device)) if device.startswith("cuda") else device


def stand_in(steps: Any, title: str) -> str:
    """Return the name of the case if other images stand in for MNIST."""
    return "" if steps.data == "MNIST" else title.replace("MNIST", steps.data)


def title_of(arch: str, pool: str, settings: Settings) -> str:
    """Return the name of a case: data, network, batch, time-steps, and an accelerator's name."""
    device = "" if settings.device == "cpu" else f", {device_name(settings.device)}"
    return f"MNIST {arch if pool == 'avgpool' else f'{arch} {pool}'}, batch {BATCH}, {STEPS} steps{device}"


def compared(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Compare the gradients of one batch, computed in float64.

    Raises:
        Unequal: They differ.
    """
    if set(ours) != set(theirs):
        raise Unequal(f"gradients of {', '.join(ours)} and of {', '.join(theirs)}")
    apart = sum(float((ours[name] - theirs[name]).double().square().sum()) for name in theirs)
    error = (apart / sum(float(gradient.double().square().sum()) for gradient in theirs.values())) ** 0.5
    if not error < TOLERANCE:
        raise Unequal(f"the gradients differ by {error:.1e}")
    return f"gradients in float64 equal to {error:.0e}"


def engines(
    arch: str, pool: str, settings: Settings, method: str, setting: str, engine: str, other: str
) -> Callable[[], Work]:
    """One method by two engines; "autograd" is plain autograd through the module."""

    def build() -> Work:
        from benchmarks.programs.dalton import Steps

        steps = Steps(arch, pool, settings.device)
        theirs = steps.autograd() if other == "autograd" else steps.ours(method, setting, other)

        def proof() -> str:
            return compared(steps.gradients(method, setting, engine), steps.gradients(method, setting, other))

        floor = Floor(steps.operations()) if setting == "bptt" else None
        return Work(
            steps.ours(method, setting, engine),
            theirs,
            proof,
            floor,
            name=stand_in(steps, title_of(arch, pool, settings)),
        )

    return build


def rules(
    arch: str, pool: str, settings: Settings, one: tuple[str, str], other: tuple[str, str], engine: str
) -> Callable[[], Work]:
    """Two rules by one engine."""

    def build() -> Work:
        from benchmarks.programs.dalton import Steps

        steps = Steps(arch, pool, settings.device)
        sentence = f"another rule on the same network, {steps.weights()} weights"
        floor = Floor(steps.operations()) if one[1] == "bptt" else None
        return Work(
            steps.ours(*one, engine),
            steps.ours(*other, engine),
            lambda: sentence,
            floor,
            name=stand_in(steps, title_of(arch, pool, settings)),
        )

    return build


def libraries(
    arch: str, pool: str, settings: Settings, rule: tuple[str, str], peer: str, engine: str
) -> Callable[[], Work]:
    """A rule against surrogate gradients in a library."""

    def build() -> Work:
        python = environments.python(peer.split()[0])
        from benchmarks.programs.dalton import Steps

        steps = Steps(arch, pool, settings.device)
        arguments = {
            "name": peer,
            "arch": arch,
            "downsample": pool,
            "device": settings.device,
            "steps": STEPS,
            "batch": BATCH,
            "images": steps.images,
            "labels": steps.labels,
        }
        theirs = Remote(python, "benchmarks.peers.spiking_cnns:step", arguments)

        def proof() -> str:
            result = theirs()
            if int(result["weights"]) != steps.weights() or list(result["shape"]) != [STEPS, BATCH, 10]:
                raise Unequal(
                    f"{steps.weights()} weights and {result['weights']}, outputs {list(result['shape'])}"
                )
            also = f"; {STEPS} updates against the library's one" if rule[1] == "online" else ""
            return f"same batches, shapes and {steps.weights()} weights; neurons differ{also}"

        return Work(
            steps.ours(*rule, engine),
            theirs,
            proof,
            Floor(steps.operations()) if rule[1] == "bptt" else None,
            theirs.close,
            name=stand_in(steps, title_of(arch, pool, settings)),
        )

    return build


def event_pipeline(source_name: str, recordings: int) -> Callable[[], Work]:
    """Frames of recordings by dalton and by tonic."""

    def build() -> Work:
        python = environments.python("tonic")
        import numpy as np
        from dalton.data.frames import frames_of
        from dalton.data.sources import event_source
        from reprokit import UserError

        try:
            source = event_source(source_name)
            options, splits = source.options(), source.load()
        except UserError as error:
            raise LeftOut(str(error)) from None
        chosen = [splits.train[k] for k in range(min(recordings, len(splits.train)))]
        _, height, width = options.frame_shape(splits.sensor)
        columns = [
            np.concatenate([np.asarray(recording[n], np.int64) for recording in chosen]) for n in (1, 2, 0, 3)
        ]
        theirs = Remote(
            python,
            "benchmarks.peers.tonic_frames:pipeline",
            {
                "events": np.stack(columns),
                "first": np.cumsum([0, *(len(recording[0]) for recording in chosen)]),
                "denoise_us": options.denoise_us,
                "spatial_factor": options.spatial_factor,
                "window_us": options.window_us,
                "shape": [height, width],
            },
        )

        def ours() -> list[Any]:
            return [frames_of(recording, splits.sensor, options) for recording in chosen]

        def proof() -> str:
            frames = theirs()
            for number, found in enumerate(ours()):
                if not np.array_equal(found.dense(), frames[str(number)]):
                    raise Unequal(f"the frames of recording {number} differ")
            return f"the same frames of {columns[0].size} events"

        return Work(ours, theirs, proof, close=theirs.close)

    return build


def growth(settings: Settings) -> list[Growth]:
    """List the curves: time-steps of every rule, with autograd beside them, and the batch."""

    def made(
        method: str, setting: str, engine: str, *, steps: int = STEPS, batch: int = BATCH, arch: str = "A1"
    ) -> Call:
        from benchmarks.programs.dalton import Steps

        own = Steps(arch, "avgpool", settings.device, steps, batch)
        return own.autograd() if engine == "autograd" else own.ours(method, setting, engine)

    native = "native" if settings.device == "cpu" else "torch"
    rows = (("surrgd", "bptt", "autograd"), *((*rule, native) for rule in RULES[:6]))
    curves = []
    for method, setting, engine in rows:
        name = f"{method} {setting} {engine}, A1"
        curves.append(
            Growth(
                "dalton",
                f"{name}, batch {BATCH}",
                "time-steps",
                LENGTHS,
                lambda n, m=method, s=setting, e=engine: made(m, s, e, steps=n),
                PACKAGES,
            )
        )
    for method, setting, engine in rows[:3]:
        name = f"{method} {setting} {engine}, A1"
        curves.append(
            Growth(
                "dalton",
                f"{name}, {STEPS} steps",
                "batch",
                (10, 20, 50, 100, 200),
                lambda n, m=method, s=setting, e=engine: made(m, s, e, batch=n),
                PACKAGES,
            )
        )
    return curves
