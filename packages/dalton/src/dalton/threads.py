"""How many threads torch uses: one in forked children, where its own do not survive, and in sums that must not differ.

A fork copies the thread that calls it and no other. OpenMP, by which torch's operations share their work, does not
notice: in the child an operation on two threads waits forever for a thread that is not there. For that reason torch
itself uses one thread in the workers of a DataLoader. Results do not depend on the number of threads. The compiled
core's threads know the process that made them, see ``shared/cpp/threads.hpp``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_forked = False


def _one_thread() -> None:
    global _forked
    _forked = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_one_thread)


def set_threads(number: int | None) -> None:
    """Set torch's number of threads, which is dalton's too; in a forked child it stays 1.

    Args:
        number: Threads, 1 or more; None leaves the number as it is.
    """
    if number and not _forked:
        torch.set_num_threads(number)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread meanwhile: it divides long sums among its threads, which changes their last bits."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
