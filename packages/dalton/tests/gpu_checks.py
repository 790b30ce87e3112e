"""The Triton kernels against the plain formulas, on a GPU (test_gpu.py) or, as a program, in Triton's interpreter."""

import os
import sys

import torch
from dalton import NeuronParameters, NeuronState, encode, run
from dalton.data.encoding import EncoderParameters
from dalton.engines import gpu
from dalton.model.neuron import current_gradient


def neurons(shape, neuron, dtype, near, device):
    """Compare potentials, spikes, states and errors, from rest and from a state."""
    stream = torch.Generator().manual_seed(1)
    currents, upstream = (torch.randn(shape, generator=stream, dtype=dtype) for _ in range(2))
    start = NeuronState(*(torch.rand(shape[1:], generator=stream, dtype=dtype) * 0.7 for _ in range(2)))
    for state in (None, start):
        wanted, last = run(currents, neuron, state)
        moved = None if state is None else NeuronState(*(value.to(device) for value in state))
        u, spikes, after = gpu.fire(currents.to(device), neuron, moved)
        torch.testing.assert_close(u.cpu(), wanted, rtol=near, atol=near)
        assert torch.equal(spikes.cpu() > 0, u.cpu() > neuron.threshold)
        assert 0 < spikes.count_nonzero() < spikes.numel() or spikes.numel() < 10
        for found, value in zip(after, last, strict=True):
            torch.testing.assert_close(found.cpu(), value, rtol=near, atol=near)
        errors = gpu.current_gradient(u, upstream.to(device), neuron).cpu()
        torch.testing.assert_close(errors, current_gradient(u.cpu(), upstream, neuron), rtol=near, atol=near)


def encoder(steps, carried, device):
    """Compare encoder spikes and voltages of images (`steps`) or frames, from rest or from voltages."""
    stream = torch.Generator().manual_seed(2)
    inputs = torch.rand((3, 2, 14, 5), generator=stream)
    if steps is None:
        inputs = torch.randint(0, 3, (6, 3, 2, 14, 5), generator=stream, dtype=torch.uint8)
    parameters = EncoderParameters(1.3, 0.05)
    voltage = torch.rand((3, 2, 14, 5), generator=stream) if carried else None
    wanted = encode(inputs, parameters, steps=steps, voltage=voltage)
    moved = None if voltage is None else voltage.to(device)
    found = gpu.encode(inputs.to(device), parameters, steps, torch.float32, moved)
    assert torch.equal(found[0].cpu(), wanted[0])
    torch.testing.assert_close(found[1].cpu(), wanted[1], rtol=1e-6, atol=1e-6)


def interpreted():
    """Check all kernels in the interpreter, at small shapes."""
    assert os.environ["TRITON_INTERPRET"] == "1"
    assert "triton" not in sys.modules, "importing dalton imported Triton"
    assert not gpu.available(torch.device("cpu"))
    assert "triton" not in sys.modules, "asking about the CPU imported Triton"
    assert gpu.available(torch.device("cuda"))
    cpu = torch.device("cpu")
    for dtype, near in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        for reset in ("hard", "soft"):
            for tau in (None, 5e-3):
                neuron = NeuronParameters(tau, threshold=0.8, reset=reset)
                neurons(
                    (5, 2, 71), neuron, dtype, near, cpu
                )  # more than a block of 128, and not a multiple of it
    neurons((1, 1, 1), NeuronParameters(), torch.float32, 1e-5, cpu)
    for steps in (5, None):
        for carried in (False, True):
            encoder(steps, carried, cpu)


if __name__ == "__main__":
    interpreted()
