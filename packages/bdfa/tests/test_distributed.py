"""Two ranks of DistributedDataParallel train as one process does with the joint batch."""

from __future__ import annotations

import os
import traceback
import warnings
from pathlib import Path

import bdfa
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

INPUTS, CLASSES = 6, 3
RULES = [name for name in bdfa.RULES if name != "bfa"]
# a sign or a target does not grow with the loss, and brsf draws at each pass
EXACT = [name for name in RULES if name not in ("sign-dfa", "drtp", "brsf")]
pytestmark = pytest.mark.skipif(
    not dist.is_available() or not hasattr(os, "fork"), reason="torch without distributed, or no fork here"
)


def model_of(rule: str, seed: int, *, lazy: bool) -> bdfa.FeedbackModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(INPUTS, 7), nn.Tanh(), nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, CLASSES))
    example = None if lazy else torch.zeros(2, INPUTS)
    return bdfa.FeedbackModel(net, rule, seed=seed, example=example, feedback_lr=0.1)


def train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor, share: float) -> None:
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (bdfa.Criterion("bce")(model(inputs, labels=labels), labels) * share).backward()
        optimiser.step()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(8, INPUTS, generator=random), torch.randint(0, CLASSES, (8,), generator=random)


def rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    inputs, labels = (tensor.chunk(2)[rank] for tensor in batch())
    found = {}
    for rule in RULES:
        for lazy in (False, True):
            model = model_of(rule, seed=rank, lazy=lazy)  # every rank draws its own
            wrapped = DistributedDataParallel(model, broadcast_buffers=False)
            train(wrapped, inputs, labels, 2.0)  # DDP divides by the ranks
            found[f"{rule} {lazy}"] = model.state_dict()
    refused = ""
    try:
        DistributedDataParallel(model_of("bfa", 0, lazy=False))(inputs, labels=labels)
    except ValueError as error:
        refused = str(error)
    torch.save((found, refused), Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list:
    folder = tmp_path_factory.mktemp("ranks")
    children = []
    for rank in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                warnings.simplefilter("ignore")  # of DistributedDataParallel
                os.environ["GLOO_SOCKET_IFNAME"] = "lo"
                rank_main(rank, str(folder))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("rule", EXACT)
@pytest.mark.parametrize("lazy", [False, True])
def test_two_ranks_are_one_process(rule, lazy, ranks):
    single = model_of(rule, seed=0, lazy=lazy)
    train(single, *batch(), 1.0)
    for found, _ in ranks:
        for key, value in single.state_dict().items():
            torch.testing.assert_close(found[f"{rule} {lazy}"][key], value, msg=key)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("lazy", [False, True])
def test_ranks_stay_equal(rule, lazy, ranks):
    first, second = (found[f"{rule} {lazy}"] for found, _ in ranks)
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, msg=key)


def test_bfa_is_refused(ranks):
    assert all("'bfa' cannot run under" in refused for _, refused in ranks)
