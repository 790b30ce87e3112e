"""Independent pieces of work, side by side in threads of one PyTorch thread each; results in order.

No operation is divided among threads, so that every number is the same for any number of threads.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Result = TypeVar("Result")


def in_order(calls: Sequence[Callable[[], Result]]) -> Iterator[Result]:
    """Yield the results of the calls in their order, as many at a time as PyTorch has threads.

    A single call keeps PyTorch's own threads.
    """
    threads = torch.get_num_threads()
    if len(calls) == 1 or threads == 1:
        for call in calls:
            yield call()
        return
    pool, waiting, left = _pool(threads), deque[Future[Result]](), iter(calls)
    torch.set_num_threads(1)
    try:
        for call in left:
            waiting.append(pool.submit(_without_gradients, call))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        torch.set_num_threads(threads)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="dalton")


def _without_gradients(call: Callable[[], Result]) -> Result:
    with torch.no_grad():  # a setting of each thread
        return call()
