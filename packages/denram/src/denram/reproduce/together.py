"""Figure 4d on a GPU: the runs of one network are trained as one program before their rows are collected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from reprokit import Ledger, UserError
from reprokit.run.study import ReproduceOptions, Task, chosen
from reprokit.terminal import say

from denram.config import TrainConfig
from denram.data.loading import DataSet
from denram.engines.network import computing_on, platform
from denram.training.together import train_together

Together = Literal["auto", "yes", "no"]


def joint(together: Together, options: ReproduceOptions, tasks: Sequence[Task], device: str) -> bool:
    """Whether the runs are trained together, in this process, before the study hands them out.

    Args:
        together: What the user wants; ``auto``: on a GPU.
        options: Options of the study.
        tasks: All runs.
        device: Device of the runs.

    Raises:
        UserError: ``yes`` with several jobs, a scheduler, or runs that are not of the FFT engine.
    """
    if together == "no" or options.dry_run:
        return False
    elsewhere = options.jobs > 1 or options.scheduler is not None
    if together == "auto":
        with computing_on(device):
            return not elsewhere and platform() != "cpu" and all(t.config["engine"] == "fft" for t in tasks)
    if elsewhere:
        raise UserError(
            "--together yes trains all runs of a network in this process; leave out --jobs and --scheduler, or give "
            "--together no."
        )
    engine = next((t.config["engine"] for t in tasks if t.config["engine"] != "fft"), None)
    if engine is not None:
        raise UserError(
            f"--together yes needs the FFT engine, and these runs are of engine {engine!r}; give --engine fft, or "
            "--together no, which is faster on a CPU."
        )
    return True


def lacking(tasks: Sequence[Task], options: ReproduceOptions, ledger: Ledger) -> list[Task]:
    """The wanted runs without a row; those to be measured again are done one by one."""
    there = {row["run_id"] for row in ledger.rows()}
    return [
        task for task in chosen(tasks, options.only, skip=options.skip) if not there & {*task.job.row_ids}
    ]


def train_group(configs: Sequence[TrainConfig], data: DataSet) -> None:
    """Train runs of one network together; those that fail are said, and fail again when their rows are made."""
    say(f"training {len(configs)} networks of {configs[0].n_in} inputs as one program")
    try:
        train_together(configs, data, say=say)
    except UserError as error:
        say(str(error))
