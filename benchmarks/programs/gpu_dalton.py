"""The slice of dalton on a GPU: steps of A5 on images of CIFAR-10's size against SpikingJelly's multi-step mode.

    python -m benchmarks.programs.gpu_dalton --device cuda
    python -m benchmarks.programs.gpu_dalton --device cpu --tiny

Both sides see the same 50 images for 60 time-steps, Adam included; SpikingJelly chooses its fastest kernels itself
(Triton where it is installed). Weights and shapes are compared first; the neurons differ. Random images are as good
as CIFAR-10 for a time. The ratio is the smaller of those of surrgd and of dalton.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from reprokit import bench

from benchmarks import environments, machine
from benchmarks.cases import Unequal
from benchmarks.programs.dalton import Steps
from benchmarks.programs.gpu_slice import print_slice
from benchmarks.remote import Remote

PEER = "spikingjelly multi-step"
SIZES = {"arch": "A5", "shape": (3, 32, 32), "batch": 50, "steps": 60}
TINY = {"arch": "A1", "shape": (3, 16, 16), "batch": 2, "steps": 3}


def slice_(device: str = "cuda", tiny: bool = False, python: str | None = None) -> dict[str, Any]:
    """Time both sides in turn.

    Args:
        device: PyTorch's device.
        tiny: The smallest sizes, to try the flow.
        python: Python of the environment with SpikingJelly; None: made on the spot.

    Returns:
        ``what``, ``seconds`` of a step of dalton, ``slices`` (1), ``ratio``, and what the ratio is made of.

    Raises:
        Unequal: Both sides train other numbers of weights, or give other shapes.
    """
    machine.set_threads(1)  # as the other process; it matters on the CPU alone
    sizes = TINY if tiny else SIZES
    steps, batch, arch = sizes["steps"], sizes["batch"], sizes["arch"]
    random = np.random.default_rng(0)
    images = random.random((8 * batch, *sizes["shape"]), np.float32)
    labels = random.integers(0, 10, len(images))
    own = Steps(arch, "avgpool", device, steps, batch, ("random images", images, labels))
    words = {
        "name": PEER,
        "arch": arch,
        "downsample": "avgpool",
        "device": device,
        "steps": steps,
        "batch": batch,
    }
    theirs = Remote(
        python or environments.python(PEER.split()[0]),
        "benchmarks.peers.spiking_cnns:step",
        {**words, "images": images, "labels": labels},
    )
    try:
        result = theirs()
        if int(result["weights"]) != own.weights() or list(result["shape"]) != [steps, batch, 10]:
            raise Unequal(f"{own.weights()} weights and {result['weights']}, outputs {list(result['shape'])}")
        what = f"a training step of {arch}, {'x'.join(map(str, sizes['shape']))}, batch {batch}, {steps} time-steps"
        found = {
            method: bench.compare("dalton", what, method, PEER, own.ours(method, "bptt", "auto"), theirs,
                                  repeats=3, results=None)
            for method in ("dalton", "surrgd")
        }  # fmt: skip
    finally:
        theirs.close()
    return {
        "package": "dalton", "what": f"{what}, against {PEER} {environments.pinned('spikingjelly')}",
        "seconds": found["dalton"].ours_seconds, "slices": 1,
        "ratio": min(comparison.ratio for comparison in found.values()),
        **{f"{method}_ratio": comparison.ratio for method, comparison in found.items()},
        "peer_seconds": found["dalton"].peer_seconds, "weights": own.weights(), "device": device,
    }  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the slice as one line of JSON."""
    print_slice(slice_, __doc__ or "", arguments)


if __name__ == "__main__":
    main()
