"""A spiking convolutional network: weights, constants, and a differentiable forward pass with explicit state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.nn.functional import dropout

from dalton import threads  # noqa: F401  (has torch use one thread in forked children)
from dalton.checks import check_inputs, check_masks, check_tensor, check_weights, values_are_known, whole
from dalton.data.encoding import EncoderParameters, encode_step
from dalton.model.architectures import Architecture, Downsample, LayerSpec, architecture
from dalton.model.initialisation import Distribution, draw_weight
from dalton.model.layers import current
from dalton.model.neuron import IntegrateAndFire, NeuronParameters, NeuronState, Reset
from dalton.names import CONVOLUTIONS, Convolution
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

    def detach(self) -> NetworkState:
        """Return the state without its history, for truncated back-propagation through time."""
        layers = tuple(NeuronState(x.v.detach(), x.c.detach()) for x in self.layers)
        return NetworkState(self.encoder.detach(), layers)


class SpikingCNN(nn.Module):
    """Encoder, spiking convolutions, spiking dense layers, class matrix.

    Weights are parameters ``conv1, ..., dense1, ..., out``; no biases. Buffers ``readout_conv1, ...`` are the fixed
    readouts of the three-factor rule, (class, unit); the last layer's readout is ``out``.

    Args:
        arch: "A1" to "A5" or an :class:`Architecture`.
        input_shape: (channel, height, width).
        classes: Number of classes.
        downsample: "avgpool", "maxpool" or "stride"; only for names, because an Architecture defines its own pooling.
        tau_current: Time constant of the synaptic current in s, None: no filter.
        dt: Time-step in s.
        gain: Factor of the inputs.
        bias: Added to the inputs.
        threshold: Firing threshold.
        surrogate_scale: Steepness of the surrogate derivative.
        reset: "hard" or "soft".
        readout_init: "uniform" or "normal", of class matrix and readouts.
        seed: Seed of the initial weights, which do not depend on ``torch.manual_seed``. None: a random seed
            from torch's generator, which ``torch.manual_seed`` sets; the attribute `seed` keeps it.
        dtype: torch.float32 or torch.float64.
        convolution: Digits of the convolutions of `train_step`, `predict` and what calls them: "full", or with less
            work for a GPU "tf32" or "bf16" (see :mod:`dalton.model.precision`), which the torch engine computes. The
            network's own `forward` and `step`, and the traces of rtrl, always compute in full.

    Raises:
        UserError: A constant is out of range, or the architecture too deep for the image.
    """

    convolution: Convolution = "full"  # of networks that an older version pickled, too

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
        seed: int | None = 0,
        dtype: torch.dtype = torch.float32,
        convolution: Convolution = "full",
    ) -> None:
        super().__init__()
        if convolution not in CONVOLUTIONS:
            raise UserError(f"convolution is {convolution!r}; choose {', '.join(CONVOLUTIONS)}.")
        self.convolution = convolution
        if dtype not in (torch.float32, torch.float64):
            raise UserError(f"dtype is {dtype}; choose torch.float32 or torch.float64.")
        if (whole(classes) or 0) < 2:
            raise UserError(f"classes is {classes!r}; it must be a whole number of 2 or more.")
        self.seed = seed = _seed(seed)
        if not isinstance(arch, str | Architecture):
            raise UserError(f"arch is {arch!r}; give a name from A1 to A5, or an Architecture.")
        if not isinstance(arch, str) and downsample != "avgpool":
            raise UserError(
                f"downsample is {downsample!r}, but an Architecture defines its own pooling; leave downsample out."
            )
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

    def weight(self, name: str) -> Tensor:
        """Return a weight by its name, e.g. "conv1": a parameter, or the result of a parametrization."""
        return getattr(self, name)

    def check(self) -> None:
        """Refuse weights that do not fit the architecture, see :func:`dalton.checks.check_weights`.

        Raises:
            UserError: A weight has the wrong shape, type or device, or values that are not finite.
        """
        shapes = {layer.name: layer.weight_shape for layer in self.layers}
        shapes |= {f"readout_{layer.name}": (self.classes, layer.units) for layer in self.layers[:-1]}
        shapes["out"] = (self.classes, self.layers[-1].units)
        check_weights({name: getattr(self, name) for name in shapes}, shapes)

    def readout(self, name: str) -> Tensor:
        """Return the fixed readout (class, unit) of a layer; the last layer's is the class matrix."""
        return self.out if name == self.layer_names[-1] else self.get_buffer(f"readout_{name}")

    @property
    def dtype(self) -> torch.dtype:
        """Type of weights and states."""
        return self.out.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.out.device

    def initial_state(self, batch: int) -> NetworkState:
        """Return the state at rest for `batch` samples.

        Raises:
            UserError: `batch` is not a whole number of 1 or more.
        """
        if (whole(batch) or 0) < 1:
            raise UserError(f"batch is {batch!r}; it must be a whole number of 1 or more.")

        def zeros(shape: tuple[int, ...]) -> Tensor:
            return torch.zeros((batch, *shape), dtype=self.dtype, device=self.device)

        layers = tuple(NeuronState(zeros(x.output_shape), zeros(x.output_shape)) for x in self.layers)
        return NetworkState(zeros(self.input_shape), layers)

    def step(
        self, inputs: Tensor, state: NetworkState, masks: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, NetworkState]:
        """Return class outputs (batch, class) of one time-step and the next state; autograd works through it.

        The gradient reaches the weights and the state; the encoder has none, so inputs get no gradient.
        Computed in the weights' own type, also under ``torch.autocast``.

        Args:
            inputs: Image in [0, 1] or event counts (batch, channel, height, width).
            state: State before the step, for the same number of samples.
            masks: Dropout multipliers of emitted spikes {"conv2": (batch, ...)}, an empty dictionary for no dropout;
                None: drawn from torch's generator in training mode (``net.train()``), no dropout after ``net.eval()``.

        Raises:
            UserError: Inputs, state or masks differ in shape or are not finite, or the inputs require a gradient.
        """
        if check_tensor("inputs", inputs).shape != state.encoder.shape:
            raise UserError(
                f"inputs have shape {tuple(inputs.shape)}, and the state is of inputs "
                f"{tuple(state.encoder.shape)}; use net.initial_state(batch) with the same number of samples."
            )
        shapes = {x.name: (len(inputs), *x.output_shape) for x in self.layers}
        if [tuple(x.v.shape) for x in state.layers] != [*shapes.values()]:
            raise UserError("the state belongs to another network; use net.initial_state(batch).")
        if masks:
            check_masks(masks, shapes)
        if values_are_known(inputs) and not bool(torch.isfinite(inputs).all()):
            raise UserError("inputs hold NaN or infinite values; clean the data first.")
        return self._step(inputs, state, masks)

    def _step(
        self, inputs: Tensor, state: NetworkState, masks: dict[str, Tensor] | None
    ) -> tuple[Tensor, NetworkState]:
        """Do what :meth:`step` does, for inputs, state and masks that have been checked."""
        if inputs.requires_grad:
            raise UserError(
                "the inputs require a gradient, and the encoder has none; detach them, because no gradient "
                "would reach them."
            )
        with torch.autocast(self.device.type, enabled=False):
            spikes, voltage = encode_step(inputs, self.encoder, state.encoder)
            x, states, fire = spikes, [], IntegrateAndFire(self.neuron)
            for layer, before in zip(self.layers, state.layers, strict=True):
                currents, _ = current(layer, x, self.weight(layer.name))
                x, after = fire(currents, before)
                states.append(after)
                if masks is None and self.training and layer.dropout:
                    x = dropout(x, layer.dropout)
                elif masks and layer.name in masks:
                    x = x * masks[layer.name]
            return x @ self.out.T, NetworkState(voltage, tuple(states))

    def forward(
        self, inputs: Tensor, steps: int | None = None, dropout_masks: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Return class outputs (time, batch, class) from rest; autograd works through it.

        Use :func:`dalton.train_step` for training and :func:`dalton.predict` for prediction; both are faster.

        Args:
            inputs: Images (batch, channel, height, width) in [0, 1], held for `steps`, or frames (time, batch, ...).
            steps: Time-steps of held images.
            dropout_masks: Multipliers {"conv2": (time, batch, ...)}, an empty dictionary for no dropout; None: as in
                :meth:`step`.

        Raises:
            UserError: Inputs, steps, masks or weights do not fit; the inputs require a gradient.
        """
        self.check()
        steps, frames = check_inputs(self.input_shape, inputs, steps)
        batch = inputs.shape[1 if frames else 0]
        if dropout_masks is not None:
            check_masks(dropout_masks, {x.name: (steps, batch, *x.output_shape) for x in self.layers})
        state, outputs, masks = self.initial_state(batch), [], None
        for t in range(steps):
            if dropout_masks is not None:
                masks = {name: mask[t] for name, mask in dropout_masks.items()}
            output, state = self._step(inputs[t] if frames else inputs, state, masks)
            outputs.append(output)
        return torch.stack(outputs)


def _seed(seed: int | None) -> int:
    """Return a seed, a random one for None."""
    if seed is None:
        return int(torch.randint(2**62, ()))
    number = whole(seed)
    if number is None or not 0 <= number < 2**63:
        raise UserError(f"seed is {seed!r}; it must be a whole number from 0 to 2**63 - 1, or None.")
    return number
