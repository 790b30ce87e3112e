"""Forked children compute with one thread.

PyTorch's thread pool does not survive a fork: a child that computes with more than one thread would wait
forever for threads that do not exist. `torch.utils.data.DataLoader` sets its workers to one thread for that
reason; this module does so for every forked child of a process that uses bdfa.
"""

from __future__ import annotations

import os

import torch
from reprokit import UserError

_child = False  # whether this process was forked from one with several threads


def _after_fork() -> None:
    global _child
    _child = _child or torch.get_num_threads() > 1
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_after_fork)


def set_threads(count: int) -> None:
    """Set PyTorch's number of threads.

    Raises:
        UserError: For more than one in a forked child.
    """
    if _child and count > 1:
        raise UserError(
            f"threads={count} in a process forked from one with several threads would wait forever; use 1, or start "
            "processes by multiprocessing.get_context('spawn')."
        )
    torch.set_num_threads(count)
