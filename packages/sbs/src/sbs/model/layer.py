"""The Spike-By-Spike layer: a probabilistic, non-negative replacement of a convolution with its non-linearity.

At every position the input patch is a distribution over I components. S spikes are drawn from it, and a
latent distribution h over J neurons is updated after each one, so that ``sum_j W[i, j] h[j]`` explains what
was seen. See `sbs.engines.reference` for the equations of the forward pass and `sbs.rules.backward` for the gradient.
"""

from typing import Any, Literal

import torch
from reprokit import UserError
from torch import Tensor, nn

from sbs.checks import choice, pair, real, whole
from sbs.engines.geometry import Geometry
from sbs.engines.kernel import Call, Engine
from sbs.model.layer_settings import LayerParameters
from sbs.model.layer_shape import Pair
from sbs.model.layer_state import LayerState
from sbs.model.time_course import TimeCourse
from sbs.rules.inference import GradientScale, Learning, Variant, sbs_inference


class SbSLayer(LayerParameters, LayerState, nn.Module):
    """One layer of spike-driven inference, ``(sample, C, height, width)`` to ``(sample, J, X, Y)``.

    Spikes come from a counter-based generator: they depend on the seed of the call, the position and the
    spike alone, never on threads. Without a ``seed`` argument each call draws one from torch's generator.

    Args:
        number_of_input_neurons: C, channels of the input.
        number_of_neurons: J, channels of the output.
        input_size: Height and width of the input.
        forward_kernel_size: Rows and columns of a patch.
        number_of_spikes: S per position, at least 1.
        epsilon_t: Time course of the step: a `TimeCourse`, its name, or one number per spike.
        epsilon_xy_initial: Initial epsilon_xy, greater than 0; also accepted as ``epsilon_xy_intitial``, the
            original's spelling.
        epsilon_0: Global factor of the step, greater than 0.
        weight_noise_amplitude: Initial weights are uniform in (1, 1 + amplitude), then normalised.
        is_pooling_layer: Fixed weights that average each channel; needs C = J.
        strides: Step between positions.
        dilation: Distance between kernel elements (the original's default 0 never worked, DEV-7).
        padding: Zeros added on each side (never worked in the original, DEV-7).
        alpha_number_of_iterations: Iterations of spatial attention; 0 is off.
        number_of_cpu_processes: Threads of the kernel.
        epsilon_xy_intitial: Alias of ``epsilon_xy_initial``.
        epsilon_per_kernel: epsilon_xy has shape (X, Y, k0, k1) instead of (X, Y).
        forgetting_offset: Pull towards the uniform distribution per spike; 0 or less is off.
        eval_number_of_spikes: S in eval mode; None takes ``number_of_spikes``.
        mode: "spikes", or "expected" for infinitely many spikes per step (deterministic).
        gradient: State of the original whose rule is used, see `sbs.rules.backward`.
        local_learning: Use V2's local rule for the weights.
        gradient_scale_updates: Backward passes during which V2's gradient scale grows; 0 switches it off.
        weight_form: "constrained" or "softmax", see `sbs.model.weights`.
        engine: "auto", "kernel" or "reference".

    Raises:
        UserError: An argument that is impossible.
    """

    def __init__(
        self,
        number_of_input_neurons: int,
        number_of_neurons: int,
        input_size: Pair,
        forward_kernel_size: Pair,
        number_of_spikes: int,
        epsilon_t: TimeCourse | Literal["constant", "cooldown", "power"] | Tensor = "constant",
        epsilon_xy_initial: float = 0.1,
        epsilon_0: float = 1.0,
        weight_noise_amplitude: float = 0.01,
        is_pooling_layer: bool = False,
        strides: Pair = (1, 1),
        dilation: Pair = (1, 1),
        padding: Pair = (0, 0),
        alpha_number_of_iterations: int = 0,
        number_of_cpu_processes: int = 1,
        *,
        epsilon_xy_intitial: float | None = None,
        epsilon_per_kernel: bool = False,
        forgetting_offset: float = 0.0,
        eval_number_of_spikes: int | None = None,
        mode: Literal["spikes", "expected"] = "spikes",
        gradient: Variant = "v1",
        local_learning: bool = False,
        gradient_scale_updates: int = 0,
        weight_form: Literal["constrained", "softmax"] = "constrained",
        engine: Engine = "auto",
    ) -> None:
        super().__init__()
        self._channels = whole("number_of_input_neurons", number_of_input_neurons, 1)
        self._neurons = whole("number_of_neurons", number_of_neurons, 1)
        self._input_size = pair("input_size", input_size, 1)
        self._geometry = Geometry(
            pair("forward_kernel_size", forward_kernel_size, 1),
            pair("strides", strides, 1),
            pair("dilation", dilation, 1),
            pair("padding", padding, 0),
        )
        self._output_size = self._geometry.output_size(self._input_size)
        self.is_pooling_layer = bool(is_pooling_layer)
        if self.is_pooling_layer and self._channels != self._neurons:
            raise UserError(
                f"number_of_neurons is {self._neurons}; a pooling layer needs as many as number_of_input_neurons, "
                f"{self._channels}"
            )
        self.number_of_spikes = number_of_spikes
        self.eval_number_of_spikes = eval_number_of_spikes
        self.epsilon_t = epsilon_t
        self.epsilon_0 = epsilon_0
        self.alpha_number_of_iterations = alpha_number_of_iterations
        self.number_of_cpu_processes = number_of_cpu_processes
        self.forgetting_offset = real("forgetting_offset", forgetting_offset)
        self.mode = choice("mode", mode, ("spikes", "expected"))
        self.engine: Engine = choice("engine", engine, ("auto", "kernel", "reference"))  # type: ignore[assignment]
        self.weight_form = choice("weight_form", weight_form, ("constrained", "softmax"))
        choice("gradient", gradient, ("v1", "v1.1", "v2"))
        scale = GradientScale(whole("gradient_scale_updates", gradient_scale_updates, 0))
        self.learning = Learning(gradient, bool(local_learning), scale)
        self._epsilon_shape = (*self._output_size, *(self._geometry.kernel if epsilon_per_kernel else ()))
        self._epsilon_xy = nn.Parameter(torch.empty(self._epsilon_shape))
        self._weights = nn.Parameter(torch.empty(self.number_of_components, self._neurons))
        self.register_buffer("_h_initial", torch.empty(self._neurons))
        self.set_h_init_to_uniform()
        self.initialize_epsilon_xy(epsilon_xy_initial if epsilon_xy_intitial is None else epsilon_xy_intitial)
        self.initialize_weights(self.is_pooling_layer, weight_noise_amplitude)

    def forward(
        self,
        image: Tensor,
        *,
        seed: int | None = None,
        first_sample: int = 0,
        target: Tensor | None = None,
    ) -> Tensor:
        """Infer h at every position.

        Args:
            image: Intensities ``(sample, C, height, width)``, float32 or float64, finite and 0 or more. Patches
                need not be normalised; where one is empty, h stays h_initial and the gradient is 0 (DEV-8).
            seed: Seed of the spikes, 0 ... 2^64 - 1; None draws one from torch's generator.
            first_sample: Number of the first sample, so that parts of a batch see the spikes of the whole.
            target: With ``local_learning`` in the output layer, the one-hot target ``(sample, J, X, Y)``.

        Returns:
            h ``(sample, J, X, Y)`` in the input's dtype; sums to 1 over J (with alpha iterations over J, X, Y).

        Raises:
            UserError: Wrong rank, shape, dtype or device, or an input that is negative or not finite.
        """
        return self._run(image, seed, first_sample, target, False)[0]

    def infer_with_spikes(
        self, image: Tensor, *, seed: int | None = None, first_sample: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Return h and the spikes that led to it, int32 ``(sample, spike, X, Y)``, -1 where a patch is empty."""
        if self.mode == "expected":
            raise UserError("mode is 'expected'; there are no spikes to return, set mode to 'spikes'")
        h, spikes = self._run(image, seed, first_sample, None, True)
        assert spikes is not None
        return h, spikes

    def _run(
        self, image: Tensor, seed: int | None, first_sample: int, target: Tensor | None, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        self._check_image(image)
        count = self.current_number_of_spikes
        if seed is None:
            seed = int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64))
        positions = self._output_size[0] * self._output_size[1]
        call = Call(
            geometry=self._geometry,
            epsilon_t=self._course(count).to(image.device),
            epsilon_0=self._epsilon_0,
            h_initial=self._h_initial.detach(),
            seed=whole("seed", seed, 0) & (2**64 - 1),
            first_position=whole("first_sample", first_sample, 0) * positions,
            forgetting_offset=self.forgetting_offset,
            one_hot=self._is_one_hot(),
            threads=self._threads,
            engine=self.engine,
            expected=self.mode == "expected",
            keep_spikes=keep,
        )
        return sbs_inference(
            image,
            self.weights,
            self._epsilon_xy,
            call,
            self.learning,
            self.alpha_number_of_iterations,
            target,
        )

    def _check_image(self, image: Any) -> None:
        expected = (self._channels, *self._input_size)
        if not isinstance(image, Tensor):
            raise UserError(f"the input is a {type(image).__name__}; an SbS layer takes a torch tensor")
        if image.dim() != 4 or tuple(image.shape[1:]) != expected:
            raise UserError(
                f"the input has shape {tuple(image.shape)}; this layer takes (sample, {', '.join(map(str, expected))})"
            )
        if image.dtype not in (torch.float32, torch.float64):
            raise UserError(f"the input has dtype {image.dtype}; it must be float32 or float64")
        if image.device != self._weights.device:
            raise UserError(
                f"the input is on {image.device} and the layer on {self._weights.device}; move one with .to()"
            )

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        kind = "pooling, " if self.is_pooling_layer else ""
        return (
            f"{kind}{self._channels} -> {self._neurons}, input {self._input_size}, output {self._output_size}, "
            f"kernel {self.kernel_size}, stride {self.stride}, spikes {self.number_of_spikes}"
        )


SbS = SbSLayer
