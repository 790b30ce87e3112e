"""Dead networks stop training; forked children and DataLoader workers work."""

from __future__ import annotations

import subprocess
import sys

import bdfa
import pytest
import torch
from bdfa.config import TrainConfig
from bdfa.training.dead import check_alive
from reprokit import UserError

SMALL = {"dataset": "digits", "hidden": (16, 16), "epochs": 3, "plot": False}


@pytest.mark.parametrize("engine", ["fast", "module"])
def test_a_relu_network_that_dies_stops(engine, tmp_path):
    """Such a step kills every unit; the error would silently stay at chance."""
    config = TrainConfig(**SMALL, rule="bp", engine=engine, act="relu", lr=50.0, out=tmp_path / "run")
    with pytest.raises(
        UserError, match=r"died in epoch \d: layer '\w+' is 0 for all images.*use a smaller --lr than 50"
    ):
        bdfa.train(config)


@pytest.mark.parametrize("engine", ["fast", "module"])
@pytest.mark.parametrize("rule", ["fa", "dfa", "bdfa", "sign-dfa", "drtp"])
def test_relu_that_starts_at_zero_never_learns_and_stops(rule, engine, tmp_path):
    config = TrainConfig(**SMALL, rule=rule, engine=engine, act="relu", init="zero", out=tmp_path / "run")
    with pytest.raises(UserError, match=r"layer '\w+' is 0 for all images.*--init uniform"):
        bdfa.train(config)


@pytest.mark.parametrize("rule", ["fa", "dfa", "bdfa"])
def test_tanh_that_starts_at_zero_goes_on(rule, tmp_path):
    assert (
        bdfa.train(TrainConfig(**SMALL, rule=rule, init="zero", out=tmp_path / "run")).summaries[0]["epochs"]
        == 3
    )


def test_only_a_network_that_ignores_its_input_is_dead():
    net = bdfa.initialise(bdfa.mlp(4, (20, 20), 3, nonlinearity_name="relu"), nonlinearity="relu", seed=1)
    model = bdfa.FeedbackModel(net, "dfa")
    images = torch.rand(6, 4)
    check_alive(model, images, 1, 0.1)
    model.model.linear2.bias.data.fill_(-1e3)
    check_alive(model, images[:1].expand(6, -1), 1, 0.1)  # all images the same: nothing is known
    with pytest.raises(UserError, match="epoch 7: layer 'nonlinearity2' is 0 for all images"):
        check_alive(model, images, 7, 0.1)
    model.model.linear1.weight.data.zero_()
    with pytest.raises(UserError, match="layer 'linear1' gives the same values for all images"):
        check_alive(model, images, 7, 0.1)


FORKED = """
import multiprocessing, sys, torch, bdfa
from torch.utils.data import DataLoader, Dataset

def work(queue=None):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(128, 784, generator=generator), torch.randint(0, 10, (128,), generator=generator)
    found = []
    for fast in (True, False):
        net = bdfa.initialise(bdfa.mlp(784, (512, 512), 10), "bdfa", zero="uniform", seed=1)
        model = bdfa.FeedbackModel(net, "bdfa", seed=1)
        if fast:
            bdfa.FastMLP(model, lr=0.01).step(x, y)
            found.append(float(net.output.weight.detach().norm()))
        else:
            bdfa.Criterion("bce")(model(x, labels=y), y).backward()
            found.append(float(net.linear1.weight.grad.norm()))
    if queue is not None:
        try:
            bdfa.train(bdfa.TrainConfig(dataset="digits", threads=2, out="nowhere"))
        except ValueError as error:
            found.append(str(error))
        queue.put(found)
    return torch.tensor(found)

class Data(Dataset):
    def __len__(self):
        return 2
    def __getitem__(self, index):
        return work()

if __name__ == "__main__":
    torch.set_num_threads(2)
    here = work()
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=work, args=(queue,))
    child.start()
    *numbers, refusal = queue.get(timeout=300)
    child.join()
    assert "threads=2 in a process forked" in refusal, refusal
    torch.testing.assert_close(torch.tensor(numbers), here)
    for batch in DataLoader(Data(), num_workers=2, batch_size=1, multiprocessing_context="fork"):
        torch.testing.assert_close(batch[0], here)
    print("done")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing forks there")
def test_forked_children_and_workers_compute_after_threads(tmp_path):
    script = tmp_path / "forked.py"
    script.write_text(FORKED)
    command = [sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=tmp_path, check=False)
    assert "done" in done.stdout, done.stderr
