"""Two processes with half of a batch each make the same steps as one process with the whole batch."""

import copy
import os
import traceback
import warnings
from typing import Any

import pytest
import torch
from distributed_child import KINDS, WAYS, main, step, whole

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("torch was built without gloo", allow_module_level=True)
if not hasattr(os, "fork"):
    pytest.skip("no fork here", allow_module_level=True)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what both processes found."""
    folder = tmp_path_factory.mktemp("processes")
    children = []
    for rank in range(2):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                warnings.simplefilter("ignore")  # of DistributedDataParallel
                main(rank, folder)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def alone(method: str, setting: str, rate: float) -> dict[str, torch.Tensor]:
    case = whole(method)
    net = copy.deepcopy(case.net)
    optimizer = torch.optim.SGD(net.parameters(), lr=rate)
    for _ in range(2):
        step(method, net, optimizer, case, setting)
    assert not torch.equal(net.conv1, case.net.conv1)
    return net.state_dict()


@pytest.mark.parametrize(("method", "setting"), KINDS)
def test_two_processes_are_one_with_the_whole_batch(found, method, setting):
    for way in WAYS if setting == "bptt" else ("ddp",):
        rate = (
            0.1 if way == "accumulated" else 0.05
        )  # gradients of two parts add up, their mean is half of that
        one, other = (child[f"{method} {setting} {way}"] for child in found)
        for name, wanted in alone(method, setting, rate).items():
            assert torch.equal(one[name], other[name]), (way, name)
            torch.testing.assert_close(one[name], wanted, rtol=1e-9, atol=1e-12)


def test_bare_networks_of_two_processes_are_refused(found):
    for child in found:
        assert "would drift apart; give train_step the DistributedDataParallel module" in child["bare"]
