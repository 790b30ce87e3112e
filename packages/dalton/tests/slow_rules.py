"""The local rules as loops over time-steps and layers in autograd, written from their definition only.

A layer's input is detached; its readout, targets and loss are formed at every step, and autograd does the rest. Online,
the states are detached after every step as well.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from core_networks import Problem
from dalton import LayerSpec, SpikingCNN
from torch import Tensor


class _Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx, delta: Tensor) -> Tensor:
        ctx.save_for_backward(delta)
        return (delta > 0).to(delta.dtype)

    @staticmethod
    def backward(ctx, *gradient: Tensor) -> Tensor:
        (delta,) = ctx.saved_tensors
        return gradient[0] / (1 + 5 * delta.abs()) ** 2


def linear(layer: LayerSpec, x: Tensor, weight: Tensor) -> Tensor:
    if layer.kind == "dense":
        return x.flatten(1) @ weight.T
    maps = F.conv2d(x, weight, stride=layer.stride)
    if layer.pool == 1:
        return maps
    return (F.max_pool2d if layer.pool_type == "max" else F.avg_pool2d)(maps, layer.pool)


class Loop:
    """States of a batch, and one step of a rule."""

    def __init__(self, case: Problem, rule: str) -> None:
        self.case, self.net, self.rule = case, case.net, rule
        batch = case.inputs.shape[0 if case.steps else 1]
        self.a = torch.zeros((batch, *self.net.input_shape), dtype=self.net.dtype)
        self.v = [torch.zeros((batch, *x.output_shape), dtype=self.net.dtype) for x in self.net.layers]
        self.c = [value.clone() for value in self.v]
        self.onehot = F.one_hot(case.labels, self.net.classes).to(self.net.dtype)

    def step(self, t: int) -> tuple[Tensor, Tensor]:
        """Return the loss of step t, with its graph, and the class outputs."""
        net, frame = self.net, self.case.inputs if self.case.steps else self.case.inputs[t]
        self.a = self.a + frame.to(net.dtype) * net.encoder.gain + net.encoder.bias
        x = (self.a > 1).to(net.dtype)
        self.a = torch.where(self.a > 1, 0.0, self.a)
        spikes, outputs, deltas = [], [], []
        for k, layer in enumerate(net.layers):
            self.c[k] = self.c[k] * net.neuron.decay + linear(layer, x, net.weight(layer.name))
            u = self.v[k] + self.c[k]
            p = torch.where(u >= 0, u, torch.zeros_like(u))
            deltas.append(p - net.neuron.threshold)
            spikes.append(_Fire.apply(deltas[k]))
            fired = spikes[k].detach()
            self.v[k] = p * (1 - fired) if net.neuron.reset == "hard" else p - net.neuron.threshold * fired
            mask = self.case.masks.get(layer.name)
            outputs.append(spikes[k] if mask is None else spikes[k] * mask[t])
            x = outputs[k].detach()
        loss = self._tfr(outputs) if self.rule == "tfr" else self._dalton(outputs, spikes, deltas)
        return loss, outputs[-1].detach() @ net.out.detach().T

    def detach(self) -> None:
        self.v, self.c = [v.detach() for v in self.v], [c.detach() for c in self.c]

    def _tfr(self, outputs: list[Tensor]) -> Tensor:
        readouts = [self.net.readout(name).detach() for name in self.net.layer_names]
        return sum(
            ((o.flatten(1) @ r.T - self.onehot) ** 2).mean() for o, r in zip(outputs, readouts, strict=True)
        )  # pyright: ignore[reportReturnType]

    def _readout(self, k: int, o: Tensor) -> Tensor:
        if k == len(self.net.layers) - 1:
            return o @ self.net.out.detach().T
        above = self.net.layers[k + 1]
        return linear(above, o, self.net.weight(above.name).detach())

    def _dalton(self, outputs: list[Tensor], spikes: list[Tensor], deltas: list[Tensor]) -> Tensor:
        last = len(outputs) - 1
        prediction = self._readout(last, outputs[last])
        eps = (prediction - self.onehot).detach()
        loss = ((prediction - (prediction.detach() - eps)) ** 2).mean()
        for k in reversed(range(last)):
            undropped = spikes[k + 1].detach().requires_grad_()
            (back,) = torch.autograd.grad(self._readout(k + 1, undropped), undropped, eps)
            eps = back / (1 + 5 * deltas[k + 1].detach().abs()) ** 2
            prediction = self._readout(k, outputs[k])
            loss = loss + ((prediction - (prediction.detach() - eps)) ** 2).mean()
        return loss


def bptt(case: Problem, rule: str) -> tuple[float, dict[str, Tensor], Tensor]:
    """Return the loss of a sequence, the gradient of every spiking layer, and class outputs."""
    loop, total, outputs = Loop(case, rule), torch.zeros(()), []
    for t in range(case.length):
        loss, output = loop.step(t)
        total = total + loss / case.length
        outputs.append(output)
    return total.item(), _gradients(case.net, total), torch.stack(outputs)


def online(
    case: Problem, rule: str, optimizer: torch.optim.Optimizer, burn_in: int
) -> tuple[list[float], Tensor]:
    """Train on the gradient of each step; returns the losses of all steps and class outputs from burn-in on."""
    loop, losses, outputs = Loop(case, rule), [], []
    for t in range(case.length):
        loss, output = loop.step(t)
        losses.append(loss.item())
        if t >= burn_in:
            outputs.append(output)
            for name, gradient in _gradients(case.net, loss).items():
                case.net.weight(name).grad = gradient
            optimizer.step()
        loop.detach()
    return losses, torch.stack(outputs)


def _gradients(net: SpikingCNN, loss: Tensor) -> dict[str, Tensor]:
    weights = [net.weight(name) for name in net.layer_names]
    return dict(zip(net.layer_names, torch.autograd.grad(loss, weights), strict=True))
