r"""Autograd functions of a linear map and a convolution whose input gradient uses F in place of W.

With δ the gradient at the output: `dW = δ^T x`, `db = Σ δ`, `dx = δ F`, for convolutions alike. When F itself
needs a gradient (Kolen-Pollack) it gets that of W.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class FeedbackLinear(torch.autograd.Function):
    """`x W^T + b` with the error sent back through F; x (..., in), W and F (out, in), b (out,)."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, feedback: Tensor) -> Tensor:  # type: ignore[override]
        """Apply the linear map."""
        ctx.save_for_backward(inputs, feedback)
        ctx.weight_dtype = weight.dtype
        return F.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of input, weight, bias and F."""
        inputs, feedback = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, needs_feedback = ctx.needs_input_grad
        flat = delta.reshape(-1, delta.shape[-1])
        d_input = d_weight = d_bias = None
        if needs_input:
            d_input = (delta @ feedback.to(delta.dtype)).to(inputs.dtype)
        if needs_weight or needs_feedback:
            rows = inputs.reshape(-1, inputs.shape[-1]).to(delta.dtype)
            d_weight = (flat.T @ rows).to(ctx.weight_dtype)
        if needs_bias:
            d_bias = flat.sum(0).to(ctx.weight_dtype)
        return d_input, d_weight, d_bias, d_weight if needs_feedback else None


class FeedbackConvolution(torch.autograd.Function):
    """2-D convolution with F (shape of W) in the transposed one; `options`: stride, padding, dilation, groups."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        feedback: Tensor,
        options: tuple[Any, ...],
    ) -> Tensor:
        """Apply the convolution."""
        ctx.save_for_backward(inputs, feedback)
        ctx.options, ctx.weight_dtype = options, weight.dtype
        return F.conv2d(inputs, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of input, weight, bias and F."""
        inputs, feedback = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, needs_feedback, _ = ctx.needs_input_grad
        stride, padding, dilation, groups = ctx.options
        dtype = delta.dtype
        d_input, d_weight, d_bias = torch.ops.aten.convolution_backward(
            delta, inputs.to(dtype), feedback.to(dtype), [feedback.shape[0]], stride, padding, dilation,
            False, [0, 0], groups, [needs_input, needs_weight or needs_feedback, needs_bias],
        )  # fmt: skip
        if d_input is not None:
            d_input = d_input.to(inputs.dtype)
        if d_weight is not None:
            d_weight = d_weight.to(ctx.weight_dtype)
        if d_bias is not None:
            d_bias = d_bias.to(ctx.weight_dtype)
        return d_input, d_weight, d_bias, d_weight if needs_feedback else None, None
