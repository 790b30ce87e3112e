"""The Spike-By-Spike layer: a probabilistic, non-negative replacement of a convolution with its non-linearity.

At every position the input patch is a distribution over I components. S spikes are drawn from it, and a latent
distribution h over J neurons is updated after each one, so that ``sum_j W[i, j] h[j]`` explains the spikes.
See `sbs.engines.reference` for the equations of the forward pass and `sbs.rules.backward` for the gradient.

The class below is ordered from top to bottom: construction, the forward pass, sizes, settings (each checked
when set), parameters, and the state_dict.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, get_args

import torch
from reprokit import UserError
from torch import Tensor, nn

from sbs.checks import Checked, choice, non_negative, pair, real, whole
from sbs.config import Engine
from sbs.engines.call import Call
from sbs.engines.geometry import Geometry
from sbs.model.layer_settings import (
    MODES,
    VARIANTS,
    WEIGHT_FORMS,
    Function,
    differences,
    pack_settings,
    pop_settings,
)
from sbs.model.time_course import TimeCourse, as_time_course
from sbs.model.weights import Order, constrained, normalise, pooling_weights, random_weights
from sbs.rules.inference import GradientScale, Learning, Variant, sbs_inference

Pair = int | Sequence[int] | Tensor
# Largest step of h at one spike: beyond it float32 overflows, long after h has reached its spike's cause.
LARGEST_STEP = 1e15


class SbSLayer(nn.Module):
    """One layer of spike-driven inference, ``(sample, C, height, width)`` to ``(sample, J, X, Y)``.

    Spikes come from a counter-based generator: they depend only on the seed of the call, the position and the
    spike, never on threads. Without a ``seed`` argument each call draws one from torch's generator.

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
        epsilon_xy_intitial: Alias of ``epsilon_xy_initial``, as is ``eps_xy_intitial``.
        eps_xy_intitial: See there.
        epsilon_per_kernel: epsilon_xy has shape (X, Y, k0, k1) instead of (X, Y).
        forgetting_offset: Pull towards the uniform distribution per spike; 0 or less is off.
        eval_number_of_spikes: S in eval mode; None: ``number_of_spikes``.
        mode: "spikes", or "expected" for infinitely many spikes per step (deterministic).
        gradient: Version of the original whose rule is used, see `sbs.rules.backward`.
        local_learning: Use V2's local rule for the weights.
        gradient_scale_updates: Backward passes during which V2's gradient scale grows; 0 switches it off.
        weight_form: "constrained" or "softmax", see `sbs.model.weights`.
        engine: "auto" (compiled code where there is some), "kernel" (that or an error) or "reference".

    Raises:
        UserError: An invalid argument.
    """

    sample_offset: int = 0  # added to the number of the first sample; set by `evaluate` while it runs
    _h_initial: Tensor
    _pooling: Tensor | None = None
    _backup: dict[str, Tensor] | None = None

    number_of_spikes = Checked(
        lambda name, value: whole(name, value, 1),
        "S per position in training, and in eval mode unless `eval_number_of_spikes` is set.",
    )
    eval_number_of_spikes = Checked(
        lambda name, value: None if value is None else whole(name, value, 1),
        "S per position in eval mode; None: `number_of_spikes`.",
    )
    epsilon_0 = Checked(lambda name, value: real(name, value, above=0), "Global factor of the step.")
    alpha_number_of_iterations = Checked(
        lambda name, value: whole(name, value, 0), "Iterations of spatial attention; 0 is off."
    )
    number_of_cpu_processes = Checked(lambda name, value: whole(name, value, 1), "Threads of the kernel.")
    forgetting_offset = Checked(
        lambda name, value: real(name, value),
        "Pull towards the uniform distribution per spike; 0 or less is off.",
    )
    mode = Checked(lambda name, value: choice(name, value, MODES), '"spikes" or "expected".')
    engine = Checked(
        lambda name, value: choice(name, value, get_args(Engine)), "Engine that draws the spikes."
    )

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
        eps_xy_intitial: float | None = None,
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
        self.forgetting_offset = forgetting_offset
        self.mode = mode
        self.engine = engine
        self._weight_form = choice("weight_form", weight_form, WEIGHT_FORMS)
        choice("gradient", gradient, VARIANTS)
        scale = GradientScale(whole("gradient_scale_updates", gradient_scale_updates, 0))
        self.learning = Learning(gradient, bool(local_learning), scale)
        self._epsilon_shape = (*self._output_size, *(self._geometry.kernel if epsilon_per_kernel else ()))
        self._epsilon_xy = nn.Parameter(torch.empty(self._epsilon_shape))
        self._weights = nn.Parameter(torch.empty(self.number_of_components, self._neurons))
        self.register_buffer("_h_initial", torch.empty(self._neurons))
        self.set_h_init_to_uniform()
        aliases = [given for given in (eps_xy_intitial, epsilon_xy_intitial) if given is not None]
        self.initialize_epsilon_xy((*aliases, epsilon_xy_initial)[0])
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
                need not be normalised; if one is empty, h stays h_initial and the gradient is 0 (DEV-8).
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
        """Return h and the spikes that led to it, int32 ``(sample, spike, X, Y)``, -1 if a patch is empty."""
        if self.mode == "expected":
            raise UserError("mode is 'expected'; there are no spikes to return, set mode to 'spikes'")
        h, spikes = self._run(image, seed, first_sample, None, True)
        assert spikes is not None
        return h, spikes

    def _run(
        self, image: Tensor, seed: int | None, first_sample: int, target: Tensor | None, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        if isinstance(image, Tensor) and _autocasts(image.device.type):
            with torch.autocast(image.device.type, enabled=False):
                single = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
                return self._run(single, seed, first_sample, target, keep)
        self._check_image(image)
        self._check_target(target, len(image))
        count = self.current_number_of_spikes
        if seed is None:
            seed = int(torch.randint(0, 2**63 - 1, (), dtype=torch.int64))
        course = self._course(count)
        self._check_parameters(float(course.max()))
        positions = self._output_size[0] * self._output_size[1]
        call = Call(
            geometry=self._geometry,
            epsilon_t=course.to(image.device),
            epsilon_0=self.epsilon_0,
            h_initial=self._h_initial.detach(),
            seed=_seed(seed),
            first_position=(whole("first_sample", first_sample, 0) + self.sample_offset) * positions,
            forgetting_offset=self.forgetting_offset,
            one_hot=self._is_one_hot(),
            threads=self.number_of_cpu_processes,
            engine=self.engine,  # type: ignore[arg-type]
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

    def _check_target(self, target: Any, samples: int) -> None:
        if target is None:
            return
        if not self.learning.local:
            raise UserError(
                "target is given, but only a layer with local_learning learns from one; leave it out"
            )
        shape = (samples, self._neurons, *self._output_size)
        if not isinstance(target, Tensor) or tuple(target.shape) != shape:
            found = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
            raise UserError(f"target is {found}; it must be a tensor of the output's shape, {shape}")

    def _check_parameters(self, rate: float) -> None:
        """Refuse parameters that training or a user's own step has made invalid; ``rate`` is max epsilon_t."""
        largest = float(self._epsilon_xy.detach().abs().max()) * self.epsilon_0 * rate
        if not largest <= LARGEST_STEP:
            raise UserError(
                f"epsilon_0 * epsilon_xy * epsilon_t reaches {largest:g}; it must be at most {LARGEST_STEP:g}, "
                "lower epsilon_0, or the learning rate of epsilon_xy"
            )
        if not bool(self._weights.detach().sum().isfinite()):
            raise UserError(
                "the weights of an SbS layer are not finite (NaN or infinity); go back to an earlier state and "
                "lower the learning rate"
            )

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Move or convert the layer; half precision is refused before anything changes."""
        dtype = fn(torch.zeros(1, device=self._weights.device)).dtype
        if dtype in (torch.float16, torch.bfloat16):
            raise UserError(
                f"an SbS layer computes in float32 and cannot become {dtype}; keep the layer as it is and use "
                "torch.autocast around the network"
            )
        return super()._apply(fn, recurse)

    def extra_repr(self) -> str:
        """Describe the layer in one line."""
        kind = "pooling, " if self.is_pooling_layer else ""
        return (
            f"{kind}{self._channels} -> {self._neurons}, input {self._input_size}, output {self._output_size}, "
            f"kernel {self.kernel_size}, stride {self.stride}, spikes {self.number_of_spikes}"
        )

    def __setattr__(self, name: str, value: Any) -> None:
        """Allow a property to be set to another layer's parameter, which torch would refuse."""
        if isinstance(value, torch.nn.Parameter) and isinstance(
            getattr(type(self), name, None), property | Checked
        ):
            value = value.detach()
        super().__setattr__(name, value)

    @property
    def number_of_input_neurons(self) -> int:
        """C, channels of the input; setting another number draws new weights."""
        return self._channels

    @number_of_input_neurons.setter
    def number_of_input_neurons(self, value: Any) -> None:
        self._resize(channels=whole("number_of_input_neurons", value, 1))

    @property
    def number_of_neurons(self) -> int:
        """J, channels of the output; setting another number draws new weights and resets h_initial to 1 / J."""
        return self._neurons

    @number_of_neurons.setter
    def number_of_neurons(self, value: Any) -> None:
        self._resize(neurons=whole("number_of_neurons", value, 1))

    @property
    def number_of_components(self) -> int:
        """I = C k0 k1, entries of a patch."""
        return self._channels * self._geometry.kernel[0] * self._geometry.kernel[1]

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self._input_size

    @property
    def geometry(self) -> Geometry:
        """Kernel, stride, dilation and padding."""
        return self._geometry

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Rows and columns of a patch; setting another draws new weights."""
        return self._geometry.kernel

    @kernel_size.setter
    def kernel_size(self, value: Any) -> None:
        self._resize(geometry=replace(self._geometry, kernel=pair("kernel_size", value, 1)))

    @property
    def stride(self) -> tuple[int, int]:
        """Step between positions."""
        return self._geometry.stride

    @stride.setter
    def stride(self, value: Any) -> None:
        self._resize(geometry=replace(self._geometry, stride=pair("stride", value, 1)))

    @property
    def dilation(self) -> tuple[int, int]:
        """Distance between kernel elements."""
        return self._geometry.dilation

    @dilation.setter
    def dilation(self, value: Any) -> None:
        self._resize(geometry=replace(self._geometry, dilation=pair("dilation", value, 1)))

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros added on each side."""
        return self._geometry.padding

    @padding.setter
    def padding(self, value: Any) -> None:
        self._resize(geometry=replace(self._geometry, padding=pair("padding", value, 0)))

    @property
    def output_size(self) -> tuple[int, int]:
        """X, Y, which follow from the input size and the geometry; setting anything else is refused."""
        return self._output_size

    @output_size.setter
    def output_size(self, value: Any) -> None:
        if pair("output_size", value, 1) != self._output_size:
            raise UserError(
                f"output_size is {value!r}, but kernel, stride, dilation and padding give {self._output_size}; "
                "change those instead"
            )

    def _resize(
        self, channels: int | None = None, neurons: int | None = None, geometry: Geometry | None = None
    ) -> None:
        """Change the shape; parameters whose shape changes are initialised again, epsilon_xy at its mean."""
        channels, neurons = channels or self._channels, neurons or self._neurons
        geometry = geometry or self._geometry
        output = geometry.output_size(self._input_size)
        if self.is_pooling_layer and channels != neurons:
            raise UserError(
                f"number_of_input_neurons would be {channels} and number_of_neurons {neurons}; a pooling layer needs "
                "equal numbers, make a new layer"
            )
        per_kernel = self._epsilon_xy.dim() == 4
        self._channels, self._neurons, self._geometry, self._output_size = channels, neurons, geometry, output
        epsilon, weights, start = self._epsilon_xy, self._weights, self._h_initial
        self._epsilon_shape = (*output, *(geometry.kernel if per_kernel else ()))
        if self._epsilon_shape != tuple(epsilon.shape):
            mean = epsilon.detach().mean()
            self._epsilon_xy = nn.Parameter(mean.repeat(self._epsilon_shape), epsilon.requires_grad)
        if (self.number_of_components, neurons) != tuple(weights.shape):
            shape = (self.number_of_components, neurons)
            self._weights = nn.Parameter(weights.new_empty(shape), weights.requires_grad)
            self.initialize_weights(self.is_pooling_layer)
        if len(start) != neurons:
            self._h_initial = start.new_empty(neurons)
            self.set_h_init_to_uniform()

    def calculate_output_size(self, size: Pair) -> tuple[int, int]:
        """Return X, Y for an input of the given height and width."""
        return self._geometry.output_size(pair("size", size, 1))

    @property
    def current_number_of_spikes(self) -> int:
        """S of the next call."""
        own = None if self.training else self.eval_number_of_spikes
        return self.number_of_spikes if own is None else own

    @property
    def epsilon_t(self) -> Tensor:
        """Time course of the step for the spikes of the next call, float32 ``(spike,)``."""
        return self._course(self.current_number_of_spikes)

    @epsilon_t.setter
    def epsilon_t(self, value: Any) -> None:
        course = as_time_course(value)
        if isinstance(course, Tensor) and len(course) < self.number_of_spikes:
            raise UserError(
                f"epsilon_t has {len(course)} values for {self.number_of_spikes} spikes; give one per spike, or a "
                "TimeCourse"
            )
        self._time_course: TimeCourse | Tensor = course

    @property
    def time_course(self) -> TimeCourse | Tensor:
        """The rule behind `epsilon_t`, or the values given for it."""
        return self._time_course

    def _course(self, count: int) -> Tensor:
        if isinstance(self._time_course, TimeCourse):
            return self._time_course.values(count)
        if len(self._time_course) < count:
            raise UserError(
                f"number_of_spikes is {count} but epsilon_t has {len(self._time_course)} values; give one per "
                "spike, or a TimeCourse"
            )
        return self._time_course[:count]

    @property
    def weight_form(self) -> str:
        """How the weights are stored, see `sbs.model.weights`; changing the form keeps W."""
        return self._weight_form

    @weight_form.setter
    def weight_form(self, value: Any) -> None:
        kept = self.weights.detach().clone()
        self._weight_form = choice("weight_form", value, WEIGHT_FORMS)
        self.weights = kept

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
        """epsilon_xy ``(X, Y)`` or ``(X, Y, k0, k1)``; either shape may be set."""
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

    def initialize_epsilon_xy(
        self, epsilon_xy_initial: float | None = None, *, eps_xy_intitial: float | None = None
    ) -> None:
        """Set epsilon_xy to a constant greater than 0; ``eps_xy_intitial`` is the original's spelling."""
        if (epsilon_xy_initial is None) == (eps_xy_intitial is None):
            raise UserError(
                "initialize_epsilon_xy takes one number: epsilon_xy_initial, or eps_xy_intitial for short"
            )
        given = eps_xy_intitial if epsilon_xy_initial is None else epsilon_xy_initial
        value = real("epsilon_xy_initial", given, above=0)
        self._set(self._epsilon_xy, torch.full(self._epsilon_xy.shape, value))

    def set_h_init_to_uniform(self) -> None:
        """Set h_initial to 1 / J."""
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
        """Turn the weights back into probabilities after an optimiser step, see `sbs.model.weights.constrained`."""
        if self.weight_form == "constrained" and not self._is_one_hot():
            self._set(self._weights, constrained(self._weights.detach(), threshold, order))

    def mean_epsilon_xy(self) -> None:
        """Replace epsilon_xy by its mean."""
        self._set(self._epsilon_xy, self._epsilon_xy.detach().mean().expand(self._epsilon_xy.shape))

    def average_weight_gradient(self) -> None:
        """Divide the weights' gradient by the number of positions added up in it (V2), and restart the count."""
        if self._weights.grad is not None and self.learning.contributions:
            self._weights.grad /= self.learning.contributions
        self.learning.contributions = 0

    def backup_weights(self) -> None:
        """Keep a copy of the weights in memory."""
        self._keep("_weights")

    def restore_weights(self) -> None:
        """Restore the copied weights."""
        self._bring_back("_weights")

    def backup_epsilon_xy(self) -> None:
        """Keep a copy of epsilon_xy in memory."""
        self._keep("_epsilon_xy")

    def restore_epsilon_xy(self) -> None:
        """Restore the copied epsilon_xy."""
        self._bring_back("_epsilon_xy")

    def _keep(self, name: str) -> None:
        self._backup = {**(self._backup or {}), name: getattr(self, name).detach().clone()}

    def _bring_back(self, name: str) -> None:
        if name not in (self._backup or {}):
            raise UserError(f"there is no backup to restore; call backup{name}() first")
        with torch.no_grad():
            getattr(self, name).copy_(self._backup[name])  # type: ignore[index]

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
        own = self.weights.detach()
        wanted = self._pooling
        if wanted is None or (wanted.shape, wanted.device, wanted.dtype) != (
            own.shape,
            own.device,
            own.dtype,
        ):
            wanted = self._pooling = pooling_weights(self._channels, self._geometry.kernel).to(own)
        return torch.equal(own, wanted)

    def _function(self) -> Function:
        return Function(
            input_size=self._input_size,
            is_pooling_layer=self.is_pooling_layer,
            weight_form=self.weight_form,
            mode=self.mode,
            gradient=self.learning.variant,
            local_learning=self.learning.local,
            alpha_number_of_iterations=self.alpha_number_of_iterations,
            forgetting_offset=self.forgetting_offset,
        )

    def _settings(self) -> dict[str, Tensor]:
        spikes = (self.number_of_spikes, self.eval_number_of_spikes)
        settings = pack_settings(
            self._geometry, spikes, self._time_course, self.epsilon_0, self.learning.scale
        )
        return settings | self._function().packed()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name, value in self._settings().items():
            destination[prefix + name] = value

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        found = pop_settings(state_dict, prefix, missing_keys)
        weights = state_dict.get(prefix + "_weights")
        if problems := differences(found, self._geometry, self._function(), weights, prefix):
            error_msgs.extend(problems)
            return
        shape = state_dict.get(prefix + "_epsilon_xy")
        per_kernel = (*self._epsilon_xy.shape[:2], *self._geometry.kernel)
        if shape is not None and shape.shape != self._epsilon_xy.shape and tuple(shape.shape) == per_kernel:
            self._epsilon_xy = nn.Parameter(
                self._epsilon_xy.new_empty(shape.shape), self._epsilon_xy.requires_grad
            )
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )
        if (spikes := found.get("number_of_spikes")) is not None:
            self.number_of_spikes, evaluation = spikes.tolist()
            self.eval_number_of_spikes = evaluation or None
        if (course := found.get("epsilon_t")) is not None:
            course = course.cpu()
            if not torch.equal(course, self._settings()["epsilon_t"]):
                self._time_course = as_time_course(course)
        if (epsilon_0 := found.get("epsilon_0")) is not None:
            self.epsilon_0 = real("epsilon_0", epsilon_0, above=0)
        if (scale := found.get("gradient_scale")) is not None:
            self.learning.scale.seen, self.learning.scale.largest = int(scale[0]), float(scale[1])


def _seed(value: Any) -> int:
    seed = whole("seed", value, 0)
    if seed >= 2**64:
        raise UserError(f"seed is {value!r}; it must be below 2^64")
    return seed


def _autocasts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


SbS = SbSLayer
