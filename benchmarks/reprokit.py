"""How much a second worker brings: smoke runs of denram on a Dask cluster of this machine with one and two workers.

Seconds are those of all runs together. Both clusters stand before the clock runs, so that starting processes and
importing libraries is not part of it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cases import Case, LeftOut, Settings, Unequal, Work

RUNS = 6


def cases(settings: Settings) -> list[Case]:
    """List the case."""
    del settings
    return [
        Case("reprokit", f"{RUNS} smoke runs of denram", "Dask, two workers", "Dask, one worker", build, repeats=3,
             packages=("denram", "distributed"))
    ]  # fmt: skip


def build() -> Work:
    """Start both clusters."""
    try:
        from distributed import LocalCluster
    except ImportError:
        raise LeftOut("distributed is not installed") from None
    from denram.reproduce.plan import reproduce
    from reprokit.run.ledger import read_ledger
    from reprokit.run.study import ReproduceOptions

    stack = ExitStack()
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    one, two = (
        stack.enter_context(LocalCluster(n_workers=n, threads_per_worker=1, dashboard_address=None))
        for n in (1, 2)
    )

    def study(address: str) -> Callable[[], Path]:
        def run() -> Path:
            out = Path(tempfile.mkdtemp(dir=folder))
            if reproduce(ReproduceOptions(out=out, scheduler=address, only=("D2",))) != 0:
                raise RuntimeError("a run failed; its message is above")
            return out

        return run

    two_workers, one_worker = study(two.scheduler_address), study(one.scheduler_address)

    def proof() -> str:
        found = []
        for run in (two_workers, one_worker):
            rows = read_ledger(next(run().glob("*.csv")))[1]
            found.append(sorted((row["run_id"], row["test_acc"]) for row in rows))
        if found[0] != found[1] or len(found[0]) != RUNS:
            raise Unequal(
                f"the ledgers have {len(found[0])} and {len(found[1])} rows of other runs or accuracies"
            )
        return f"the same {RUNS} runs and accuracies"

    return Work(two_workers, one_worker, proof, close=stack.close)
