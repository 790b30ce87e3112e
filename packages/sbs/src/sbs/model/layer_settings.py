"""The weights, epsilon_xy and initial h of an SbS layer: setting, drawing, clamping and normalising them."""

from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from sbs.checks import non_negative, real
from sbs.model.layer_shape import LayerShape
from sbs.model.weights import Order, constrained, normalise, pooling_weights, random_weights
from sbs.rules.inference import Learning


class LayerParameters(LayerShape):
    """Parameters of `sbs.SbSLayer`."""

    _weights: nn.Parameter
    _epsilon_xy: nn.Parameter
    _h_initial: Tensor
    _one_hot_at: tuple[Any, bool] = (None, False)
    weight_form: str
    is_pooling_layer: bool
    learning: Learning

    @property
    def weights(self) -> Tensor:
        """W ``(component, neuron)``, columns sum to 1; setting it normalises the columns."""
        return self._weights if self.weight_form == "constrained" else torch.softmax(self._weights, 0)

    @weights.setter
    def weights(self, value: Any) -> None:
        values = normalise(non_negative("weights", value, [tuple(self._weights.shape)]))
        self._set(self._weights, values.log() if self.weight_form == "softmax" else values)

    @property
    def epsilon_xy(self) -> Tensor:
        """epsilon_xy ``(X, Y)`` or ``(X, Y, k0, k1)``; setting one shape or the other is allowed."""
        return self._epsilon_xy

    @epsilon_xy.setter
    def epsilon_xy(self, value: Any) -> None:
        shapes = [self._output_size, (*self._output_size, *self._geometry.kernel)]
        values = non_negative("epsilon_xy", value, shapes)
        if not bool((values > 0).all()):
            raise UserError("epsilon_xy holds a value that is 0; it must be greater than 0 everywhere")
        if values.shape != self._epsilon_xy.shape:
            self._epsilon_xy = nn.Parameter(values.to(self._epsilon_xy), self._epsilon_xy.requires_grad)
        else:
            self._set(self._epsilon_xy, values)

    @property
    def h_initial(self) -> Tensor:
        """H before the first spike ``(neuron,)``; setting it normalises."""
        return self._h_initial

    @h_initial.setter
    def h_initial(self, value: Any) -> None:
        values = non_negative("h_initial", value, [(self._neurons,)])
        if not float(values.sum()) > 0:
            raise UserError("h_initial sums to 0; at least one neuron must start above 0")
        self._set(self._h_initial, values / values.sum())

    def initialize_weights(self, is_pooling_layer: bool = False, noise_amplitude: float = 0.01) -> None:
        """Draw new weights, or set those of a pooling layer."""
        if is_pooling_layer:
            if self._channels != self._neurons:
                raise UserError("pooling weights need as many neurons as input neurons")
            self._weights.requires_grad_(False)
            self.weights = pooling_weights(self._channels, self._geometry.kernel)
        else:
            self.weights = random_weights(self.number_of_components, self._neurons, noise_amplitude)

    def initialize_epsilon_xy(self, epsilon_xy_initial: float) -> None:
        """Set epsilon_xy to a constant greater than 0."""
        value = real("epsilon_xy_initial", epsilon_xy_initial, above=0)
        self._set(self._epsilon_xy, torch.full(self._epsilon_xy.shape, value))

    def set_h_init_to_uniform(self) -> None:
        """Let h start at 1 / J."""
        self._set(self._h_initial, torch.full((self._neurons,), 1.0 / self._neurons))

    def threshold_weights(self, threshold: float) -> None:
        """Clamp the weights from below, without normalising."""
        self._clamp(self._weights, threshold)

    def threshold_epsilon_xy(self, threshold: float) -> None:
        """Clamp epsilon_xy from below."""
        self._clamp(self._epsilon_xy, threshold)

    def norm_weights(self) -> None:
        """Normalise the columns."""
        if self.weight_form == "constrained":
            self._set(self._weights, normalise(self._weights.detach()))

    def constrain_weights(self, threshold: float, order: Order = "clamp-first") -> None:
        """Bring the weights back to probabilities after an optimiser step, see `sbs.model.weights.constrained`."""
        if self.weight_form == "constrained" and not self._is_one_hot():
            self._set(self._weights, constrained(self._weights.detach(), threshold, order))

    def mean_epsilon_xy(self) -> None:
        """Replace epsilon_xy by its mean."""
        self._set(self._epsilon_xy, self._epsilon_xy.detach().mean().expand(self._epsilon_xy.shape))

    def average_weight_gradient(self) -> None:
        """Divide the weights' gradient by the number of positions added up in it (V2), and start to count anew."""
        if self._weights.grad is not None and self.learning.contributions:
            self._weights.grad /= self.learning.contributions
        self.learning.contributions = 0

    def _clamp(self, parameter: Tensor, threshold: float) -> None:
        if parameter is self._weights and self.weight_form == "softmax":
            raise UserError("weights in softmax form are always greater than 0; there is nothing to clamp")
        with torch.no_grad():
            parameter.clamp_(min=real("threshold", threshold, least=0))

    @staticmethod
    def _set(parameter: Tensor, values: Tensor) -> None:
        with torch.no_grad():
            parameter.copy_(values)

    def _is_one_hot(self) -> bool:
        if not self.is_pooling_layer or self._weights.requires_grad:
            return False
        version = (self._weights._version, self._weights.data_ptr())
        if self._one_hot_at[0] != version:
            expected = pooling_weights(self._channels, self._geometry.kernel).to(self._weights)
            self._one_hot_at = (version, bool(torch.equal(self.weights.detach(), expected)))
        return self._one_hot_at[1]
