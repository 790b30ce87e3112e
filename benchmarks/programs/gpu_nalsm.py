"""The slice of nalsm on a GPU: features of 2,000 samples of NALSM, 1000 neurons, 250 ms each, plasticity included.

    python -m benchmarks.programs.gpu_nalsm --device cuda
    python -m benchmarks.programs.gpu_nalsm --device cpu --tiny

MNIST where a cache has it, else the embedded digits enlarged to its size. Weights come from a short initialisation
phase. The time includes everything from probabilities to counts in memory, but not the compilation of the kernels,
which is its own figure. Before that, spikes of some samples are compared with those of the CPU's engine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from nalsm import Simulator
from nalsm.engines.agreement import agreement

from benchmarks.programs.gpu_slice import print_slice
from benchmarks.programs.nalsm import Liquids

TARGET = 70_000  # samples
SIZES = {"samples": 2000, "presentations": 2000, "dims": None, "duration": 250, "compared": 50, "repeats": 3}
TINY = {
    "samples": 3,
    "presentations": 5,
    "dims": (4, 4, 4),
    "duration": 20,
    "compared": 2,
    "repeats": 1,
}


def slice_(device: str = "cuda", tiny: bool = False) -> dict[str, Any]:
    """Time the features of a slice, plastic and fixed.

    Args:
        device: PyTorch's device.
        tiny: The smallest sizes, to try the flow.

    Returns:
        ``what``, ``seconds`` (median) of the plastic slice, ``slices`` that make 70,000 samples, ``fixed_seconds``,
        ``compile_seconds``, ``engine``, and what `nalsm.engines.agreement.agreement` counts, plastic and fixed.
    """
    sizes = TINY if tiny else SIZES
    liquids = Liquids(sizes["samples"], sizes["presentations"], sizes["dims"])
    ours, core = Simulator(liquids.network, device=device), Simulator(liquids.network)
    options, seconds, found = {"duration": sizes["duration"]}, {}, {}
    for kind in ("plastic", "static"):
        weights, rule = liquids.weights(kind), liquids.rules[kind]
        part = liquids.source[: sizes["compared"]]
        began = time.perf_counter()
        ours.present_independent(part, weights, rule, **options)
        seconds[f"{kind} compile"] = time.perf_counter() - began
        shown = [s.present_independent(part, weights, rule, record=True, **options) for s in (ours, core)]
        found[kind] = asdict(agreement(*shown, liquids.network, part, weights, rule))
        times = []
        for _ in range(sizes["repeats"]):
            began = time.perf_counter()
            ours.present_independent(liquids.source, weights, rule, **options)
            times.append(time.perf_counter() - began)
        seconds[kind] = statistics.median(times)
    return {
        "package": "nalsm",
        "what": f"features of {sizes['samples']} samples of {sizes['duration']} ms, NALSM, "
        f"{liquids.network.liquid} neurons, {liquids.data_name}",
        "seconds": seconds["plastic"],
        "slices": TARGET / sizes["samples"],
        "fixed_seconds": seconds["static"],
        "compile_seconds": seconds["plastic compile"] + seconds["static compile"],
        "engine": ours.engine,
        "device": device,
        "agreement": found,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the slice as one line of JSON."""
    print_slice(slice_, __doc__ or "", arguments)


if __name__ == "__main__":
    main()
