r"""FA and its sign-symmetric relatives: layers whose input gradient travels through a feedback weight F instead of W.

Forward `a = x W^T + b`. Backward, with δ the gradient at `a`:

    dW = δ^T x,   db = Σ δ,   dx = δ F

(likewise for convolutions, with F in place of W in the transposed convolution). The mode says what F is: ``"fa"``
fixed and random (Lillicrap et al. 2016); ``"usf"`` `c sign(W)`; ``"frsf"`` `|F| ∘ sign(W)`; ``"brsf"`` the same with
magnitudes redrawn at every forward pass (Liao, Leibo and Poggio 2016); ``"kolen-pollack"`` a second parameter that
receives the gradient of W, so that one optimiser with weight decay lets the two converge (Kolen and Pollack 1994);
``"transposed"`` the transpose of a matrix that another module owns (BFA).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from reprokit import UserError
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from bdfa.checks import real, whole
from bdfa.rules.distributed import group_of_pass, share
from bdfa.rules.initialisation import fan_in, generator
from bdfa.rules.protocol import LearningRule, Place, Seen, checked_matrix, drawn

Learner = Callable[[Tensor, Tensor], None]  # of inputs and errors of a layer


class FeedbackLinear(torch.autograd.Function):
    """`x W^T + b` with the error sent back through F; x (..., in), W and F (out, in), b (out,)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        feedback: Tensor,
        learner: Learner | None = None,
    ) -> Tensor:
        """Apply the linear map; `learner` sees the inputs and δ once the signal is sent."""
        ctx.save_for_backward(inputs, feedback)
        ctx.weight_dtype, ctx.learner = weight.dtype, learner
        return F.linear(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of input, weight, bias and F."""
        inputs, feedback = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, needs_feedback = ctx.needs_input_grad[:4]
        flat = delta.reshape(-1, delta.shape[-1])
        d_input = d_weight = d_bias = None
        if needs_input:
            d_input = (delta @ feedback.to(delta.dtype)).to(inputs.dtype)
        if needs_weight or needs_feedback:
            rows = inputs.reshape(-1, inputs.shape[-1]).to(delta.dtype)
            d_weight = (flat.T @ rows).to(ctx.weight_dtype)
        if needs_bias:
            d_bias = flat.sum(0).to(ctx.weight_dtype)
        if ctx.learner is not None:
            ctx.learner(inputs, delta)
        return d_input, d_weight, d_bias, d_weight if needs_feedback else None, None


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
        learner: Learner | None = None,
    ) -> Tensor:
        """Apply the convolution; `learner` sees the inputs and δ once the signal is sent."""
        ctx.save_for_backward(inputs, feedback)
        ctx.options, ctx.weight_dtype, ctx.learner = options, weight.dtype, learner
        return F.conv2d(inputs, weight, bias, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        """Gradients of input, weight, bias and F."""
        inputs, feedback = ctx.saved_tensors
        needs_input, needs_weight, needs_bias, needs_feedback = ctx.needs_input_grad[:4]
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
        if ctx.learner is not None:
            ctx.learner(inputs, delta)
        return d_input, d_weight, d_bias, d_weight if needs_feedback else None, None, None


MODES = ("fa", "usf", "frsf", "brsf", "kolen-pollack", "transposed")


class FeedbackLayer(nn.Module):
    """State shared by the two layers: the mode, the feedback tensor, the switch to the true gradient."""

    weight: Any  # the parameter of nn.Linear or nn.Conv2d
    mode: str
    rule: LearningRule
    place: Place
    true_gradient: bool
    _scale: float
    _source: tuple[Tensor, ...]

    def attach(
        self, mode: str, feedback: Tensor | None, *, scale: float, source: Tensor | None = None
    ) -> None:
        """Give the layer its feedback.

        Args:
            mode: One of `MODES`.
            feedback: Initial F, shape of the weight; None for ``"usf"``, ``"brsf"`` and ``"transposed"``.
            scale: Half-width of the uniform range F is drawn from; usf uses its RMS, brsf draws from it.
            source: For ``"transposed"``: the matrix V whose transpose is F.
        """
        self.mode, self._scale, self.true_gradient = mode, scale, False
        self._source = () if source is None else (source,)
        if feedback is None:
            return
        if mode == "kolen-pollack":
            self.feedback = nn.Parameter(feedback)
        else:
            self.register_buffer("feedback", feedback)

    def attach_own(self, rule: LearningRule, place: Place, random: torch.Generator) -> None:
        """Give the layer the feedback that a user's own rule draws.

        Raises:
            UserError: The rule returns the wrong type or shape.
        """
        feedback = drawn(rule, place, random)
        if feedback is not None:
            fitting = feedback.detach().to(self.weight.device, self.weight.dtype)
            feedback = nn.Parameter(fitting) if isinstance(feedback, nn.Parameter) else fitting
        self.attach("kolen-pollack" if isinstance(feedback, nn.Parameter) else "own", feedback, scale=0.0)
        self.mode, self.rule, self.place = "own", rule, place
        checked_matrix(rule, place, self._own_feedback(), self.weight.detach())

    def _own_feedback(self) -> Tensor | None:
        return getattr(self, "feedback", None)

    def learner(self) -> Learner | None:
        """The receiver of a pass's inputs and errors: a user's own rule, in training mode."""
        if self.mode != "own" or self.true_gradient or not self.training:
            return None
        return self._learn

    @torch.no_grad()
    def _learn(self, inputs: Tensor, error: Tensor) -> None:
        feedback = self._own_feedback()
        kept = None if feedback is None else feedback.data  # the same memory, hidden from autograd
        self.rule.learn(self.place, kept, self.weight.detach(), Seen(inputs.detach(), error.detach()))

    def feedback_weight(self) -> Tensor:
        """Current F, shape of the weight."""
        if self.true_gradient:
            return self.weight.detach()
        if self.mode == "own":
            return self.rule.matrix(self.place, self._own_feedback(), self.weight.detach())
        if self.mode == "transposed":
            return self._source[0].T
        if self.mode in ("fa", "kolen-pollack"):
            return self.feedback  # type: ignore[return-value]
        sign = self.weight.detach().sign()
        if self.mode == "usf":
            return sign * (self._scale / math.sqrt(3))
        if self.mode == "frsf":
            return self.feedback.abs() * sign  # type: ignore[operator]
        drawn = torch.rand_like(sign)
        group = None if torch.compiler.is_compiling() else group_of_pass()
        if group is not None:
            share([drawn], group)
        return drawn * self._scale * sign


class FALinear(FeedbackLayer, nn.Linear):
    """`nn.Linear` that sends its error back through a feedback weight.

    Args:
        in_features: Inputs.
        out_features: Outputs.
        bias: Whether to add a bias.
        mode: One of ``"fa"``, ``"usf"``, ``"frsf"``, ``"brsf"``, ``"kolen-pollack"``.
        scale: Half-width X of the uniform range of F; 0 means 1/√in_features.
        seed: Seed of F.
        device: Device of the parameters.
        dtype: Dtype of the parameters.

    Raises:
        UserError: For an unknown mode.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        mode: str = "fa",
        scale: float = 0.0,
        seed: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        sizes = whole("in_features", in_features, 1), whole("out_features", out_features, 1)
        super().__init__(*sizes, bias, device=device, dtype=dtype)
        attach_random(self, mode, scale, generator(seed), copy=False)

    def forward(self, input: Tensor) -> Tensor:  # nn.Linear's own name for it
        """Apply the layer; input (..., in_features), output (..., out_features)."""
        return FeedbackLinear.apply(  # type: ignore[no-any-return]
            input, self.weight, self.bias, self.feedback_weight(), self.learner()
        )


class FAConv2d(FeedbackLayer, nn.Conv2d):
    """`nn.Conv2d` (any stride, padding, dilation, groups) whose error goes back through a feedback weight.

    Args:
        in_channels: Input channels.
        out_channels: Output channels.
        kernel_size: Height and width of the kernel.
        mode: As in `FALinear`.
        scale: Half-width X of the uniform range of F; 0 means 1/√(in_channels/groups·height·width).
        seed: Seed of F.
        options: Further arguments of `nn.Conv2d`.

    Raises:
        UserError: For an unknown mode.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        mode: str = "fa",
        scale: float = 0.0,
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, **options)
        attach_random(self, mode, scale, generator(seed), copy=False)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding: Any = self.padding
        if self.padding_mode != "zeros" or padding == "same":
            mode = "constant" if self.padding_mode == "zeros" else self.padding_mode
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=mode)
            padding = (0, 0)
        elif padding == "valid":
            padding = (0, 0)
        options = (self.stride, padding, self.dilation, self.groups)
        feedback = self.feedback_weight()
        if input.dim() == 3:
            return FeedbackConvolution.apply(input[None], weight, bias, feedback, options, self.learner())[0]  # type: ignore[index]
        return FeedbackConvolution.apply(input, weight, bias, feedback, options, self.learner())  # type: ignore[return-value]


def feedback_layers(model: nn.Module) -> dict[str, FeedbackLayer]:
    """Return the layers of `model` that own a feedback weight, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, FeedbackLayer)}


