"""Networks in which nothing depends on the input any more: training stops with an error message.

With relu, too large a step can leave every unit of a layer below zero for all images; its output and its derivative are
0, so neither that layer nor those below it ever learn again, the scores are the same for all images and the
error stays at chance. Saturated tanh and sigmoid units end the same way. None of this is infinite or NaN, so it needs
its own check.
"""

from __future__ import annotations

from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.rules.feedback_model import FeedbackModel

SAMPLES = 256
STEPS = 20  # weights that start at zero need a few epochs until the scores depend on the input


@torch.no_grad()
def check_alive(model: FeedbackModel, images: Tensor, epoch: int, rate: float) -> None:
    """Refuse to continue with a network whose scores are the same for all images.

    Args:
        model: The network; left in evaluation mode.
        images: Some training images, not all the same.
        epoch: Epoch, for the message.
        rate: Learning rate, for the message.

    Raises:
        UserError: The message names the first layer whose output is the same for all images.
    """
    found: list[tuple[str, Tensor]] = []

    def note(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            fits = isinstance(output, Tensor) and output.dim() > 1 and len(output) == len(images)
            if fits and _constant(output):
                found.append((name, output))

        return hook

    model.eval()
    scores = model(images)
    if not _constant(scores) or _constant(images):
        return
    leaves = {name: module for name, module in model.model.named_modules() if not any(module.children())}
    handles = [module.register_forward_hook(note(name)) for name, module in leaves.items()]
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    name, output = found[0] if found else ("output", scores)
    what = "is 0" if not bool(output.any()) else "gives the same values"
    raise UserError(
        f"the network died in epoch {epoch}: layer {name!r} {what} for all images, so the scores no longer depend on "
        f"the input and nothing learns; use a smaller --lr than {rate:g}, --act tanh, or weights that do not start at "
        "zero (--init uniform)."
    )


def _constant(values: Tensor) -> bool:
    return torch.equal(values, values[:1].expand_as(values))
