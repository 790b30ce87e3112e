"""One training step of any method and setting, and prediction.

bptt     one update per batch, gradient through each layer's time
online   one update per time-step from `burn_in` on, gradient of that step alone (the original's "RTRL")
rtrl     as online, with the eligibility traces of true diagonal RTRL
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from reprokit import UserError
from torch import Tensor, nn

from dalton.engines.choice import engine_for
from dalton.model.dropout import DropoutMask
from dalton.model.memory import helpful_out_of_memory
from dalton.model.network import SpikingCNN
from dalton.names import ALIASES, METHODS, SETTINGS, EngineName, Loss, Method, Setting
from dalton.rules.workspace import Recorder
from dalton.training.sequence import Job, predict_sequence, train_sequence
from dalton.training.stepwise import train_stepwise


@dataclass
class StepResult:
    """What a training step gives; the class outputs are those before each update.

    Attributes:
        loss: Sum over layers; bptt: float, online and rtrl: float64 (time,), burn-in included.
        layer_losses: Mean over time of each layer's loss.
        class_outputs: (time, batch, class) of the last layer; online and rtrl: from burn_in on.
        predictions: int64 (batch,), argmax of the time mean of class_outputs.
        firing_rates: Spikes per neuron and time-step of each layer, before dropout.
        records: Arrays asked for by `record`: {name: {layer: (time, batch, ...)}}.
    """

    loss: float | Tensor
    layer_losses: dict[str, float]
    class_outputs: Tensor
    predictions: Tensor
    firing_rates: dict[str, float]
    records: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def trainable(network: SpikingCNN, method: Method) -> dict[str, nn.Parameter]:
    """Return the parameters a method trains: the spiking layers, and for surrgd the class matrix `out`.

    Raises:
        UserError: Unknown method.
    """
    method, _ = resolve(method, "bptt")
    names = [*network.layer_names, "out"] if method == "surrgd" else network.layer_names
    return {name: network.weight(name) for name in names}


def train_step(
    method: str,
    network: SpikingCNN,
    optimizer: torch.optim.Optimizer | None,
    inputs: Tensor,
    labels: Tensor,
    steps: int | None = None,
    setting: Setting = "bptt",
    loss: Loss = "mse",
    burn_in: int = 50,
    generator: torch.Generator | None = None,
    dropout_masks: dict[str, Tensor] | None = None,
    engine: EngineName = "auto",
    transfer_masks: bool = False,
    update: bool = True,
    record: Iterable[str] = (),
) -> StepResult:
    """Train on one batch of any size, from rest.

    Args:
        method: "surrgd", "tfr", "dalton", or one of the original's names (:data:`dalton.ALIASES`).
        network: Its weights are changed by the optimizer, nothing else.
        optimizer: Any torch optimizer over :func:`trainable` parameters; None only with ``update=False``.
        inputs: Images (batch, channel, height, width) in [0, 1] with `steps`, or frames of counts
            (time, batch, channel, height, width).
        labels: int64 (batch,).
        steps: Time-steps for which images are held; None for frames.
        setting: "bptt", "online" or "rtrl".
        loss: "mse", or "ce" for surrgd and tfr.
        burn_in: Time-steps before the first update, online and rtrl only.
        generator: CPU source of the dropout masks; needed where a layer drops spikes and no masks are given.
        dropout_masks: Multipliers of emitted spikes {"conv2": (time, batch, channel, height, width)}; they replace
            the drawn ones, and an empty dictionary switches dropout off.
        engine: "auto", "native" or "torch".
        transfer_masks: DALTON: dropout and clipping masks also in the recursion of the targets.
        update: False leaves the weights and adds the gradient to each parameter's `.grad`, the mean over the
            time-steps (from burn_in on).
        record: Names of arrays to return, see :class:`dalton.rules.workspace.Recorder`.

    Raises:
        UserError: An argument is out of range or does not fit the others; memory of an accelerator is exhausted.
    """
    method, setting = resolve(method, setting)
    if method == "surrgd" and setting != "bptt":
        raise UserError(f"setting is {setting!r}; surrgd has bptt only, use tfr or dalton for {setting}.")
    if loss not in ("mse", "ce"):
        raise UserError(f"loss is {loss!r}; choose mse or ce.")
    if loss == "ce" and method == "dalton":
        raise UserError(
            "loss 'ce' is not defined for dalton, whose targets are currents; choose mse, or surrgd or tfr."
        )
    if optimizer is None and update:
        raise UserError("optimizer is None; give a torch optimizer, or update=False.")
    inputs, steps, frames = check_inputs(network, inputs, steps)
    if setting != "bptt" and not 0 <= burn_in < steps:
        raise UserError(
            f"burn_in is {burn_in}; it must be at least 0 and below the number of time-steps, {steps}, or nothing "
            "would be trained."
        )
    labels = check_labels(network, labels, inputs.shape[1 if frames else 0])
    masks = check_masks(network, dropout_masks, generator, steps, len(labels))
    job = Job(
        method, network, optimizer if update else None, inputs, labels, steps, frames, loss, masks, generator,
        engine_for(engine, network, masks), transfer_masks, Recorder(record),
    )  # fmt: skip
    with torch.no_grad(), helpful_out_of_memory(network, method, setting, steps, len(labels)):
        outcome = (
            train_sequence(job) if setting == "bptt" else train_stepwise(job, burn_in, setting == "rtrl")
        )
    rates = {
        layer.name: outcome.counts[layer.name] / (steps * len(labels) * layer.units)
        for layer in network.layers
    }
    joined = job.recorder.joined(1 if setting == "bptt" else 0)
    return StepResult(
        outcome.loss, outcome.layer_losses, outcome.outputs, classes(outcome.outputs), rates, joined
    )


def predict(
    network: SpikingCNN,
    inputs: Tensor,
    steps: int | None = None,
    burn_in: int = 0,
    engine: EngineName = "auto",
) -> Tensor:
    """Return class outputs (time - burn_in, batch, class) of the last layer, from rest, without dropout.

    Args:
        network: The network.
        inputs: Images with `steps`, or frames, as in :func:`train_step`.
        steps: Time-steps for which images are held.
        burn_in: Time-steps left out at the beginning.
        engine: "auto", "native" or "torch".

    Raises:
        UserError: As :func:`train_step`.
    """
    return observe(network, inputs, steps, burn_in, engine)[0]


def observe(
    network: SpikingCNN,
    inputs: Tensor,
    steps: int | None = None,
    burn_in: int = 0,
    engine: EngineName = "auto",
    record: Iterable[str] = (),
) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
    """Return what :func:`predict` returns, and recorded arrays {name: {layer: (time, batch, ...)}}.

    Args:
        network: The network.
        inputs: Images with `steps`, or frames.
        steps: Time-steps for which images are held.
        burn_in: Time-steps left out of the class outputs.
        engine: "auto", "native" or "torch".
        record: Among encoder, delta, v, c, spikes, current, readout.

    Raises:
        UserError: As :func:`train_step`.
    """
    inputs, steps, frames = check_inputs(network, inputs, steps)
    if not 0 <= burn_in < steps:
        raise UserError(
            f"burn_in is {burn_in}; it must be at least 0 and below the number of time-steps, {steps}."
        )
    batch = inputs.shape[1 if frames else 0]
    job = Job(
        "surrgd", network, None, inputs, torch.zeros(batch, dtype=torch.int64), steps, frames, "mse", None, None,
        engine_for(engine, network, None), False, Recorder(record),
    )  # fmt: skip
    with torch.no_grad(), helpful_out_of_memory(network, "predict", "bptt", steps, batch):
        outputs = predict_sequence(job)
    return outputs[burn_in:], job.recorder.joined(1)


def classes(class_outputs: Tensor) -> Tensor:
    """Return int64 (batch,): argmax over classes of the mean over time of (time, batch, class)."""
    return class_outputs.mean(0).argmax(1)


def resolve(method: str, setting: str) -> tuple[Method, Setting]:
    """Return method and setting; the original's names stand for both, except that "rtrl" stays what it is.

    Raises:
        UserError: Unknown name.
    """
    if method.upper() in ALIASES:
        method, default = ALIASES[method.upper()]
        setting = default if setting == "bptt" else setting
    if method not in METHODS:
        raise UserError(f"method is {method!r}; choose one of {', '.join((*METHODS, *ALIASES))}.")
    if setting not in SETTINGS:
        raise UserError(f"setting is {setting!r}; choose one of {', '.join(SETTINGS)}.")
    return cast("Method", method), cast("Setting", setting)


def check_inputs(network: SpikingCNN, inputs: Tensor, steps: int | None) -> tuple[Tensor, int, bool]:
    """Return inputs on the network's device, the number of time-steps, and whether the inputs are frames.

    Raises:
        UserError: Shape, range or number of steps do not fit.
    """
    shape = tuple(network.input_shape)
    frames = inputs.dim() == 5
    if inputs.dim() not in (4, 5) or tuple(inputs.shape[-3:]) != shape:
        raise UserError(
            f"inputs have shape {tuple(inputs.shape)}; the network takes images (batch, {_listed(shape)}) or frames "
            f"(time, batch, {_listed(shape)})."
        )
    if 0 in inputs.shape:
        raise UserError(
            f"inputs have shape {tuple(inputs.shape)}; there must be a sample and a time-step or more."
        )
    if frames and steps is not None and steps != len(inputs):
        raise UserError(
            f"steps is {steps}, but the inputs are {len(inputs)} frames; leave steps out for frames."
        )
    if not frames and (not isinstance(steps, int) or steps < 1):
        raise UserError(
            f"steps is {steps!r}; images need a whole number of time-steps of 1 or more, for example 40."
        )
    if inputs.is_complex():
        raise UserError("inputs are complex; give real numbers.")
    low, high = (float(v) for v in torch.aminmax(inputs))
    if not (low > -float("inf") and high < float("inf")):
        raise UserError("inputs hold NaN or infinite values; clean the data first.")
    if not frames and (low < 0 or high > 1):
        raise UserError(
            f"images lie in [{low:g}, {high:g}]; scale pixels to [0, 1], for example divide by 255."
        )
    count = len(inputs) if frames else cast("int", steps)
    return inputs.to(network.device), count, frames


def check_labels(network: SpikingCNN, labels: Tensor, batch: int) -> Tensor:
    """Return int64 labels (batch,) on the network's device.

    Raises:
        UserError: Their number, type or range does not fit.
    """
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise UserError(f"labels are {labels.dtype}; give whole numbers, int64.")
    if labels.shape != (batch,):
        raise UserError(f"labels have shape {tuple(labels.shape)}; {batch} inputs need ({batch},).")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= network.classes:
        raise UserError(
            f"labels run from {low} to {high}; the network has classes 0 to {network.classes - 1}."
        )
    return labels.to(network.device, torch.int64)


def check_masks(
    network: SpikingCNN,
    masks: Mapping[str, Tensor] | None,
    generator: torch.Generator | None,
    steps: int,
    batch: int,
) -> dict[str, DropoutMask] | None:
    """Return dropout masks on the network's device, or None where they are to be drawn.

    Raises:
        UserError: A name or shape is wrong, or masks have to be drawn and there is no generator.
    """
    if masks is None:
        dropped = [layer.name for layer in network.layers if layer.dropout]
        if dropped and generator is None:
            raise UserError(
                f"{', '.join(dropped)} drop spikes: give a generator, e.g. torch.Generator().manual_seed(0), or "
                "dropout_masks={} for none."
            )
        return None
    shapes = {layer.name: (steps, batch, *layer.output_shape) for layer in network.layers}
    for name, mask in masks.items():
        if name not in shapes:
            raise UserError(f"dropout_masks has {name!r}; the layers are {', '.join(shapes)}.")
        if tuple(mask.shape) != shapes[name]:
            raise UserError(
                f"dropout_masks[{name!r}] has shape {tuple(mask.shape)}; expected {shapes[name]}."
            )
    moved = {name: mask.to(network.device, network.dtype) for name, mask in masks.items()}
    return {name: DropoutMask.from_multipliers(mask) for name, mask in moved.items()}


def _listed(shape: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in shape)
