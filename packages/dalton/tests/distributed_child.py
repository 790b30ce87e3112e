"""One of two processes that train the same networks on half of a batch each."""

import copy
from pathlib import Path
from typing import Any

import dalton
import torch
import torch.distributed as dist
from core_networks import Problem, problem
from reprokit import UserError
from torch.nn.parallel import DistributedDataParallel

KINDS = [("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "rtrl")]
WAYS = ("ddp", "accumulated", "by hand")


def half(case: Problem, first: int, last: int) -> Problem:
    """Return samples `first` to `last` of a batch of held images."""
    masks = {name: mask[:, first:last] for name, mask in case.masks.items()}
    return case._replace(inputs=case.inputs[first:last], labels=case.labels[first:last], masks=masks)


def whole(method: str) -> Problem:
    return problem(30 + len(method), batch=8, pool=2, dropout=0.3)


def step(method: Any, network: Any, optimizer: Any, case: Problem, setting: Any, **options: Any) -> None:
    dalton.train_step(method, network, optimizer, *case.batch(), setting, burn_in=3, dropout_masks=case.masks,
                      **options)  # fmt: skip


def train(way: str, method: str, setting: str, rank: int) -> dict[str, torch.Tensor]:
    """Return the weights after two updates from the halves of a batch."""
    case, half_size = whole(method), 4
    net = copy.deepcopy(case.net)
    wrapped = net if way == "by hand" else DistributedDataParallel(net)
    optimizer = torch.optim.SGD(dalton.trainable(net, method).values(), lr=0.05)  # pyright: ignore
    first = rank * half_size
    part = half(case, first, first + half_size)
    for _ in range(2):
        if way == "ddp":
            step(method, wrapped, optimizer, part, setting)
            continue
        if way == "accumulated":
            assert isinstance(wrapped, DistributedDataParallel)
            with wrapped.no_sync():
                step(method, wrapped, None, half(case, first, first + 2), setting, update=False)
            step(method, wrapped, None, half(case, first + 2, first + 4), setting, update=False)
        else:
            step(method, net, None, part, setting, update=False)
            for parameter in net.parameters():
                if parameter.grad is not None:
                    dist.all_reduce(parameter.grad)
                    parameter.grad /= dist.get_world_size()
        optimizer.step()
        optimizer.zero_grad()
    return net.state_dict()


def main(rank: int, folder: Path) -> None:
    """Write what this process finds into the folder."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    found = {}
    for method, setting in KINDS:
        for way in WAYS if setting == "bptt" else ("ddp",):
            found[f"{method} {setting} {way}"] = train(way, method, setting, rank)
    try:
        net = whole("tfr").net
        step("tfr", net, torch.optim.SGD(net.parameters(), lr=0.1), half(whole("tfr"), 0, 4), "bptt")
    except UserError as error:
        found["bare"] = str(error)
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