@contextmanager
def forward_weights(model: nn.Module, skip: int = 0) -> Iterator[None]:
    """Inside the ``with`` block all feedback layers but the first `skip` send errors through W itself."""
    layers = list(feedback_layers(model).values())[skip:]
    before = [layer.true_gradient for layer in layers]
    for layer in layers:
        layer.true_gradient = True
    try:
        yield
    finally:
        for layer, value in zip(layers, before, strict=True):
            layer.true_gradient = value


def attach_random(
    layer: FeedbackLayer, mode: str, scale: float, random: torch.Generator, *, copy: bool
) -> None:
    """Give a layer the feedback of a mode, drawn from `random` or a copy of its weights.

    Raises:
        UserError: For an unknown mode, or a negative or non-finite scale.
    """
    if mode not in MODES[:-1]:
        raise UserError(f"mode={mode!r} is unknown; choose one of {', '.join(MODES[:-1])}.")
    scale = real("feedback scale", scale, least=0)
    weight = layer.weight.detach()
    bound = scale or 1 / math.sqrt(fan_in(weight))
    feedback = None
    if mode in ("fa", "frsf", "kolen-pollack"):
        if copy and not scale and bool(weight.any()):
            feedback = weight.clone()
        else:
            draw = torch.empty(weight.shape, dtype=torch.float64).uniform_(-bound, bound, generator=random)
            feedback = draw.to(weight.device, weight.dtype)
    layer.attach(mode, feedback, scale=bound)
