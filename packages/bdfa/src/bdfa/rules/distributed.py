"""One feedback on all ranks of `torch.nn.parallel.DistributedDataParallel`.

DDP averages the gradients of the weights. That trains one model by one rule only if every rank sends its errors
through the same feedback, and if learning feedback sees the samples of all ranks. Inside a forward pass of DDP,
and only there, all ranks receive the feedback of rank 0, and feedback gradients are summed over them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


def group_of_pass() -> Any:
    """Process group of the running DDP forward pass; None outside of one, or with a single rank."""
    if not torch.distributed.is_available():
        return None
    wrapper = DistributedDataParallel._get_active_ddp_module()
    if wrapper is None or torch.distributed.get_world_size(wrapper.process_group) == 1:
        return None
    return wrapper.process_group


@torch.no_grad()
def share(tensors: Iterable[Tensor], group: Any) -> None:
    """Overwrite tensors with those of the group's first rank."""
    first = torch.distributed.get_global_rank(group, 0)
    for tensor in tensors:
        whole = tensor.detach().contiguous()
        torch.distributed.broadcast(whole, first, group=group)
        tensor.copy_(whole)


@torch.no_grad()
def add_up(tensors: Iterable[Tensor], group: Any) -> None:
    """Replace tensors with their sums over the ranks."""
    for tensor in tensors:
        torch.distributed.all_reduce(tensor, group=group)
