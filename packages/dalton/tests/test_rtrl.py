"""True diagonal RTRL: without updates the gradient of the local rules by BPTT; memory does not grow with the steps."""

import copy

import pytest
import torch
from core_networks import CASES, problem
from dalton import kernel_available, train_step, trainable
from dalton.rules.rtrl import EligibilityTrace

ENGINES = ("torch", "native") if kernel_available() else ("torch",)


def gradients(case, method, setting, engine, burn_in=0):
    net = copy.deepcopy(case.net)
    result = train_step(
        method, net, None, *case.batch(), setting, burn_in=burn_in, dropout_masks=case.masks, engine=engine,
        update=False,
    )  # fmt: skip
    return result, {name: net.weight(name).grad for name in net.layer_names}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("method", ["tfr", "dalton"])
@pytest.mark.parametrize("name", CASES)
def test_rtrl_is_local_bptt(name, method, engine):
    case = problem(21, **CASES[name])
    whole, wanted = gradients(case, method, "bptt", engine)
    by_step, found = gradients(case, method, "rtrl", engine)
    assert by_step.loss.mean().item() == pytest.approx(whole.loss, rel=1e-9)
    assert torch.equal(by_step.predictions, whole.predictions)
    _, truncated = gradients(case, method, "online", engine)
    for layer, gradient in wanted.items():
        largest = gradient.abs().max()
        assert largest > 0
        assert (found[layer] - gradient).abs().max() <= 1e-9 * largest, layer
        assert (truncated[layer] - gradient).abs().max() > 1e-2 * largest, layer


@pytest.mark.parametrize("engine", ENGINES)
def test_burn_in_leaves_losses_out_but_not_their_influence(engine):
    """The gradient from step 4 on is that of a whole sequence minus that of its first 4 steps."""
    case = problem(22, **CASES["avgpool"])
    early = case._replace(steps=4)
    _, whole = gradients(case, "dalton", "bptt", engine)
    _, start = gradients(early, "dalton", "bptt", engine)
    _, late = gradients(case, "dalton", "rtrl", engine, burn_in=4)
    for layer, gradient in late.items():
        wanted = (9 * whole[layer] - 4 * start[layer]) / 5
        assert (gradient - wanted).abs().max() <= 1e-9 * wanted.abs().max()


@pytest.mark.parametrize("engine", ENGINES)
def test_updates_come_at_every_step_from_burn_in_on(engine):
    case = problem(23, **CASES["dropout"])
    optimizer = torch.optim.Adam(trainable(case.net, "tfr").values(), lr=1e-3)
    before = case.net.weight("conv1").detach().clone()
    result = train_step(
        "tfr", case.net, optimizer, *case.batch(), "rtrl", burn_in=3, dropout_masks=case.masks, engine=engine,
        record=("weight", "gradient"),
    )  # fmt: skip
    weights = torch.cat([before[None], result.records["weight"]["conv1"]])
    assert len(weights) == 1 + 6
    assert ((weights[1:] - weights[:-1]).abs().amax((1, 2, 3, 4)) > 1e-4).all()
    assert result.class_outputs.shape == (6, 5, 4)


def test_traces_do_not_grow():
    """One number per synapse and sample for the potential and, shared by channels, the current."""
    net = problem(24, **CASES["maxpool"]).net
    spec = net.layers[0]
    trace = EligibilityTrace(spec, net.neuron)
    sizes = []
    for _ in range(30):
        x, u = torch.rand(3, *spec.input_shape), torch.rand(3, *spec.output_shape)
        trace.advance(x, torch.zeros((3, *spec.output_shape), dtype=torch.int64), u)
        sizes.append(sum(value.numel() for value in vars(trace).values() if isinstance(value, torch.Tensor)))
    synapses = 3 * spec.units * spec.weight_shape[1] * spec.weight_shape[2] ** 2
    assert set(sizes) == {2 * synapses + 3 * spec.units}
