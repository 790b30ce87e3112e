"""What one inference of a network costs."""

from __future__ import annotations

import torch
from reprokit.run.cost import InferenceCost
from torch import Tensor, nn

from bdfa.rules.feedback_model import FeedbackModel


@torch.no_grad()
def inference_cost(network: FeedbackModel, input_shape: tuple[int, ...]) -> InferenceCost:
    """Count parameters, and the multiply-adds of linear and convolutional layers for one sample; nothing spikes.

    Args:
        network: The network; layers that it uses twice count twice, layers of other kinds have no multiply-adds.
        input_shape: Shape of a sample.
    """
    counted = 0

    def count(module: nn.Module, _: object, output: object) -> None:
        nonlocal counted
        weight = getattr(module, "weight", None)
        if isinstance(output, Tensor) and isinstance(weight, Tensor):
            counted += output.numel() * weight[0].numel()

    layers = [
        module
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    first = next(network.parameters())
    hooks = [layer.register_forward_hook(count) for layer in layers]
    training = network.training
    try:
        network.eval()
        network(torch.zeros((1, *input_shape), dtype=first.dtype, device=first.device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return InferenceCost(sum(parameter.numel() for parameter in network.forward_parameters()), counted)
