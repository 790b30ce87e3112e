"""True diagonal RTRL of a layer: eligibility traces instead of going back through time (not in the original, DEV-1).

With q_t = dI_t/dW (the input patch, pooled) each neuron's influences are

    J_t = d J_{t-1} + q_t                               dc_t/dW
    Q_t = k_{t-1} Q_{t-1} + J_t                         du_t/dW
    k_t = [u_t >= 0] (1 - s_t)                          dv_t/du_t (soft reset: without 1 - s_t)
    dloss_t/dW = sum over batch and positions of r_t sigma'(delta_t) g_t Q_t

which is exact because neurons are recurrent only with themselves. Summed over the steps of a sequence with fixed
weights this is the gradient of the local rules by BPTT. Memory: batch x units x fan-in, whatever the number of steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dalton.model import layers
from dalton.model.architectures import LayerSpec
from dalton.model.neuron import NeuronParameters


def patches(spec: LayerSpec, x: Tensor, switches: Tensor | None) -> Tensor:
    """Return q = dI/dW per neuron: (batch, channel or 1, position, fan-in); 1 where it is the same for all channels.

    Args:
        spec: The layer; a dense layer has one position.
        x: Input spikes (batch, *input_shape).
        switches: Of a max-pool, (batch, channel, height, width).
    """
    if spec.kind == "dense":
        return x.reshape(len(x), 1, 1, -1)
    kernel, size = spec.weight_shape[2], layers.map_size(spec)
    columns = F.unfold(x, kernel, stride=spec.stride)
    fan_in = columns.shape[1]
    if spec.pool == 1:
        return columns.transpose(1, 2)[:, None]
    if switches is None:
        pooled = F.avg_pool2d(columns.view(len(x), fan_in, *size), spec.pool)
        return pooled.flatten(2).transpose(1, 2)[:, None]
    index = switches.flatten(2)[:, :, None].expand(-1, -1, fan_in, -1)
    chosen = columns[:, None].expand(-1, index.shape[1], -1, -1).gather(3, index)
    return chosen.transpose(2, 3)


class EligibilityTrace:
    """Influence of a layer's weights on its potentials, updated from step to step.

    Args:
        spec: The layer.
        neuron: Constants.
    """

    def __init__(self, spec: LayerSpec, neuron: NeuronParameters) -> None:
        self.spec, self.neuron = spec, neuron
        self.current: Tensor | None = None
        self.potential: Tensor | None = None
        self.keep: Tensor | None = None

    def advance(self, x: Tensor, switches: Tensor | None, u: Tensor) -> None:
        """Process one step: inputs, max-pool switches and the resulting potentials u, (batch, ...)."""
        q = patches(self.spec, x, switches)
        batch, channels = len(x), self.spec.output_shape[0]
        units = u.reshape(batch, channels, -1, 1)
        if self.current is None or self.potential is None or self.keep is None:
            self.current = q.clone()
            self.potential = q.expand(batch, channels, *q.shape[2:]).clone()
        else:
            self.current.mul_(self.neuron.decay).add_(q)
            self.potential.mul_(self.keep).add_(self.current)
        keep = units >= 0
        if self.neuron.reset == "hard":
            keep &= units <= self.neuron.threshold
        self.keep = keep.to(u.dtype)

    def gradient(self, error: Tensor) -> Tensor:
        """Return dloss_t/dW for errors r sigma' g of this step's potentials, (batch, ...)."""
        assert self.potential is not None
        batch, channels = self.potential.shape[:2]
        summed = torch.einsum("bcp,bcpf->cf", error.reshape(batch, channels, -1), self.potential)
        return summed.view(self.spec.weight_shape)
