"""Forked children work after their parent has used threads, and an interrupt stops the compiled core at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from sbs import SbSLayer, kernel_available
from torch.utils.data import DataLoader, Dataset

IMAGE = torch.rand(8, 2, 16, 16, generator=torch.Generator().manual_seed(0))


def layer(threads: int, spikes: int = 100) -> SbSLayer:
    torch.manual_seed(0)
    return SbSLayer(2, 16, 16, 5, spikes, "power", 1.0, number_of_cpu_processes=threads)


def numbers(threads: int) -> bytes:
    """Return the bits of an output and of its gradient."""
    made = layer(threads)
    h = made(IMAGE, seed=3)
    h.pow(2).sum().backward()
    return h.detach().numpy().tobytes() + made._weights.grad.numpy().tobytes()  # type: ignore[union-attr]


def in_child(work: Callable[[], bytes]) -> bytes:
    """Return what ``work`` gives in a forked child, or fail after twenty seconds."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            pipe.write(work())
        os._exit(0)
    os.close(write)
    timer = threading.Timer(20, os.kill, (child, signal.SIGKILL))
    timer.start()
    with os.fdopen(read, "rb") as pipe:
        found = pipe.read()
    _, status = os.waitpid(child, 0)
    timer.cancel()
    assert status == 0, "the child hung or died"
    return found


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("torch_threads", [1, 2])
def test_a_child_computes_after_two_threads_in_the_parent(torch_threads: int) -> None:
    expected = numbers(2)
    torch.set_num_threads(torch_threads)
    big = torch.rand(600, 600)
    assert (big @ big).exp().isinf().any()  # torch's own threads have worked, too
    layer(2)(IMAGE)
    assert in_child(lambda: numbers(2)) == expected
    assert in_child(lambda: numbers(1)) == expected


class Computed(Dataset):
    """Samples that a layer with two threads makes in the worker."""

    def __init__(self) -> None:
        self.layer = layer(2)

    def __len__(self) -> int:
        return len(IMAGE)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.layer(IMAGE[index : index + 1], seed=index)[0].detach()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_two_workers_of_a_data_loader_compute() -> None:
    data = Computed()
    expected = torch.stack([data[index] for index in range(len(data))])
    loaded = DataLoader(data, 4, num_workers=2, multiprocessing_context="fork", timeout=20)
    assert torch.equal(torch.cat(list(loaded)), expected)


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Take interrupts also where the tests run in a shell's background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_interrupts")
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interrupt_stops_the_core_at_once_and_the_next_call_works(threads: int) -> None:
    if not kernel_available():
        pytest.skip("the core is not built")
    slow, expected = layer(threads, 30_000), numbers(threads)
    image = IMAGE.repeat(8, 1, 1, 1)
    waited: list[float] = []
    for pause in np.random.default_rng(0).uniform(0.02, 0.2, 6):
        sent: list[float] = []

        def interrupt(sent: list[float] = sent) -> None:
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(pause, interrupt)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            slow(image)
        waited.append(time.perf_counter() - sent[0])
        timer.join()
    assert numbers(threads) == expected
    assert sorted(waited)[-2] < 0.2, waited
