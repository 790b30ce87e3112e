"""What a weight rule of the liquid is: what it remembers, what follows from spikes, and how weights change.

The rules of the package use nothing else (`nalsm.rules.builtin`); the compiled engine computes them by a shorter way. A
rule of your own goes into `PlasticityParameters(rule=object)`, or ``--rule package.module:factory`` names what makes it
from the parameters of a phase. It runs on the torch engine, about 30 times slower.

Each millisecond, once the spikes are known: `observe`, then W <- clip(W + `change`, low, high) with the bounds of
`nalsm.rules.plasticity`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

Memory = dict[str, Any]


class Wiring(NamedTuple):
    """The synapses of a liquid, active ones only, from neuron `pre` to neuron `post`.

    Attributes:
        post, pre: int64 (synapse,), neurons are liquid (excitatory, then inhibitory), then input.
        excitatory, inhibitory: bool (synapse,), what `pre` is; where neither, it is an input.
        liquid: number of liquid neurons.
        neurons: number of all.
    """

    post: Tensor
    pre: Tensor
    excitatory: Tensor
    inhibitory: Tensor
    liquid: int
    neurons: int


class PlasticityRule(Protocol):
    """A weight rule.

    Attributes:
        name: what messages call it.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def start(self, wiring: Wiring, samples: int, like: Tensor) -> Memory:
        """Return what the rule remembers, at the start of a presentation.

        Args:
            wiring: the synapses.
            samples: samples side by side.
            like: tensor whose dtype and device new ones take, as in ``like.new_zeros(samples, wiring.neurons)``.

        Returns:
            Values by name. ``trace`` and ``calcium``, (sample, neuron), are carried from presentation to presentation
            of the initialisation phase; ``depression``, (sample,), is recorded; all others begin anew.
        """
        ...

    def observe(self, memory: Memory, spikes: Tensor) -> None:
        """Change what follows from spikes (sample, neuron), 0 or 1, before the weights change."""
        ...

    def change(self, memory: Memory, weights: Tensor, spikes: Tensor, wiring: Wiring) -> Tensor:
        """Return dW, (sample, synapse), and take the memory one millisecond on.

        Args:
            memory: what `start` returned, to be changed in place.
            weights: W before the change, (sample, synapse).
            spikes: S, (sample, neuron), 0 or 1.
            wiring: the synapses.
        """
        ...
