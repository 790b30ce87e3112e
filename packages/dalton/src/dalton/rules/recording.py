"""What a training step can show of its inside: (time, batch, ...) arrays by layer name."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from reprokit import UserError
from torch import Tensor

from dalton.model.neuron import NeuronParameters, after_reset, threshold_distance

RECORDS = ("encoder", "delta", "v", "c", "spikes", "current", "readout", "target", "gradient", "weight")


class Recorder:
    """Collects the arrays that are asked for.

    Args:
        names: Among :data:`RECORDS`: encoder spikes, delta (potential minus threshold), v after the reset, c synaptic
            current, spikes passed on, input current, readout prediction, DALTON target, and - online and rtrl -
            gradient and weight of every update.

    Raises:
        UserError: Unknown name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)
        if unknown := sorted(self.names - set(RECORDS)):
            raise UserError(f"record has {', '.join(unknown)}; choose among {', '.join(RECORDS)}.")
        self.collected: dict[str, dict[str, list[Tensor]]] = {name: {} for name in sorted(self.names)}
        self._current: dict[str, Tensor] = {}

    def wants(self, name: str) -> bool:
        """Return whether an array is asked for."""
        return name in self.names

    def add(self, name: str, layer: str, value: Tensor, *, copy: bool = False) -> None:
        """Keep one piece of an array."""
        if name == "current":
            self._current[layer] = value
        if name in self.names:
            self.collected[name].setdefault(layer, []).append(value.clone() if copy else value)

    def latest_current(self, layer: str) -> Tensor:
        """Return the newest currents of a layer."""
        return self._current[layer]

    def time_course(self, layer: str, u: Tensor, neuron: NeuronParameters, before: Tensor | None) -> None:
        """Keep delta, v and c that follow from u (time, batch, ...) and v before the first step (1, batch, ...)."""
        if "delta" in self.names:
            self.add("delta", layer, threshold_distance(u, neuron))
        if not self.names & {"v", "c"}:
            return
        v = after_reset(u, neuron)
        first = torch.zeros_like(v[:1]) if before is None else before
        self.add("c", layer, u - torch.cat([first, v[:-1]]))
        self.add("v", layer, v)

    def extend(self, other: Recorder) -> None:
        """Take over what another recorder collected."""
        for name, layers in other.collected.items():
            for layer, pieces in layers.items():
                self.collected[name].setdefault(layer, []).extend(pieces)

    def joined(self, dim: int) -> dict[str, dict[str, Tensor]]:
        """Return the pieces joined along time (0) or batch (1)."""
        return {
            name: {layer: torch.cat(pieces, dim) for layer, pieces in layers.items()}
            for name, layers in self.collected.items()
        }
