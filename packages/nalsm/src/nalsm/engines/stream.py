"""A liquid that keeps running from call to call: `run(a); run(b)` leaves the same bits as one run of both.

Potentials, refractory times, currents, weights, traces, calcium, the astrocyte and the learning rates carry
over; the rates decay by `rate_decay` each millisecond, as within one presentation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from reprokit import UserError

from nalsm.data.sources import Events
from nalsm.engines.compiled import compiled, kernel_available, kernel_source, kernel_stream
from nalsm.engines.reference import ReferenceLiquid
from nalsm.parameters import kernel_options


@dataclass
class Streamed:
    """The result of one call of `Stream.run`.

    Attributes:
        counts: int32 (liquid,), spikes of each liquid neuron in this call.
        raster: uint8 (millisecond, neuron), liquid then input, or None if it was not recorded.
        depression: float32 (millisecond,), L- after each millisecond (the astrocyte, under its rule).
    """

    counts: np.ndarray
    raster: np.ndarray | None
    depression: np.ndarray


class Stream:
    """One endless sample, created by `Simulator.start`.

    It can be pickled and copied; the copy continues from the same state. One call runs in one thread.
    """

    def __init__(
        self,
        core: Any,
        reference: ReferenceLiquid,
        weights: np.ndarray,
        trace: np.ndarray,
        calcium: np.ndarray,
    ) -> None:
        self._core, self._reference = core, reference
        self._first = (weights, trace, calcium)
        self.reset()

    def reset(self) -> None:
        """Return to the start: initial weights, trace and calcium, everything else at rest."""
        self._steps = 0
        self._state: Any = self._begin(*self._first)

    def _begin(self, weights: np.ndarray, trace: np.ndarray, calcium: np.ndarray) -> Any:
        liquid = self._reference
        if self._core is None:
            carried = (torch.as_tensor(part)[None] for part in (trace, calcium))
            return liquid.start(torch.as_tensor(weights), 1, *carried)
        options = kernel_options(liquid.neuron, liquid.plasticity, 1)
        return kernel_stream(self._core, options, weights, trace, calcium)

    @property
    def elapsed(self) -> int:
        """Number of milliseconds simulated so far."""
        return self._steps if self._core is None else self._state.elapsed

    @property
    def weights(self) -> np.ndarray:
        """Current weights, float32 (synapse,), active synapses in network order."""
        return self.state()["weights"]

    @property
    def trace(self) -> np.ndarray:
        """Current STDP traces, float32 (neuron,)."""
        return self.state()["trace"]

    def run(self, events: np.ndarray | Events, *, record: bool = False) -> Streamed:
        """Simulate the next milliseconds.

        Args:
            events: whole numbers (millisecond, input), events of each input in each millisecond; or `Events` of one
                sample.
            record: keep the raster.

        Returns:
            counts, raster and depression rate of these milliseconds only.

        Raises:
            UserError: if events have the wrong shape, are not whole numbers of 0 or more, or have several samples.
        """
        source = self._checked(events)
        duration = source.first.shape[1] - 1
        work = self._plain if self._core is None else self._compiled
        return work(source, duration, record)

    def _checked(self, events: np.ndarray | Events) -> Events:
        inputs = self._reference.network.inputs
        if isinstance(events, Events):
            if len(events) != 1 or events.inputs != inputs:
                raise UserError(
                    f"events have {len(events)} samples of {events.inputs} inputs; a stream of this network takes one "
                    f"sample of {inputs}."
                )
            return events
        raster = np.asarray(events)
        if raster.ndim != 2 or raster.shape[1] != inputs or not len(raster):
            raise UserError(
                f"events have shape {raster.shape}; give (millisecond, input) with {inputs} inputs and at least "
                "one row."
            )
        whole = raster.dtype.kind in "bui" or (
            raster.dtype.kind == "f" and bool(np.all(raster == np.floor(raster)))
        )
        if not whole or (raster.size and (raster.min() < 0 or not np.isfinite(raster).all())):
            raise UserError(
                "events must be whole numbers of 0 or more, the events of each input in each millisecond; Rates.events "
                "draws them from probabilities."
            )
        time, channel = np.nonzero(raster)
        repeat = raster[time, channel].astype(np.int64)
        first = np.concatenate([[0], np.cumsum(raster.astype(np.int64).sum(axis=1))])
        return Events(first[None], np.repeat(channel, repeat).astype(np.int32), inputs)

    def _compiled(self, source: Events, duration: int, record: bool) -> Streamed:
        found = self._state.run(kernel_source(source, duration), duration, record)
        raster = found["raster"][0] if record else None
        return Streamed(found["counts"][0], raster, found["astrocyte"][0])

    def _plain(self, source: Events, duration: int, record: bool) -> Streamed:
        liquid, neurons = self._reference, self._reference.network
        counts, rates, rows = np.zeros(neurons.liquid, np.int32), np.zeros(duration, np.float32), []
        for t in range(duration):
            shown = torch.as_tensor(source.at(t), device=liquid.device, dtype=liquid.dtype)
            fired = liquid.step(self._state, shown)[0]
            self._steps += 1
            spikes = fired.cpu().numpy().astype(np.uint8)
            counts += spikes[: neurons.liquid]
            rates[t] = float(self._state.depression[0])
            rows += [spikes] if record else []
        return Streamed(counts, np.stack(rows) if record else None, rates)

    def state(self) -> dict[str, np.ndarray]:
        """Return the current weights, trace and calcium, and for the compiled engine all other state; float32."""
        if self._core is not None:
            return dict(self._state.state())
        now = self._state
        return {
            "weights": now.weights[0].cpu().numpy().copy(),
            "trace": now.trace[0].cpu().numpy().copy(),
            "calcium": now.calcium[0].cpu().numpy().copy(),
        }

    def __getstate__(self) -> dict[str, Any]:
        """Replace compiled state with its arrays."""
        if self._core is None:
            return self.__dict__.copy()
        return self.__dict__ | {"_core": True, "_state": self.state(), "_steps": self.elapsed}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Rebuild compiled state from its arrays.

        Raises:
            UserError: if the compiled engine is missing here.
        """
        self.__dict__.update(kept)
        if self._core is None:
            return
        if not kernel_available():
            raise UserError(
                "this stream ran on the compiled engine, which was not built here; start a new one."
            )
        now = dict(kept["_state"])
        self._core = compiled(self._reference.network)
        self._state = self._begin(*(now.pop(name) for name in ("weights", "trace", "calcium")))
        self._state.restore(**now, elapsed=self._steps)
