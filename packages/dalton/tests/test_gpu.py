"""On a GPU: neurons and encoder in their own kernels, every rule as on the CPU."""

import copy
import gc

import gpu_checks
import pytest
import torch
from core_networks import CASES, problem
from dalton import NeuronParameters, SpikingCNN, predict, train_step, trainable
from dalton.model import memory
from reprokit import UserError

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
RULES = [("surrgd", "bptt"), ("tfr", "bptt"), ("dalton", "bptt"), ("tfr", "online"), ("dalton", "online"),
         ("dalton", "rtrl")]  # fmt: skip
GPU = torch.device("cuda")


@pytest.mark.parametrize(("dtype", "near"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("tau", [None, 1e-3, 5e-3])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 150), (7, 2, 5, 3, 41)], ids=str)
def test_neurons(dtype, near, reset, tau, shape):
    gpu_checks.neurons(shape, NeuronParameters(tau, threshold=0.8, reset=reset), dtype, near, GPU)


@pytest.mark.parametrize("steps", [9, None], ids=["images", "frames"])
@pytest.mark.parametrize("carried", [False, True])
def test_encoder(steps, carried):
    gpu_checks.encoder(steps, carried, GPU)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("method", "setting"), RULES, ids=lambda value: value)
def test_rules(name, method, setting):
    case, results = problem(51, **CASES[name]), []
    for device in (torch.device("cpu"), GPU):
        net = copy.deepcopy(case.net).to(device)
        optimizer = torch.optim.SGD(trainable(net, method).values(), lr=1e-2)
        result = train_step(method, net, optimizer, *case.batch(), setting, burn_in=2, dropout_masks=case.masks,
                            engine="torch", record=("spikes", "gradient"))  # fmt: skip
        results.append((result, predict(net, *case.batch()[::2], engine="torch")))
    (wanted, outputs), (found, again) = results
    torch.testing.assert_close(again.cpu(), outputs, rtol=1e-9, atol=1e-9)
    assert found.firing_rates == wanted.firing_rates
    for layer, spikes in wanted.records["spikes"].items():
        assert torch.equal(found.records["spikes"][layer].cpu(), spikes)
    for layer, gradient in wanted.records["gradient"].items():
        largest = gradient.abs().max()
        assert (found.records["gradient"][layer].cpu() - gradient).abs().max() <= 1e-9 * largest


@pytest.mark.parametrize("setting", ["bptt", "online"])
def test_dropout_is_drawn_on_the_gpu(setting):
    """Its share is right, the seed decides, every time-step has its own."""
    case = problem(52, torch.float32, pool=2, dropout=0.3, batch=20, steps=12)
    found = []
    for seed in (1, 1, 2):
        net = copy.deepcopy(case.net).to(GPU)
        result = train_step("tfr", net, None, *case.batch(), setting, burn_in=0, update=False,
                            record=("spikes", "delta"), generator=torch.Generator().manual_seed(seed))  # fmt: skip
        found.append(result.records["spikes"]["conv1"])
        fired = result.records["delta"]["conv1"] > 0
        assert abs((found[-1] > 0).sum() / fired.sum() - 0.7) < 0.02
        assert torch.all((found[-1] == 0) | (found[-1] == 1 / 0.7))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_exhausted_memory_names_a_batch_that_fits():
    net, steps = SpikingCNN("A5", (3, 32, 32)).to(GPU), 200
    total = torch.cuda.get_device_properties(GPU).total_memory
    batch = 2 * total // memory.bytes_per_sample(net, "surrgd", "bptt", steps)

    def step(count: int) -> None:
        labels = torch.zeros(count, dtype=torch.int64)
        train_step(
            "surrgd", net, None, torch.rand(count, 3, 32, 32), labels, steps, dropout_masks={}, update=False
        )

    with pytest.raises(UserError, match="would fit") as error:
        step(batch)
    fits = int(str(error.value).split("batch of about ")[1].split()[0])
    del error
    gc.collect()
    assert fits > batch / 4
    step(fits)
