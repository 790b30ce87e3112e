"""Forked children work after their parent has used threads."""

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dalton
import numpy as np
import pytest
import torch
from dalton import Architecture, ConvSpec, SpikingCNN
from dalton.training.evaluation import evaluate_run
from small_runs import arrays, small
from torch.utils.data import DataLoader, Dataset

ENGINES = ("torch", "native") if dalton.kernel_available() else ("torch",)
WIDE = Architecture((ConvSpec(32, 3), ConvSpec(16, 3, pool=2, dropout=0.2)), (64,), "max")
IMAGES = torch.rand(16, 1, 28, 28, generator=torch.Generator().manual_seed(0))
STEPS = 4
pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def work(engine: Any) -> list[torch.Tensor]:
    """Return class outputs, weights after steps of two kinds, and autograd's gradient."""
    net = SpikingCNN(WIDE, (1, 28, 28))
    found = [dalton.predict(net, IMAGES, STEPS, engine=engine)]
    optimizer, labels = torch.optim.SGD(net.parameters(), lr=1e-3), torch.arange(len(IMAGES)) % 10
    for method, setting in (("dalton", "bptt"), ("tfr", "online")):
        dalton.train_step(method, net, optimizer, IMAGES, labels, STEPS, setting, burn_in=2, engine=engine,  # pyright: ignore
                          generator=torch.Generator().manual_seed(1))  # fmt: skip
    found += [p.detach().clone() for p in net.parameters()]
    net.eval()(IMAGES[:4], 2).square().sum().backward()
    return [*found, net.conv2.grad]


def in_child(task: Callable[[], Any]) -> Any:
    """Return what ``task`` gives in a forked child, or fail after thirty seconds."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(pickle.dumps(task()))
        os._exit(0)
    os.close(write)
    timer = threading.Timer(30, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert status == 0, "the child hung or died"
    return pickle.loads(found)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_child_computes_after_two_threads_in_the_parent(engine: str) -> None:
    big = torch.rand(600, 600)
    assert bool((big @ big).exp().isinf().any())  # torch's own threads have worked, too
    expected = work(engine)
    for found, wanted in zip(in_child(lambda: work(engine)), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)  # torch's sums depend on its threads


@pytest.mark.skipif(not dalton.kernel_available(), reason="the core is not built")
def test_the_core_shares_its_work_among_two_threads_in_a_child() -> None:
    from dalton import _kernel  # pyright: ignore[reportAttributeAccessIssue]

    maps, images = _kernel.Maps(28, 28, 1, 1), np.random.default_rng(0).random((8, 784), np.float32)
    words = -(-784 // 64) + 1

    def encoded() -> list[int]:
        bits = np.zeros((40, 8, words), np.int64)
        core = _kernel.CoreFloat(_kernel.isa())
        core.encode(maps, _kernel.Extent(40, 8, 2), images, True, 2.0, 0.0, np.zeros_like(images), bits)
        return bits.tolist()

    expected = encoded()
    assert in_child(encoded) == expected
    assert in_child(lambda: in_child(encoded)) == expected


class Computed(Dataset):
    """Class outputs that a network makes in the worker."""

    def __init__(self) -> None:
        self.net = SpikingCNN(WIDE, (1, 28, 28))

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> torch.Tensor:
        return dalton.predict(self.net, IMAGES[index * 2 : index * 2 + 2], STEPS)


def test_two_workers_of_a_data_loader_compute() -> None:
    data = Computed()
    expected = torch.stack([data[index] for index in range(len(data))])
    loaded = DataLoader(data, 2, num_workers=2, multiprocessing_context="fork", timeout=30)
    assert torch.equal(torch.cat(list(loaded)), expected)


def _outputs(first: int) -> np.ndarray:
    return dalton.predict(SpikingCNN(WIDE, (1, 28, 28)), IMAGES[first : first + 4], STEPS).numpy()


def test_a_pool_of_processes_computes() -> None:
    expected = [_outputs(first) for first in (0, 4, 8)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = pool.map_async(_outputs, (0, 4, 8)).get(timeout=30)
    np.testing.assert_array_equal(found, expected)


def test_a_run_with_two_threads_trains_in_a_child(tmp_path: Path) -> None:
    def task() -> float:
        dalton.train(small(out=tmp_path / "there", threads=2, engine="auto", epochs=1))
        return evaluate_run(tmp_path / "there", threads=2).accuracy

    dalton.train(small(out=tmp_path / "here", threads=2, engine="auto", epochs=1))
    assert in_child(task) == evaluate_run(tmp_path / "here", threads=2).accuracy
    for folder in ("checkpoints", "best"):
        here, there = (arrays(tmp_path / name, folder) for name in ("here", "there"))
        for name, values in here.items():
            np.testing.assert_allclose(values, there[name], rtol=1e-4, atol=1e-6, err_msg=name)
