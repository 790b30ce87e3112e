"""The weight rules on two neurons, computed by hand, and against the equations in their docstring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nalsm.rules import plasticity

POST, PRE = torch.tensor([1, 1]), torch.tensor([0, 2])  # neuron 0 excites neuron 1, neuron 2 inhibits it
INHIBITORY = torch.tensor([False, True])
TRACE = torch.tensor([[0.3, 0.5, 0.2]])
LOW_RATE = torch.tensor([[0.07]])


def change(spikes: list[float]) -> list[float]:
    up, down = plasticity.pairs(TRACE, torch.tensor([spikes]), POST, PRE, INHIBITORY)
    return plasticity.stdp(up, down, 0.15, LOW_RATE)[0].tolist()


def test_pre_before_post_strengthens_excitation_and_weakens_inhibition() -> None:
    assert change([0.0, 1.0, 0.0]) == pytest.approx([0.15 * 0.3, -0.07 * 0.2])


def test_post_before_pre_weakens_excitation_and_strengthens_inhibition() -> None:
    assert change([1.0, 0.0, 1.0]) == pytest.approx([-0.07 * 0.5, 0.15 * 0.5])


def test_silence_changes_nothing() -> None:
    assert change([0.0, 0.0, 0.0]) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("calcium", "terms"),
    [
        (10.0, (0, 0)),
        (14.0, (0, 0)),
        (20.0, (0, 1)),
        (37.0, (0, 0)),
        (50.0, (1, 0)),
        (60.0, (0, 0)),
        (70.0, (0, 0)),
    ],
)
def test_calcium_opens_one_gate_at_a_time(calcium: float, terms: tuple[int, int]) -> None:
    """theta 37 Hz, range 23 Hz: falls between 14 and 37, rises between 37 and 60, nothing on the borders."""
    up, down = torch.tensor([[0.4]]), torch.tensor([[0.3]])
    got = plasticity.ap_stdp(up, down, 0.15, LOW_RATE, torch.tensor([[calcium]]), 37.0, 23.0)
    assert got.item() == pytest.approx(0.15 * 0.4 * terms[0] - 0.07 * 0.3 * terms[1])


def test_traces_and_calcium_relax() -> None:
    spikes = torch.tensor([[0.0, 1.0, 0.0]])
    np.testing.assert_allclose(
        plasticity.next_trace(TRACE, spikes, 0.1, 0.9), [[0.27, 0.54, 0.18]], rtol=1e-6
    )
    got = plasticity.next_calcium(torch.full((1, 3), 10.0), spikes, 1000.0)
    np.testing.assert_allclose(got, [[9.99, 10.99, 9.99]], rtol=1e-6)


def test_astrocyte_follows_liquid_minus_input_spikes() -> None:
    """Three liquid spikes against one of an input: A moves towards w_a 2 + b."""
    spikes = torch.tensor([[1.0, 1.0, 1.0, 0.0, 1.0, 0.0]])
    got = plasticity.next_astrocyte(torch.tensor([0.15]), spikes, 4, 0.015, 0.15, 100.0)
    assert got.item() == pytest.approx(0.15 + 0.015 * 2 / 100)


def test_bounds_follow_the_kind_of_the_presynaptic_neuron() -> None:
    excitatory, inhibitory = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    low, high = plasticity.bounds(excitatory, inhibitory, 3.0)
    assert (low.tolist(), high.tolist()) == ([0.0, -3.0, -3.0], [3.0, 0.0, 3.0])
