"""Two processes with half of a batch each take the steps of one process with the whole batch."""

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import distributed_child
import pytest
import torch
from distributed_child import KINDS, WAYS, step, whole

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("torch was built without gloo", allow_module_level=True)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what both processes found."""
    folder = tmp_path_factory.mktemp("processes")
    script = Path(distributed_child.__file__)
    children = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(folder)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for child in children:
        _, said = child.communicate(timeout=120)
        assert child.returncode == 0, said
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
