r"""Bidirectional feedback alignment: the feedback path is a network that learns to generate the input.

Feedback weights `V_1` (H_L, C), `V_2` (H_{L−1}, H_L), …, `V_{L+1}` (D, H_1). Each direction sends its errors
through the other's weights:

    forward phase    δ_k = (δ_{k+1} V_{L−k+1}^T) ⊙ f'(a_k)                          dW_k = δ_k^T h_{k−1}
    feedback phase   u_0 = y,  u_j = f(u_{j−1} V_j^T),  x̂ = u_L V_{L+1}^T,  ε = x̂ − x
                     γ_{L+1} = ε,  γ_j = (γ_{j+1} W_{L−j+1}^T) ⊙ f'(·)               dV_j = γ_j^T u_{j−1}

Sums over the batch. Paper: Luo, Fu and Glass 2017 (v4), section 4.1; the paper leaves open, and we chose, that
there are no biases, that the generated input is linear, and that the order is sequential (DEV-7).

The feedback phase can diverge: with plain gradient descent of rate η, V_{L+1} is stable while η λ < 2, where λ is the
largest eigenvalue of `Σ u_L^T u_L` over a batch. With tanh or sigmoid λ is at most (samples in the batch) × H_1, so
η < 2 / (samples × H_1) is always safe: 3.9e-5 for 128 samples and 400 units. A larger η works until u_L has grown.

With a sigmoid output, `x̂ = σ(u_L V_{L+1}^T)`, the error ε is the same: it is that of the cross-entropy between x̂ and
inputs in 0..1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.nn import functional

from bdfa.checks import real
from bdfa.model.criteria import IGNORED, check_labels, one_hot
from bdfa.rules.chain import NONLINEARITIES, sequential_chain
from bdfa.rules.fa import FALinear
from bdfa.rules.initialisation import generator

MOST_DUE = 256
OUTPUTS = ("identity", "sigmoid")


class GenerativeFeedback(nn.Module):
    """The feedback network of BFA; its weights are parameters ``V1`` … without autograd gradients.

    Args:
        layers: The forward network's linear layers, from the input up.
        activation: Class name of the hidden nonlinearity f: ``"Tanh"``, ``"Sigmoid"`` or ``"ReLU"``.
        input_shape: Shape of one generated input; default (D,).
        scale: Half-width of the uniform range of V; 0 means 1/√fan_in.
        seed: Seed of V.
        lr: Step of the plain gradient descent used unless `optimiser` is set.
        order: ``"sequential"`` or ``"simultaneous"``.
        output: Nonlinearity at the generated input: ``"identity"``, or ``"sigmoid"`` for inputs in 0..1.
        manual: Wait for `step` instead of following the weights' optimiser.

    Attributes:
        optimiser: Optimiser of V; assign another one to train V differently.
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        activation: str,
        *,
        input_shape: tuple[int, ...] | None = None,
        scale: float = 0.0,
        seed: int | None = 0,
        lr: float = 1e-4,
        order: str = "sequential",
        output: str = "identity",
        manual: bool = False,
    ) -> None:
        super().__init__()
        if not layers:
            raise UserError("layers is empty; give the forward network's linear layers.")
        lr, scale = real("feedback_lr", lr, least=0), real("feedback scale", scale, least=0)
        if order not in ("sequential", "simultaneous"):
            raise UserError(f"order={order!r} is unknown; choose 'sequential' or 'simultaneous'.")
        if output not in OUTPUTS:
            raise UserError(f"output={output!r} is unknown; choose 'identity' or 'sigmoid'.")
        if activation not in NONLINEARITIES:
            raise UserError(
                f"activation={activation!r} is unknown; choose one of {', '.join(NONLINEARITIES)}."
            )
        self.activation, self.order, self.output, self.manual = activation, order, output, manual
        self._in_range = output == "identity"  # whether inputs need no look at their range
        self.input_shape = input_shape or (layers[0].in_features,)
        self._layers = (tuple(layers),)
        random = generator(seed)
        for j, layer in enumerate(reversed(layers), 1):
            shape = (layer.in_features, layer.out_features)
            bound = scale or 1 / math.sqrt(shape[1])
            draw = torch.empty(shape, dtype=torch.float64).uniform_(-bound, bound, generator=random)
            value = draw.to(layer.weight.device, layer.weight.dtype)
            self.register_parameter(f"V{j}", nn.Parameter(value, requires_grad=False))
        self.optimiser: torch.optim.Optimizer = torch.optim.SGD(self.weights, lr=lr)
        self._due: list[tuple[Tensor, Tensor]] = []
        self._seen: list[Tensor] = []

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        """The forward layers whose weights carry the feedback's errors."""
        return self._layers[0]

    @property
    def weights(self) -> list[nn.Parameter]:
        """`V_1` … `V_{L+1}`."""
        return [getattr(self, f"V{j}") for j in range(1, len(self.layers) + 1)]

    @torch.no_grad()
    def activities(self, labels: Tensor) -> list[Tensor]:
        """`u_0 = y, u_1, …, u_L, x̂` for class indices, each (labels, units)."""
        weights, function = self.weights, NONLINEARITIES[self.activation][0]
        found = [one_hot(labels, weights[0].shape[1], weights[0].dtype)]
        for weight in weights[:-1]:
            found.append(function(found[-1] @ weight.T))
        made = found[-1] @ weights[-1].T
        return [*found, made if self.output == "identity" else made.sigmoid()]

    def generate(self, labels: Tensor) -> Tensor:
        """Inputs that the feedback network generates from class indices, shape (labels, *input_shape).

        Raises:
            UserError: For labels out of range.
        """
        self.catch_up()
        check_labels(labels, self.weights[0].shape[1], getattr(labels, "shape", ()))
        if bool((labels == IGNORED).any()):
            raise UserError(
                f"labels hold {IGNORED}, which is not a class; give class indices to generate from."
            )
        return self.activities(labels)[-1].view(labels.numel(), *self.input_shape)

    @torch.no_grad()
    def gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        """Gradients `dV_j` of the reconstruction loss with the forward layers' current weights.

        Args:
            inputs: x, shape (batch, ...).
            labels: Class indices, shape (batch,).

        Returns:
            One gradient per V, a sum over the batch.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            return self._gradients(inputs, labels)

    def _gradients(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        activities = self.activities(labels)
        derivative = NONLINEARITIES[self.activation][1]
        gamma = activities[-1] - inputs.reshape(len(labels), -1).to(activities[-1].dtype)
        gamma = gamma * (labels != IGNORED).to(gamma.dtype)[:, None]
        found = [gamma.T @ activities[-2]]
        for j in range(len(self.weights) - 1, 0, -1):
            weight = self.layers[len(self.weights) - 1 - j].weight
            gamma = (gamma @ weight.T) * derivative(activities[j])
            found.append(gamma.T @ activities[j - 1])
        return found[::-1]

    def reconstruction_loss(self, inputs: Tensor, labels: Tensor) -> Tensor:
        """Mean over the batch of `½‖x̂ − x‖²`; with a sigmoid output of `−Σ x log x̂ + (1 − x) log(1 − x̂)`."""
        kept = labels != IGNORED
        made, shown = self.activities(labels)[-1][kept], inputs.reshape(len(labels), -1)[kept]
        if self.output == "sigmoid":
            return functional.binary_cross_entropy(made, shown.to(made.dtype), reduction="sum") / len(made)
        return 0.5 * (made - shown).square().sum(1).mean()

    def bind(self, inputs: Tensor, *_others: Any) -> Any:
        """Return the function that the autograd node calls in the backward pass over `inputs`.

        Raises:
            UserError: For inputs outside of 0..1 in the first pass, which a sigmoid output cannot generate.
        """
        if not self._in_range:
            check_sigmoid_range(inputs)
            self._in_range = True
        return BoundGenerator(self, inputs.detach())

    def observe(self, inputs: Tensor, labels: Tensor) -> None:
        """Note a batch whose forward phase has just been computed."""
        if self.order == "simultaneous":
            self._collect(self.gradients(inputs, labels))
        else:
            self._due.append((inputs, labels))
            if len(self._due) > MOST_DUE:
                raise UserError(
                    f"{MOST_DUE} feedback phases of rule 'bfa' are waiting, but the weights have not changed; "
                    "step the optimiser, or call feedback_step() after each step."
                )
        self._seen = self._fingerprint()

    def catch_up(self) -> None:
        """Run the feedback phase if the weights have changed, or their gradients were dropped, since `observe`."""
        if self.manual or not self._seen:
            return
        dropped = any(layer.weight.requires_grad and layer.weight.grad is None for layer in self.layers)
        present = self._fingerprint()
        if dropped or any(not torch.equal(a, b) for a, b in zip(present, self._seen, strict=True)):
            self.step()

    @torch.no_grad()
    def _fingerprint(self) -> list[Tensor]:
        """One number per weight; in-place counters would miss fused optimisers."""
        return [layer.weight.sum() for layer in self.layers]

    def step(self) -> None:
        """Run the feedback phase of all noted batches with the current weights and update V."""
        for inputs, labels in self._due:
            self._collect(self.gradients(inputs, labels))
        if any(weight.grad is not None for weight in self.weights):
            self.optimiser.step()
            self.optimiser.zero_grad()
        self._due, self._seen = [], []

    def _collect(self, gradients: list[Tensor]) -> None:
        for weight, gradient in zip(self.weights, gradients, strict=True):
            weight.grad = gradient if weight.grad is None else weight.grad + gradient


def check_sigmoid_range(inputs: Tensor) -> None:
    """Refuse inputs that a sigmoid output cannot generate.

    Raises:
        UserError: Naming the values found.
    """
    if inputs.numel() and not (bool(inputs.min() >= 0) and bool(inputs.max() <= 1)):
        raise UserError(
            f"inputs lie between {inputs.min():.3g} and {inputs.max():.3g}, but feedback_output='sigmoid' generates "
            "values between 0 and 1; scale them, or use 'identity'."
        )


class BoundGenerator:
    """A generative feedback together with the inputs of one forward pass."""

    def __init__(self, feedback: GenerativeFeedback, inputs: Tensor) -> None:
        self.feedback, self.inputs = feedback, inputs

    def __call__(self, _output: Tensor, labels: Tensor, _activations: Sequence[Tensor]) -> None:
        """Note the batch."""
        self.feedback.observe(self.inputs, labels)


def attach_generative_feedback(
    model: nn.Module,
    feedback: GenerativeFeedback | None,
    *,
    seed: int | None,
    scale: float,
    order: str,
    output: str,
    lr: float,
    manual: bool,
) -> GenerativeFeedback:
    """Send the errors of a multi-layer perceptron through a generative feedback network, in place.

    Raises:
        UserError: For a network that is not a chain of linear layers, or feedback of other shapes.
    """
    layers, activation = sequential_chain(model)
    if feedback is None:
        feedback = GenerativeFeedback(
            layers, activation, input_shape=getattr(model, "input_shape", None), seed=seed, scale=scale,
            lr=lr, order=order, output=output, manual=manual,
        )  # fmt: skip
    wanted = [(layer.in_features, layer.out_features) for layer in reversed(layers)]
    found = [tuple(weight.shape) for weight in feedback.weights]
    if found != wanted:
        raise UserError(f"feedback has weights of shapes {found}, the network needs {wanted}.")
    feedback._layers = (tuple(layers),)
    for j, layer in enumerate(reversed(layers[1:])):
        layer.__class__ = FALinear
        layer.attach("transposed", None, scale=0.0, source=feedback.weights[j])  # type: ignore[operator]
    return feedback
