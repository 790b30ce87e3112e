"""The interface of a weight rule: what it remembers, what follows from spikes, and how weights change.

The rules of the package use nothing else (`nalsm.rules.builtin`); the compiled engine computes the same faster.
Pass your own rule to `PlasticityParameters(rule=object)`, or let ``--rule package.module:factory`` make it from
the parameters of a phase. It runs on the torch engine, about 30 times slower.

Each millisecond, once the spikes are known: `observe`, then W <- clip(W + `change`, low, high) with the bounds of
`nalsm.rules.plasticity`.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

Memory = dict[str, Any]


class Wiring(NamedTuple):
    """The active synapses of a liquid, from neuron `pre` to neuron `post`.

    Attributes:
        post, pre: int64 (synapse,), neuron numbers: liquid (excitatory, then inhibitory), then input.
        excitatory, inhibitory: bool (synapse,), kind of `pre`; if neither, it is an input.
        liquid: number of liquid neurons.
        neurons: number of all neurons.
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
        name: its name in messages.
    """

    @property
    def name(self) -> str:
        """See the class."""
        ...

    def start(self, wiring: Wiring, samples: int, like: Tensor) -> Memory:
        """Return the rule's memory at the start of a presentation.

        Args:
            wiring: the synapses.
            samples: number of samples.
            like: tensor whose dtype and device new tensors should have, as in ``like.new_zeros(samples,
                wiring.neurons)``.

        Returns:
            Values by name. ``trace`` and ``calcium``, (sample, neuron), carry over between presentations of the
            initialisation phase; ``depression``, (sample,), is recorded; all others start again.
        """
        ...

    def observe(self, memory: Memory, spikes: Tensor) -> None:
        """Update the memory from spikes (sample, neuron), 0 or 1, before the weights change."""
        ...

    def change(self, memory: Memory, weights: Tensor, spikes: Tensor, wiring: Wiring) -> Tensor:
        """Return dW, (sample, synapse), and advance the memory by one millisecond.

        Args:
            memory: what `start` returned, to be changed in place.
            weights: W before the change, (sample, synapse).
            spikes: S, (sample, neuron), 0 or 1.
            wiring: the synapses.
        """
        ...
