"""How many threads torch uses: one in forked children, where its pool does not survive, and in sums that must not vary.

A fork copies only the calling thread. OpenMP, which divides the work of torch's operations, does not notice: in
the child, an operation on two threads waits forever for a thread that does not exist. For that reason torch
itself uses one thread in the workers of a DataLoader. Results do not depend on the number of threads. The
compiled core's threads remember the process that created them, see ``shared/cpp/threads.hpp``.
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
    """Set the number of threads of torch and dalton; in a forked child it stays 1.

    Args:
        number: Threads, 1 or more; None leaves the number as it is.
    """
    if number and not _forked:
        torch.set_num_threads(number)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block: it divides long sums among threads, which changes their last bits."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
