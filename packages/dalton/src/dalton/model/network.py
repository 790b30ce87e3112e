"""A spiking convolutional network: weights, constants, and a differentiable forward pass with explicit state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from reprokit import UserError
from torch import Tensor, nn

from dalton.data.encoding import EncoderParameters, encode
from dalton.model.architectures import Architecture, Downsample, LayerSpec, architecture
from dalton.model.initialisation import Distribution, draw_weight
from dalton.model.layers import current
from dalton.model.neuron import IntegrateAndFire, NeuronParameters, NeuronState, Reset
from dalton.randomness import stream


@dataclass(frozen=True)
class NetworkState:
    """What a network carries from one time-step to the next.

    Attributes:
        encoder: Encoder voltages (batch, channel, height, width).
        layers: State of each layer, bottom first.
    """

    encoder: Tensor
    layers: tuple[NeuronState, ...]


class SpikingCNN(nn.Module):
    """Encoder, spiking convolutions, spiking dense layers, class matrix.

    Weights are parameters ``conv1, ..., dense1, ..., out``; no biases. Buffers ``readout_conv1, ...`` are the fixed
    readouts of the three-factor rule, (class, unit); the last layer's readout is ``out``.

    Args:
        arch: "A1" to "A5" or an :class:`Architecture`.
        input_shape: (channel, height, width).
        classes: Number of classes.
        downsample: "avgpool", "maxpool" or "stride"; only for names, an Architecture says it itself.
        tau_current: Time constant of the synaptic current in s, None: no filter.
        dt: Time-step in s.
        gain: Factor of the inputs.
        bias: Added to the inputs.
        threshold: Firing threshold.
        surrogate_scale: Steepness of the surrogate derivative.
        reset: "hard" or "soft".
        readout_init: "uniform" or "normal", of class matrix and readouts.
        seed: Seed of the initial weights.
        dtype: torch.float32 or torch.float64.

    Raises:
        UserError: A constant is out of range, or the architecture too deep for the image.
    """

    def __init__(
        self,
        arch: Architecture | str,
        input_shape: tuple[int, int, int],
        classes: int = 10,
        downsample: Downsample = "avgpool",
        tau_current: float | None = 1e-3,
        dt: float = 1e-3,
        gain: float = 2.0,
        bias: float = 0.0,
        threshold: float = 1.0,
        surrogate_scale: float = 5.0,
        reset: Reset = "hard",
        readout_init: Distribution = "uniform",
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        if dtype not in (torch.float32, torch.float64):
            raise UserError(f"dtype is {dtype}; choose torch.float32 or torch.float64.")
        if not isinstance(classes, int) or classes < 2:
            raise UserError(f"classes is {classes!r}; it must be a whole number of 2 or more.")
        self.arch = architecture(arch, downsample) if isinstance(arch, str) else arch
        self.input_shape, self.classes = tuple(input_shape), classes
        self.neuron = NeuronParameters(tau_current, dt, threshold, surrogate_scale, reset)
        self.encoder = EncoderParameters(gain, bias)
        self.layers: tuple[LayerSpec, ...] = self.arch.layers(input_shape)
        self.layer_names = [layer.name for layer in self.layers]
        for layer in self.layers:
            distribution: Distribution = "uniform" if layer.kind == "conv" else "normal"
            weight = draw_weight(layer.weight_shape, distribution, stream(seed, "weight", layer.name), dtype)
            self.register_parameter(layer.name, nn.Parameter(weight))
        shape = (classes, self.layers[-1].units)
        self.out = nn.Parameter(draw_weight(shape, readout_init, stream(seed, "weight", "out"), dtype))
        for layer in self.layers[:-1]:
            generator = stream(seed, "readout", layer.name)
            readout = draw_weight((classes, layer.units), readout_init, generator, dtype)
            self.register_buffer(f"readout_{layer.name}", readout)

    def weight(self, name: str) -> nn.Parameter:
        """Return a weight by its name, e.g. "conv1"."""
        return self.get_parameter(name)

    def readout(self, name: str) -> Tensor:
        """Return the fixed readout (class, unit) of a layer; the last layer's is the class matrix."""
        return self.out if name == self.layer_names[-1] else self.get_buffer(f"readout_{name}")

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and states."""
        return self.out.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.out.device

    def initial_state(self, batch: int) -> NetworkState:
        """Return the state at rest for `batch` samples."""

        def zeros(shape: tuple[int, ...]) -> Tensor:
            return torch.zeros((batch, *shape), dtype=self.dtype, device=self.device)

        layers = tuple(NeuronState(zeros(x.output_shape), zeros(x.output_shape)) for x in self.layers)
        return NetworkState(zeros(self.input_shape), layers)

    def step(
        self, inputs: Tensor, state: NetworkState, masks: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Return class outputs (batch, class) of one time-step and the next state; autograd works through it.

        Args:
            inputs: Image or event counts (batch, channel, height, width).
            state: State before the step.
            masks: Dropout multipliers of emitted spikes {"conv2": (batch, ...)}; none: no dropout.
        """
        spikes, voltage = encode(inputs[None], self.encoder, dtype=self.dtype, voltage=state.encoder)
        x, states, fire = spikes[0], [], IntegrateAndFire(self.neuron)
        for layer, before in zip(self.layers, state.layers, strict=True):
            currents, _ = current(layer, x, self.weight(layer.name))
            x, after = fire(currents, before)
            states.append(after)
            if masks and layer.name in masks:
                x = x * masks[layer.name]
        return x @ self.out.T, NetworkState(voltage, tuple(states))

    def forward(
        self, inputs: Tensor, steps: int | None = None, dropout_masks: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return class outputs (time, batch, class) from rest; autograd works through it.

        For training use :func:`dalton.train_step`, for plain prediction :func:`dalton.predict`: both are faster.

        Args:
            inputs: Images (batch, channel, height, width) held for `steps`, or frames (time, batch, ...).
            steps: Time-steps of held images.
            dropout_masks: Multipliers {"conv2": (time, batch, ...)}; none: no dropout.
        """
        state = self.initial_state(inputs.shape[0 if steps else 1])
        outputs = []
        for t in range(steps or len(inputs)):
            masks: Any = {name: mask[t] for name, mask in (dropout_masks or {}).items()}
            output, state = self.step(inputs if steps else inputs[t], state, masks)
            outputs.append(output)
        return torch.stack(outputs)
