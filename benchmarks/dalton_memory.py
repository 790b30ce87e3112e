"""Peak memory of dalton's training steps against the number of time-steps, and against surrogate gradients by autograd.

    python benchmarks/dalton_memory.py [--arch A1] [--steps 40 80 160 320 640] [--processes 3] [--out CSV]

Every number comes from separate processes: after a step that loads the code and makes Adam's moments, free memory is
given back to the system, another step of a batch of 50 images is taken, and the peak of the resident memory above that
before it is kept; written are medians of several processes. They vary by some MB with what the allocator holds.
``autograd`` is surrgd as ``loss.backward()`` through the module, the way networks of this kind are usually trained.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import ctypes
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import dalton
import torch
from reprokit import Ledger, UserError
from reprokit.plots import colour, new_figure, note, save_figure, style
from reprokit.run.provenance import cpu_model, git_commit, versions
from torch.nn import functional as F

BATCH = 50
RULES = (
    ("surrgd", "bptt", "autograd"), ("surrgd", "bptt", "native"), ("dalton", "bptt", "native"),
    ("tfr", "bptt", "native"), ("dalton", "online", "native"), ("tfr", "online", "native"),
    ("dalton", "rtrl", "native"),
)  # fmt: skip
COLUMNS: dict[str, type] = {
    "arch": str, "method": str, "setting": str, "engine": str, "steps": int, "peak_mb": float, "before_mb": float,
    "processes": int, "cpu": str, "versions": dict, "git_commit": str,
}  # fmt: skip
ROOT = Path(__file__).parents[1] / "reproduction" / "dalton"


def status(name: str) -> float:
    """Return a size of this process in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1]) / 1024


def measure(arch: str, method: Any, setting: Any, engine: Any, steps: int) -> tuple[float, float]:
    """Return the peak above, and the resident memory before, a training step, in MB."""
    torch.set_num_threads(1)
    network = dalton.SpikingCNN(arch, (1, 28, 28), seed=0)
    optimizer = torch.optim.Adam(dalton.trainable(network, method).values(), lr=1e-3)
    stream = torch.Generator().manual_seed(0)
    images, labels = torch.rand(BATCH, 1, 28, 28, generator=stream), torch.arange(BATCH) % 10

    def step() -> None:
        if engine == "autograd":
            optimizer.zero_grad()
            outputs = network(images, steps)
            (outputs - F.one_hot(labels, 10)).square().mean().backward()
            optimizer.step()
            return
        dalton.train_step(
            method,
            network,
            optimizer,
            images,
            labels,
            steps,
            setting,
            burn_in=0,
            generator=stream,
            engine=engine,
        )

    step()
    ctypes.CDLL(None).malloc_trim(0)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    step()
    return status("VmHWM") - before, before


@style()
def draw(rows: list[dict[str, Any]], path: Path) -> list[Path]:
    """Draw peak memory against the number of time-steps: one colour a rule, one dash a setting."""
    dashes = {"bptt": "-", "online": "--", "rtrl": ":"}
    figure, (axes,) = new_figure(width="page", height=3.0)
    for method, setting, engine in dict.fromkeys((r["method"], r["setting"], r["engine"]) for r in rows):
        line = [r for r in rows if (r["method"], r["setting"], r["engine"]) == (method, setting, engine)]
        name = f"{method} {setting}" + (", autograd" if engine == "autograd" else "")
        axes.plot(
            [int(r["steps"]) for r in line],
            [float(r["peak_mb"]) for r in line],
            color=colour(method),
            linestyle=dashes[setting],
            marker="s" if engine == "autograd" else "o",
            label=name,
        )
    steps = sorted({int(row["steps"]) for row in rows})
    axes.set(xscale="log", yscale="log", xlabel="time-steps", ylim=(1, None))
    axes.set_ylabel("peak memory of a training step (MB)")
    axes.set_xticks(steps, [str(n) for n in steps])
    axes.minorticks_off()
    axes.grid(axis="y", linewidth=0.5, color="0.9")
    axes.set_title(f"{rows[0]['arch']}, images of MNIST's size, batch {BATCH}, one thread")
    counts = sorted({int(row["processes"]) for row in rows if row["engine"] != "autograd"})
    note(axes, f"medians of {', '.join(map(str, counts))} processes; autograd: one", corner="bottom")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    table = [
        {key: row[key] for key in ("arch", "method", "setting", "engine", "steps", "peak_mb")} for row in rows
    ]
    return save_figure(figure, path, table=table)


def in_processes(words: list[str], processes: int) -> tuple[float, float]:
    """Return the medians over processes of peak and memory before."""
    command = [sys.executable, __file__, "--one", *words]
    found = [
        [
            float(word)
            for word in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        ]
        for _ in range(processes)
    ]
    return statistics.median(row[0] for row in found), statistics.median(row[1] for row in found)


def run_all(options: argparse.Namespace) -> None:
    """Measure every rule and length in its own process, append them to the CSV, draw the figure."""
    ledger, rows = Ledger(options.out, COLUMNS), []
    for method, setting, engine in RULES:
        if setting == "rtrl" and not options.rtrl:
            continue
        for steps in options.steps:
            words = [options.arch, method, setting, engine, str(steps)]
            processes = 1 if engine == "autograd" else options.processes
            peak, before = in_processes(words, processes)
            row = {"arch": options.arch, "method": method, "setting": setting, "engine": engine, "steps": steps,
                   "peak_mb": peak, "before_mb": before, "processes": processes}  # fmt: skip
            provenance = {
                "cpu": cpu_model(),
                "versions": versions(("dalton", "torch")),
                "git_commit": git_commit(),
            }
            ledger.append(row | provenance)
            rows.append(row)
            print(f"{' '.join(words):36s} {peak:8.1f} MB above {before:.0f} MB", flush=True)
    if options.figure:
        print("drawn: " + ", ".join(str(file) for file in draw(rows, options.figure)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--arch", default="A1")
    parser.add_argument("--steps", type=int, nargs="+", default=[40, 80, 160, 320, 640])
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--no-rtrl", dest="rtrl", action="store_false")
    parser.add_argument("--out", type=Path, default=ROOT / "memory.csv")
    parser.add_argument("--figure", type=Path, default=ROOT / "memory-against-steps")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        raise UserError(
            "peak memory is read from /proc/self, which this system does not have; run it on Linux."
        )
    if options.one:
        arch, method, setting, engine, steps = options.one
        print(*measure(arch, method, setting, engine, int(steps)))
    else:
        run_all(options)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
