"""One weight update: accumulated gradients, optimiser step, constraint, schedule.

After the optimiser step, the weights are turned back into columns of probabilities (`sbs.constrained`), and
epsilon_xy is clamped from below and, if the layer's configuration says so, replaced by its mean.

V2 also divided dL/dh by its running maximum and the weights' gradient by the number of positions; both
cancel in Adam's m / sqrt(v) and are left out here (DEV-24). Layers offer them:
`SbSLayer(gradient_scale_updates=...)` and `SbSLayer.average_weight_gradient`.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from sbs.config import LearningConfig, NetworkConfig
from sbs.model.networks import sbs_layers
from sbs.rules.losses import cross_entropy, mixed
from sbs.training.optimizers import TORCH_RATE, MultiplicativeAdam, SbSLRScheduler, adam, plateau

DEAD = 10  # consecutive updates without any gradient after which training has stopped learning
SMALLEST_CHANGE = {
    "adam": 1e-8,
    "multiplicative": 1e-14,
}  # smallest change of a rate by the plateau schedule: torch's, V2's


@dataclass
class Totals:
    """Sums over batches.

    Attributes:
        loss: Sum of the batches' losses.
        wrong: Wrongly classified images.
        images: Images seen.
    """

    loss: float = 0.0
    wrong: int = 0
    images: int = 0

    def add(self, loss: float, wrong: int, images: int) -> None:
        """Add one batch."""
        self.loss += loss
        self.wrong += wrong
        self.images += images

    @property
    def loss_per_image(self) -> float:
        """Loss divided by the number of images, the value the original's schedules see."""
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Wrongly classified images in percent."""
        return 100.0 * self.wrong / self.images

    def values(self) -> list[float]:
        """Return the sums in the order of the constructor."""
        return [self.loss, self.wrong, self.images]


class Learner:
    """A network with its optimisers and schedules.

    Args:
        network: Ends in ``(sample, class, 1, 1)``; its parameters' ``requires_grad`` is set from the
            configuration.
        stages: The configuration from which the network was built.
        config: Loss, optimisers and schedules.
    """

    def __init__(self, network: nn.Sequential, stages: NetworkConfig, config: LearningConfig) -> None:
        self.network = network
        self.config = config
        self.layers = sbs_layers(network)
        self.settings = [layer for layer in stages.layers if layer.kind != "average-pool"]
        self.weights, self.epsilons = self._parameters()
        self.optimizers = self._optimizers()
        self.schedules = self._schedules()
        self.batch = Totals()
        self.window = Totals()
        self.updates = 0
        self.dead = 0

    def accumulate(self, inputs: Tensor, labels: Tensor) -> None:
        """Pass one batch forward and backward, adding its gradients.

        Args:
            inputs: Layer input ``(sample, channel, height, width)``.
            labels: int64 ``(sample,)``.
        """
        h = self.network(inputs)
        loss = self._loss(h, labels)
        loss.backward()
        wrong = int((h.detach().flatten(1).argmax(1) != labels).sum())
        self.batch.add(float(loss.detach()), wrong, len(labels))

    def step(self) -> dict[str, float]:
        """Update the weights with the gradients added since the last step.

        Returns:
            ``loss`` per image, ``train_error`` in percent, and the learning rates used.

        Raises:
            UserError: The loss or a parameter is not finite, or there was no gradient in `DEAD` consecutive
                updates (or in all of a shorter training).
        """
        self._check_alive()
        rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in self.optimizers.items()}
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._check_finite()
        self._constrain()
        record = {"loss": self.batch.loss_per_image, "train_error": self.batch.error}
        self.window.add(self.batch.loss, self.batch.wrong, self.batch.images)
        self.batch = Totals()
        self.updates += 1
        if self.updates % self.config.schedule_every == 0:
            value = self.window.error if self.config.schedule_on_error else self.window.loss_per_image
            for schedule in self.schedules.values():
                schedule.step(*() if self.config.schedule == "cosine" else (value,))
            self.window = Totals()
        return record | {f"{name}_rate": rate for name, rate in rates.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs in addition to the network."""
        return {
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "schedules": {name: schedule.state_dict() for name, schedule in self.schedules.items()},
            "window": self.window.values(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, schedule in self.schedules.items():
            schedule.load_state_dict(state["schedules"][name])
        self.window = Totals(*state["window"])
        self.updates = state["updates"]

    def _loss(self, h: Tensor, labels: Tensor) -> Tensor:
        config = self.config
        if config.loss == "cross-entropy":
            return cross_entropy(h, labels)
        return mixed(h, labels, config.loss_form, config.mse_weight, config.kl_weight)

    def _parameters(self) -> tuple[list[Tensor], list[Tensor]]:
        """Sort parameters by kind and switch off the gradients of those that are not learned."""
        weights, epsilons = [], []
        for layer, setting in zip(self.layers, self.settings, strict=True):
            layer._weights.requires_grad_(setting.learn_weights)
            layer._epsilon_xy.requires_grad_(setting.learn_epsilon)
            weights += [layer._weights] if setting.learn_weights else []
            epsilons += [layer._epsilon_xy] if setting.learn_epsilon else []
        return weights, epsilons

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        config = self.config
        found: dict[str, torch.optim.Optimizer] = {}
        if self.weights and config.optimizer == "multiplicative":
            rate = config.weight_rate if config.weight_rate > 0 else TORCH_RATE
            found["weight"] = MultiplicativeAdam(self.weights, lr=rate)
        elif self.weights:
            found["weight"] = adam(self.weights, config.weight_rate)
        if self.epsilons:
            found["epsilon"] = adam(self.epsilons, config.epsilon_rate)
        if not found:
            raise UserError("nothing is trained: every layer has learn_weights and learn_epsilon false")
        return found

    def _schedules(self) -> dict[str, Any]:
        config = self.config
        patience = {"weight": config.weight_patience, "epsilon": config.epsilon_patience}
        factor = {"weight": config.weight_factor, "epsilon": config.epsilon_factor}
        tau = {"weight": config.weight_tau, "epsilon": config.epsilon_tau}
        found: dict[str, Any] = {}
        for name, optimizer in self.optimizers.items():
            if config.schedule == "cosine":
                steps = max(1, config.updates // config.schedule_every)
                found[name] = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
            elif config.schedule == "none" or patience[name] <= 0:
                continue
            elif config.schedule == "sbs":
                found[name] = SbSLRScheduler(optimizer, factor[name], patience[name], tau[name])
            else:
                smallest = SMALLEST_CHANGE[config.optimizer]
                found[name] = plateau(optimizer, factor[name], patience[name], smallest)
        return found

    def _check_alive(self) -> None:
        """Count updates in which every gradient is exactly 0; then h is h_initial, or one neuron, for any input."""
        learned = [*self.weights, *self.epsilons]
        alive = any(value.grad is not None and bool(value.grad.any()) for value in learned)
        self.dead = 0 if alive else self.dead + 1
        if self.dead >= min(DEAD, self.config.updates):
            raise UserError(
                f"update {self.updates + 1}: in {self.dead} updates no gradient has reached any layer, so "
                "nothing is learned; check whether the images are dark in the visible part (augmentation.crop, "
                "data.offset), raise "
                "network.epsilon_xy or network.number_of_spikes"
            )

    def _check_finite(self) -> None:
        """Raise `UserError` if the loss or a parameter is NaN or infinite, because training cannot recover."""
        remedy = "lower learning.weight_rate and learning.epsilon_rate, and start again"
        if not math.isfinite(self.batch.loss):
            raise UserError(f"update {self.updates + 1}: the loss is {self.batch.loss}; {remedy}")
        for index, layer in enumerate(self.layers):
            for name, value in (("weights", layer._weights), ("epsilon_xy", layer._epsilon_xy)):
                if not bool(value.detach().sum().isfinite()):
                    raise UserError(
                        f"update {self.updates + 1}: {name} of SbS layer {index} is not finite; {remedy}"
                    )

    @torch.no_grad()
    def _constrain(self) -> None:
        config = self.config
        for layer, setting in zip(self.layers, self.settings, strict=True):
            if setting.learn_weights:
                divisor = layer.number_of_input_neurons if config.weight_threshold_per_channel else 1
                layer.constrain_weights(config.weight_threshold / divisor, config.constraint)
            if setting.learn_epsilon:
                layer.threshold_epsilon_xy(config.epsilon_threshold)
                if setting.average_epsilon:
                    layer.mean_epsilon_xy()
