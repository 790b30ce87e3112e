"""How far two engines agree: spikes that differ, and whether rounding explains them.

Engines that add in different orders may part where a potential is within rounding of the threshold: a tie. After its
first tie a sample goes its own way, so only the first difference of each sample says anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from reprokit import UserError

from nalsm.checks import real
from nalsm.data.sources import Events, Rates
from nalsm.engines.reference import Presentation, ReferenceLiquid
from nalsm.model.network import LiquidNetwork
from nalsm.parameters import NeuronParameters, PlasticityParameters


@dataclass(frozen=True)
class Agreement:
    """What `agreement` counts.

    Attributes:
        samples: samples compared.
        spikes: spikes of the second presentation.
        apart: samples whose spikes differ; each is one of the next three.
        ties: those that part at a potential within the margin of the threshold.
        draws: those that part at an input neuron, whose events were drawn differently.
        unexplained: all others; 0 unless something is wrong.
    """

    samples: int
    spikes: int
    apart: int
    ties: int
    draws: int
    unexplained: int

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.samples} samples, {self.spikes} spikes: {self.apart} samples differ, {self.ties} by ties, "
            f"{self.draws} by drawn events, {self.unexplained} unexplained"
        )


def agreement(
    found: Presentation,
    wanted: Presentation,
    network: LiquidNetwork,
    source: Rates | Events,
    weights: np.ndarray,
    plasticity: PlasticityParameters,
    *,
    neuron: NeuronParameters | None = None,
    trace: np.ndarray | None = None,
    margin: float = 1e-5,
) -> Agreement:
    """Compare the spikes of two engines in the same independent presentation.

    The potential at the first difference comes from the reference in float64.

    Args:
        found: what one engine gave, with its raster.
        wanted: what the other gave, with its raster.
        network: the wiring of both.
        source: what both were shown.
        weights: float32 (synapse,), where each sample started.
        plasticity: weight rule.
        neuron: constants of the neurons.
        trace: float32 (sample, neuron) carried over; None: 0.
        margin: a tie is a potential at most this share of the threshold away from it.

    Raises:
        UserError: if a raster is missing, or sizes differ.
    """
    margin, neuron = real("margin", margin, least=0.0), neuron or NeuronParameters()
    a, b = found.raster, wanted.raster
    if a is None or b is None:
        raise UserError("a presentation has no raster; present with record=True.")
    if a.shape != b.shape or len(a) != len(source):
        raise UserError(
            f"the rasters have shapes {a.shape} and {b.shape}, and source has {len(source)} samples; compare the "
            "same samples."
        )
    different = np.flatnonzero((a != b).any(axis=(1, 2)))
    kinds = [
        _kind(a[k], b[k], network, source[k : k + 1], weights, plasticity, neuron,
              None if trace is None else trace[k : k + 1], margin)
        for k in different
    ]  # fmt: skip
    count = {kind: kinds.count(kind) for kind in ("tie", "draw", "unexplained")}
    return Agreement(len(a), int(b.sum()), len(kinds), count["tie"], count["draw"], count["unexplained"])


def _kind(
    found: np.ndarray,
    wanted: np.ndarray,
    network: LiquidNetwork,
    source: Rates | Events,
    weights: np.ndarray,
    plasticity: PlasticityParameters,
    neuron: NeuronParameters,
    trace: np.ndarray | None,
    margin: float,
) -> str:
    """Say why two rasters (millisecond, neuron) of one sample part."""
    duration = len(found)
    liquid = ReferenceLiquid(network, neuron, plasticity, dtype=torch.float64)
    state = liquid.start(
        torch.as_tensor(weights), 1, None if trace is None else torch.as_tensor(trace, dtype=torch.float64)
    )
    events = source.events(duration)
    for t in range(duration):
        potential = state.potential[0].numpy().copy()
        exact = liquid.step(state, torch.as_tensor(events.at(t), dtype=torch.float64))[0].numpy() > 0
        parted = (found[t] != wanted[t]) | (exact != (wanted[t] > 0))
        if parted.any():
            if parted[network.liquid :].any():
                return "draw"
            away = np.abs(potential[parted.nonzero()] - neuron.threshold)
            return "tie" if bool((away <= margin * neuron.threshold).all()) else "unexplained"
    raise AssertionError("rasters that differ do so in some millisecond")
