"""Presentations of samples to the PyTorch reference, and what any engine returns for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from nalsm.data.sources import Events, Rates
from nalsm.engines.reference import ReferenceLiquid, State, run_reference


@dataclass
class Presentation:
    """What a run leaves behind.

    Attributes:
        counts: int32 (sample, liquid), spikes of each liquid neuron.
        raster: uint8 (sample, millisecond, neuron) or None.
        depression: float32 (sample, millisecond), L- after each millisecond (the astrocyte, under its rule).
        weights: float32 weights at the end, (synapse,) in sequence, (sample, synapse) if kept, else None.
        trace, calcium: float32 at the end, (sample, neuron) or (neuron,) in sequence.
    """

    counts: np.ndarray
    raster: np.ndarray | None
    depression: np.ndarray
    weights: np.ndarray | None
    trace: np.ndarray
    calcium: np.ndarray


def independent(
    liquid: ReferenceLiquid,
    source: Rates | Events,
    weights: np.ndarray,
    duration: int,
    trace: np.ndarray,
    *,
    record: bool,
    keep: bool,
) -> Presentation:
    """Present samples side by side; see `Simulator.present_independent`."""
    state = liquid.start(torch.as_tensor(weights), len(source), torch.as_tensor(trace))
    result = _run(liquid, state, source.events(duration), duration, record)
    if keep:
        result.weights = state.weights.expand(len(source), -1).cpu().numpy().copy()
    return result


def sequence(
    liquid: ReferenceLiquid,
    source: Rates | Events,
    weights: np.ndarray,
    duration: int,
    trace: np.ndarray,
    calcium: np.ndarray,
    *,
    carry_trace: bool,
    record: bool,
) -> Presentation:
    """Present samples one after the other; see `Simulator.present_in_sequence`."""
    parts = []
    for k in range(len(source)):
        state = liquid.start(
            torch.as_tensor(weights), 1, torch.as_tensor(trace)[None] if carry_trace else None,
            torch.as_tensor(calcium)[None],
        )  # fmt: skip
        parts.append(_run(liquid, state, source[k : k + 1].events(duration), duration, record))
        weights, trace, calcium = state.weights[0].cpu().numpy(), parts[-1].trace[0], parts[-1].calcium[0]
    counts = np.concatenate([p.counts for p in parts])
    raster = np.concatenate([p.raster for p in parts if p.raster is not None]) if record else None
    depression = np.concatenate([p.depression for p in parts])
    return Presentation(counts, raster, depression, weights.copy(), trace, calcium)


def _run(liquid: ReferenceLiquid, state: State, events: Events, duration: int, record: bool) -> Presentation:
    counts = torch.zeros(len(events), liquid.network.liquid, dtype=torch.int32, device=liquid.device)
    rasters, rates = [], []
    for t in range(duration):
        now = torch.as_tensor(_counts_at(events, t), device=liquid.device, dtype=liquid.dtype)
        step_counts, raster = run_reference(liquid, state, now[:, :, None], record=record)
        counts += step_counts
        rates.append(state.depression.clone())
        if raster is not None:
            rasters.append(raster)
    return Presentation(
        counts=counts.cpu().numpy(),
        raster=torch.cat(rasters, 1).cpu().numpy() if record else None,
        depression=torch.stack(rates, 1).cpu().numpy(),
        weights=None,
        trace=state.trace.cpu().numpy(),
        calcium=state.calcium.cpu().numpy(),
    )


def _counts_at(events: Events, t: int) -> np.ndarray:
    """Number of events of each channel in one millisecond, float32 (sample, input)."""
    counts = np.zeros((len(events), events.inputs), np.float32)
    for k in range(len(events)):
        np.add.at(counts[k], events.channels[events.first[k, t] : events.first[k, t + 1]], 1.0)
    return counts
