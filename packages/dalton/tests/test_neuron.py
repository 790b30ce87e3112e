"""The neuron's closed gradient against autograd, if a potential is exactly at the threshold or at 0."""

import inspect

import dalton
import pytest
import torch
from dalton import IntegrateAndFire, NeuronParameters, NeuronState
from dalton.engines.choice import choose_engine
from dalton.model.network import SpikingCNN
from dalton.model.neuron import spike, surrogate_derivative
from torch import Tensor

ENGINES = ("torch", "native") if dalton.kernel_available() else ("torch",)
STEPS, BATCH, UNITS = 12, 3, 64
# sums of these are exact, so that potentials meet threshold and 0 again and again
CURRENTS = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5])


def by_autograd(currents: Tensor, g: Tensor, neuron: NeuronParameters) -> tuple[Tensor, Tensor, Tensor]:
    """Return potentials, spikes and dLoss/dI for dLoss/ds = g, by the module's own steps."""
    currents = currents.clone().requires_grad_()
    fire, state, spikes, potentials = IntegrateAndFire(neuron), None, [], []
    for current in currents:
        v, c = (torch.zeros_like(current),) * 2 if state is None else state
        potentials.append((v + (c * neuron.decay + current)).detach())
        emitted, state = fire(current, state)
        spikes.append(emitted)
    (error,) = torch.autograd.grad((torch.stack(spikes) * g).sum(), currents)
    return torch.stack(potentials), torch.stack(spikes).detach(), error


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reset", ["hard", "soft"])
@pytest.mark.parametrize("threshold", [1.0, 0.5])
@pytest.mark.parametrize("tau", [None, 1 / 0.6931471805599453 * 1e-3])
def test_the_gradient_at_ties(engine, dtype, reset, threshold, tau):
    """`tau` halves the synaptic current every step, which is exact but for its last bit."""
    neuron = NeuronParameters(tau_current=tau, threshold=threshold, reset=reset)
    stream = torch.Generator().manual_seed(0)
    shape = (STEPS, BATCH, 1, 1, UNITS)
    currents = CURRENTS[torch.randint(len(CURRENTS), shape, generator=stream)].to(dtype)
    g = torch.randn(shape, generator=stream, dtype=torch.float64).to(dtype)
    u, _, wanted = by_autograd(currents, g, neuron)
    if tau is None:
        assert int((u == threshold).sum()) > 50
        assert int((u == 0).sum()) > 50
    chosen = choose_engine(engine, torch.device("cpu"), dtype)
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-12, "atol": 1e-14}
    torch.testing.assert_close(chosen.errors(u, g.clone(), neuron, None, 1.0), wanted, **close)
    torch.testing.assert_close(dalton.current_gradient(u, g, neuron), wanted, **close)


@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_a_potential_at_the_threshold_does_not_fire_and_is_kept(reset):
    """It gets the full surrogate gradient, 1, and passes on that of the later steps."""
    neuron = NeuronParameters(tau_current=None, reset=reset)
    currents = torch.tensor([1.0, 0.0, 0.0])[:, None]
    g = torch.tensor([0.0, 0.0, 1.0])[:, None]
    u, state = dalton.run(currents, neuron)
    assert torch.equal(u, torch.ones(3, 1))
    assert torch.equal(state.v, torch.ones(1))
    assert torch.equal(dalton.current_gradient(u, g, neuron), torch.ones(3, 1))
    spikes, after = IntegrateAndFire(neuron)(torch.ones(1), NeuronState(torch.zeros(1), torch.zeros(1)))
    assert not spikes.any()
    assert torch.equal(after.v, torch.ones(1))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_layer_fires_at_the_threshold(engine):
    """Weights and inputs of 1: the first step's potential is the threshold, the second step's is above it."""
    arch = dalton.Architecture((dalton.ConvSpec(1, 1),), (1,))
    net = dalton.SpikingCNN(arch, (1, 4, 4), tau_current=None, gain=2.0)
    with torch.no_grad():
        net.conv1.fill_(1)
        net.dense1.fill_(1 / 16)
    _, found = dalton.observe(net, torch.ones(2, 1, 4, 4), 4, engine=engine, record=("spikes", "delta"))
    assert torch.equal(found["delta"]["conv1"][0], torch.zeros(2, 1, 4, 4))
    assert not found["spikes"]["conv1"][0].any()
    assert found["spikes"]["conv1"][1].all()


def defaults(callable_):
    """Arguments that have a default other than None."""
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (inspect.Parameter.empty, None)}


def test_defaults_are_the_originals_or_the_documented_ones():
    assert defaults(surrogate_derivative) == defaults(spike) == {"scale": 5.0}
    neuron = {"tau_current": 1e-3, "dt": 1e-3, "threshold": 1.0, "surrogate_scale": 5.0, "reset": "hard"}
    assert defaults(NeuronParameters) == neuron
    network = {
        "classes": 10,
        "downsample": "avgpool",
        "gain": 2.0,
        "bias": 0.0,
        "readout_init": "uniform",
        "convolution": "full",
        "seed": 0,
    }
    assert defaults(SpikingCNN) == neuron | network | {"dtype": torch.float32}
