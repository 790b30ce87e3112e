"""Forked children work after their parent has used threads, and an interrupt stops the compiled core at once."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pytest
import torch
from nalsm import (
    Config,
    Liquid,
    LiquidStateMachine,
    PlasticityParameters,
    Rates,
    Run,
    Simulator,
    kernel_available,
)
from nalsm_small import small_network, small_rates
from torch.utils.data import DataLoader, Dataset

pytestmark = pytest.mark.skipif(not kernel_available(), reason="the core is not built")
SIMULATOR = Simulator(small_network())
WEIGHTS = SIMULATOR.network.start_weights(2.0)
ASTROCYTE = PlasticityParameters(rule="astrocyte")


def numbers(threads: int, rule: str = "astrocyte") -> bytes:
    """Return the bits of the result of a plastic or a static liquid."""
    plasticity = PlasticityParameters(rule=rule)
    found = SIMULATOR.present_independent(
        small_rates(12), WEIGHTS, plasticity, duration=80, keep_weights=True, threads=threads
    )
    assert found.weights is not None
    return (
        found.counts.tobytes() + found.depression.tobytes() + found.weights.tobytes() + found.trace.tobytes()
    )


@pytest.mark.parametrize("rule", ["none", "stdp", "astrocyte"])
def test_the_bits_do_not_depend_on_threads(rule: str) -> None:
    assert numbers(1, rule) == numbers(2, rule) == numbers(5, rule) == numbers(64, rule)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestChildren:
    """Each parent has used two threads before; a child that waits for them would wait forever."""

    def test_a_forked_process_computes(self) -> None:
        expected = numbers(2)
        reader, writer = multiprocessing.get_context("fork").Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=lambda: writer.send_bytes(numbers(2)))
        child.start()
        assert reader.poll(30), "the child hangs"
        assert reader.recv_bytes() == expected
        child.join(30)
        assert child.exitcode == 0

    def test_joblib_multiprocessing_computes(self) -> None:
        expected = numbers(2)
        with joblib.parallel_config("multiprocessing"):
            found = joblib.Parallel(n_jobs=2, timeout=30)(joblib.delayed(numbers)(2) for _ in range(2))
        assert list(found) == [expected, expected]

    def test_the_estimator_computes_in_a_child(self) -> None:
        x, y = small_rates(12).probability, np.arange(12) % 2

        def fitted() -> bytes:
            made = LiquidStateMachine(dims=(3, 3, 3), duration=60, readout="ridge", threads=2)
            return made.fit(x, y).transform(x).tobytes()

        expected = fitted()
        reader, writer = multiprocessing.get_context("fork").Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(target=lambda: writer.send_bytes(fitted()))
        child.start()
        assert reader.poll(30), "the child hangs"
        assert reader.recv_bytes() == expected
        child.join(30)

    def test_two_workers_of_a_data_loader_compute(self) -> None:
        class Counted(Dataset):
            def __len__(self) -> int:
                return 6

            def __getitem__(self, index: int) -> torch.Tensor:
                source = small_rates(2, seed=index)
                return torch.as_tensor(
                    SIMULATOR.present_independent(source, WEIGHTS, ASTROCYTE, duration=60, threads=2).counts
                )

        data = Counted()
        expected = torch.stack([data[index] for index in range(len(data))])
        loaded = DataLoader(data, 2, num_workers=2, multiprocessing_context="fork", timeout=30)
        assert torch.equal(torch.cat(list(loaded)), expected)


@pytest.fixture
def _interrupts() -> Iterator[None]:
    """Take interrupts also where the tests run in a shell's background, which ignores them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted(work: Callable[[], object], pause: float) -> float:
    """Interrupt ``work`` after ``pause`` seconds and return how many more seconds it took to end."""
    sent: list[float] = []

    def send() -> None:
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(pause, send)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    waited = time.perf_counter() - sent[0]
    timer.join()
    return waited


@pytest.mark.usefixtures("_interrupts")
class TestInterrupts:
    """The bound is generous, for machines under load; without checking for signals the work takes minutes."""

    @pytest.mark.parametrize("threads", [1, 2])
    def test_many_samples(self, threads: int) -> None:
        expected, many = numbers(threads), small_rates(200_000)
        pauses = np.random.default_rng(threads).uniform(0.01, 0.1, 10)
        waited = [
            interrupted(
                lambda: SIMULATOR.present_independent(
                    many, WEIGHTS, ASTROCYTE, duration=1000, threads=threads
                ),
                pause,
            )
            for pause in pauses
        ]
        assert np.quantile(waited, 0.95) < 1.0, waited
        assert numbers(threads) == expected

    @pytest.mark.parametrize("rule", ["none", "astrocyte"])
    def test_one_long_sample(self, rule: str) -> None:
        expected, plasticity = numbers(1), PlasticityParameters(rule=rule)
        seldom = Rates(np.full((1, 40), 0.001), np.zeros(1, np.int64))
        for source in (seldom, small_rates(1)):  # the neurons take the time, the drawing of events does
            for work in (SIMULATOR.present_independent, SIMULATOR.present_in_sequence):
                waited = interrupted(partial(work, source, WEIGHTS, plasticity, duration=3_000_000), 0.05)
                assert waited < 1.0
        assert numbers(1) == expected

    def test_the_estimator(self) -> None:
        x, y = np.repeat(small_rates(20).probability, 2000, axis=0), np.arange(40_000) % 2
        made = LiquidStateMachine(dims=(4, 4, 4), initial_samples=20, readout="ridge")
        assert interrupted(lambda: made.fit(x, y), 0.5) < 1.0
        made.fit(x[:40], y[:40])

    def test_an_interrupted_run_resumes_to_the_same_bits(self, tmp_path: Path) -> None:
        config = Config(
            data="digits", dims=(4, 4, 4), duration=80, initial_samples=200, train_samples=300,
            validation_samples=60, test_samples=80, readout="ridge", record=0, batch=50,
        )  # fmt: skip
        with Run(tmp_path / "whole", config) as whole:
            expected = whole.train()
        features = Liquid.features
        with pytest.MonkeyPatch.context() as patch:
            # the third chunk of features is long, and interrupted
            calls: list[int] = []

            def slow(self, *args, **kwargs):
                calls.append(0)
                if len(calls) == 3:
                    SIMULATOR.present_independent(small_rates(1), WEIGHTS, ASTROCYTE, duration=3_000_000)
                return features(self, *args, **kwargs)

            patch.setattr(Liquid, "features", slow)

            def work() -> None:
                with Run(tmp_path / "stopped", config) as run:
                    run.train()

            interrupted(work, 1.5)
        with Run(tmp_path / "stopped", config) as again:
            found = again.train()
        assert {k: v for k, v in found.items() if k != "seconds"} == {
            k: v for k, v in expected.items() if k != "seconds"
        }
        for file in ("features_train.npy", "features_test.npy", "initial_weights.npy"):
            assert (tmp_path / "stopped" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
