"""The machine under the programs: which vector instructions count, and how fast it multiplies and reads memory.

`limit` makes a process behave like one on a processor with fewer instructions: the compiled cores through
``REPROKIT_ISA``, and the libraries of the other side through their own variables, so that a row of AVX2 says what a
processor with AVX2 would show and not what our cores lose alone.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reprokit import UserError

from benchmarks.cases import Floor

SETS = ("portable", "avx2", "avx512", "neon")
_FLAGS = {"avx512": ("avx512f", "avx512bw", "avx512dq", "avx512vl"), "avx2": ("avx2", "fma")}
_LIBRARIES = {  # what PyTorch, oneDNN, MKL, OpenBLAS and XLA call the limit
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    },
    "portable": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
        "XLA_FLAGS": "--xla_cpu_max_isa=SSE4_2",
    },
}
ONE_THREAD = "--xla_cpu_multi_thread_eigen=false"


def best() -> str:
    """Return this processor's best instructions among those our cores are built for."""
    if platform.machine().lower() in ("aarch64", "arm64"):
        return "neon"
    file = Path("/proc/cpuinfo")
    text = file.read_text("utf-8", "replace") if file.exists() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    return next((isa for isa, needed in _FLAGS.items() if set(needed) <= set(flags)), "portable")


def usable(isa: str) -> tuple[str, ...]:
    """Return the sets that a processor with these best instructions has, the best first."""
    ordered = (*_FLAGS, "portable")
    return ordered[ordered.index(isa) :] if isa in ordered else (isa, "portable")


def limit(isa: str | None) -> dict[str, str]:
    """Return the environment of a process that uses one set of instructions and one thread unless it asks for more.

    Args:
        isa: One of `SETS`; None: what ``REPROKIT_ISA`` names, else the best of this processor, without limits.

    Raises:
        UserError: Unknown instructions, or ones that this processor lacks.
    """
    isa, here = isa or os.environ.get("REPROKIT_ISA") or None, best()
    if isa is not None and isa not in SETS:
        raise UserError(f"--isa is {isa!r}; it must be one of {', '.join(SETS)}")
    if isa is not None and isa not in usable(here):
        raise UserError(
            f"--isa is {isa!r}, which this processor lacks; choose one of {', '.join(usable(here))}"
        )
    limits = _LIBRARIES.get(isa, {}) if isa is not None and isa != here else {}
    flags = (os.environ.get("XLA_FLAGS"), limits.get("XLA_FLAGS"), ONE_THREAD)
    environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "OMP_NUM_THREADS": "1", **limits}
    environment["REPROKIT_ISA"] = isa or here
    environment["XLA_FLAGS"] = " ".join(flag for flag in flags if flag)
    return environment


@dataclass(frozen=True)
class Speeds:
    """What the machine can do, measured on the spot.

    Attributes:
        flops: Floating-point operations a second of a large float32 matrix product.
        bandwidth: Bytes a second of copying an array much larger than the caches, read and written.
    """

    flops: float
    bandwidth: float

    def seconds(self, floor: Floor) -> float:
        """Return the time below which this machine cannot do the work."""
        return max(floor.flops / self.flops, floor.bytes / self.bandwidth)

    def __str__(self) -> str:
        return f"GEMM {self.flops / 1e9:.0f} GFLOP/s, memory {self.bandwidth / 1e9:.1f} GB/s"


@functools.cache
def speeds(threads: int, size: int = 1536, megabytes: int = 256) -> Speeds:
    """Measure this process's matrix product and memory: the best of several, for a floor is what can be reached.

    PyTorch's product is taken where PyTorch is loaded, NumPy's too; the faster one counts.

    Args:
        threads: Threads that PyTorch uses; NumPy uses those of its environment.
        size: Rows and columns of the matrices.
        megabytes: Size of the array that is copied.
    """
    import sys

    a = np.random.default_rng(0).random((size, size), np.float32)
    products: list[Callable[[], object]] = [lambda: a @ a] if threads == 1 else []
    source = np.ones(megabytes * 1_000_000 // 8)
    target = np.empty_like(source)
    copies: list[Callable[[], object]] = [lambda: np.copyto(target, source)] if threads == 1 else []
    if (torch := sys.modules.get("torch")) is not None:
        b, far, near = torch.from_numpy(a), torch.from_numpy(source), torch.from_numpy(target)
        products.append(lambda: b @ b)
        copies.append(lambda: near.copy_(far))
    return Speeds(
        2 * size**3 / min(map(_shortest, products or [lambda: a @ a])),
        2 * source.nbytes / min(map(_shortest, copies or [lambda: np.copyto(target, source)])),
    )


def _shortest(call: Callable[[], object], times: int = 5) -> float:
    call()
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        found.append(time.perf_counter() - begin)
    return min(found)


def set_threads(threads: int) -> None:
    """Give PyTorch, where it is loaded, this many threads; the compiled cores are told in each call."""
    import sys

    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(threads)
