"""How much a second worker brings: smoke runs of denram on a Dask cluster of this machine with one and two workers.

The columns of seconds are those of all runs together; runs a minute are printed. Both clusters stand before the clock
runs, so that starting processes and importing libraries is not part of it.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from denram.reproduce.plan import reproduce
from distributed import LocalCluster
from reprokit.bench import RESULTS, compare
from reprokit.run.study import ReproduceOptions

RUNS = 6


def study(address: str, folder: Path) -> Callable[[], None]:
    """Return what does all runs again on the cluster at an address."""

    def run() -> None:
        out = Path(tempfile.mkdtemp(dir=folder))
        assert reproduce(ReproduceOptions(out=out, scheduler=address, only=("D2",))) == 0

    return run


def main(results: Path) -> None:
    """Measure and append a row."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        one, two = (
            stack.enter_context(LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None))
            for n in (1, 2)
        )
        found = compare(
            "reprokit", f"{RUNS} smoke runs of denram", "Dask, two workers", "Dask, one worker",
            study(two.scheduler_address, folder), study(one.scheduler_address, folder),
            repeats=3, results=results, packages=("denram", "distributed"),
        )  # fmt: skip
    print(found)
    for workers, seconds in ((2, found.ours_seconds), (1, found.peer_seconds)):
        print(f"{workers} workers: {60 * RUNS / seconds:.1f} runs a minute")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    main(parser.parse_args().results)
