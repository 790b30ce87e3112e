"""Losses on the class posterior h of the last layer.

With t the one-hot target and K classes, the mixed loss is the mean over samples and classes of
``[m (h - t)^2 + k t (log t - log h)] / (m + k)``, where 0 log 0 = 0. The three versions of the original differ:

* ``v1``: the plain formula; its gradient was NaN for h = 0, here log h is bounded at 1e-20 (DEV-6)
* ``v1.1``: log(h + 1e-20) and t + 1e-20
* ``v2``: as v1.1, but summed instead of averaged
"""

from typing import Literal

import torch
from reprokit import UserError
from torch import Tensor
from torch.nn import functional

from sbs.checks import choice, real

Form = Literal["v1", "v1.1", "v2"]
TINY = 1e-20


def mixed(
    h: Tensor, labels: Tensor, form: Form = "v1", mse_weight: float = 0.5, kl_weight: float = 1.0
) -> Tensor:
    """Return the mixture of squared error and Kullback-Leibler divergence.

    Args:
        h: Class posterior ``(sample, class)`` or ``(sample, class, 1, 1)``, 0 or more.
        labels: int64 ``(sample,)``.
        form: Version of the original.
        mse_weight: m, 0 or more.
        kl_weight: k, 0 or more; not both 0.

    Returns:
        A scalar.

    Raises:
        UserError: Shapes or labels that do not fit, or invalid weights.
    """
    choice("form", form, ("v1", "v1.1", "v2"))
    m, k = real("mse_weight", mse_weight, least=0), real("kl_weight", kl_weight, least=0)
    if m + k == 0:
        raise UserError("mse_weight and kl_weight are both 0; the loss would vanish")
    h = _posterior(h, labels)
    target = functional.one_hot(labels, h.shape[1]).to(h.dtype)
    if form == "v1":
        divergence = -target * torch.log(h.clamp(min=TINY))
    else:
        target_log = target + TINY
        divergence = target_log * (torch.log(target_log) - torch.log(h + TINY))
    elements = (m * (h - target) ** 2 + k * divergence) / (m + k)
    return elements.sum() if form == "v2" else elements.mean()


def cross_entropy(h: Tensor, labels: Tensor) -> Tensor:
    """Return torch's cross entropy with h as the logits (a soft-max over probabilities; V2's ``loss_mode`` 1)."""
    return functional.cross_entropy(_posterior(h, labels), labels)


def _posterior(h: Tensor, labels: Tensor) -> Tensor:
    for name, value in (("h", h), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise UserError(f"{name} is a {type(value).__name__}; it must be a torch tensor")
    if h.dim() == 4 and h.shape[2:] == (1, 1):
        h = h.flatten(1)
    if h.dim() != 2:
        raise UserError(f"h has shape {tuple(h.shape)}; it must be (sample, class) or (sample, class, 1, 1)")
    if not len(h):
        raise UserError("h holds no samples; a loss needs at least one")
    if labels.dtype != torch.int64 or labels.shape != h.shape[:1]:
        raise UserError(
            f"labels have shape {tuple(labels.shape)} and dtype {labels.dtype}; they must be int64 ({len(h)},)"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < h.shape[1]:
        raise UserError(
            f"labels must lie in 0 ... {h.shape[1] - 1}; found {int(labels.min())} ... {int(labels.max())}"
        )
    return h
