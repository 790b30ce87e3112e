"""One training step of any method and setting, and prediction.

bptt     one update per batch, gradient through each layer's time
online   one update per time-step from `burn_in` on, gradient of that step only (the original's "RTRL")
rtrl     as online, with the eligibility traces of true diagonal RTRL
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor, nn
from torch.distributed import ProcessGroup, get_world_size, is_initialized
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from dalton.checks import check_inputs, check_masks, check_tensor, whole
from dalton.engines.choice import engine_for
from dalton.model.dropout import DropoutMask
from dalton.model.memory import helpful_out_of_memory
from dalton.model.network import SpikingCNN
from dalton.names import ALIASES, METHODS, SETTINGS, EngineName, Loss, Setting
from dalton.rules import RULES
from dalton.rules.protocol import LearningRule, check_rule
from dalton.rules.workspace import Recorder
from dalton.training.sequence import Job, own_gradients, predict_sequence, train_sequence
from dalton.training.stepwise import train_stepwise


@dataclass
class StepResult:
    """The result of a training step; class outputs are from before each update.

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


def trainable(network: SpikingCNN, method: str | LearningRule) -> dict[str, nn.Parameter]:
    """Return the parameters that a method or a rule trains: the spiking layers, and for surrgd the class matrix `out`.

    Frozen ones (``requires_grad_(False)``) are left out.

    Raises:
        UserError: Unknown method.
    """
    rule = rule_named(method)
    if not isinstance(network, SpikingCNN):
        network, _ = unwrapped(network, update=False)
    names = set(_weights_of(rule, network))
    named = network.named_parameters()
    # a parametrization's own parameters are called parametrizations.<name>.original...
    return {
        name: p
        for name, p in named
        if p.requires_grad and name.removeprefix("parametrizations.").split(".")[0] in names
    }


def _weights_of(rule: LearningRule, network: SpikingCNN) -> list[str]:
    """Return the names of the weights that a rule trains.

    Raises:
        UserError: One of them does not exist.
    """
    names, there = list(rule.trained(network)), [*network.layer_names, "out"]
    if unknown := [name for name in names if name not in there]:
        raise UserError(f"rule {rule.name!r} trains {unknown[0]!r}; the weights are {', '.join(there)}.")
    return names


def train_step(
    method: str | LearningRule,
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

    Computed in the weights' own type, float32 or float64, also under ``torch.autocast``; gradients are not scaled.
    If a GradScaler steps the optimizer because it also trains other modules, use ``update=False`` and multiply
    the gradients by ``scaler.get_scale()`` before ``scaler.step(optimizer)``.

    Several processes: give the DistributedDataParallel module as `network`, and each process its part of the
    batch. Without the wrapper, use ``update=False``, then ``all_reduce`` and divide each `.grad` by the number of
    processes, then ``optimizer.step()``. Parts of equal size give the step of the joined batch.

    Args:
        method: "surrgd", "tfr", "dalton", one of the original's names (:data:`dalton.ALIASES`), or your own
            :class:`dalton.rules.LearningRule`.
        network: The optimizer changes its weights and nothing else; frozen ones (``requires_grad_(False)``) stay.
            A DistributedDataParallel around it averages the gradients over its processes, before every update.
        optimizer: Any torch optimizer over :func:`trainable` parameters, and others; None only with ``update=False``.
            It sees only the gradients of this step: earlier gradients of its parameters and the network's are
            set aside and put back, neither applied nor lost. It steps once in bptt, otherwise at every time-step.
        inputs: Images (batch, channel, height, width) in [0, 1] with `steps`, or frames of counts
            (time, batch, channel, height, width).
        labels: int64 (batch,).
        steps: Time-steps for which images are held; None for frames.
        setting: "bptt", "online" or "rtrl".
        loss: "mse", or "ce" for surrgd and tfr.
        burn_in: Time-steps before the first update, online and rtrl only.
        generator: CPU source of the dropout masks; needed if a layer drops spikes and no masks are given,
            unless the network is in evaluation mode (``net.eval()``), in which nothing is dropped.
        dropout_masks: Multipliers of emitted spikes {"conv2": (time, batch, channel, height, width)}; they replace
            the drawn ones, and an empty dictionary switches dropout off.
        engine: "auto", "native" or "torch".
        transfer_masks: DALTON: dropout and clipping masks also in the recursion of the targets.
        update: False leaves the weights and adds the gradient to each parameter's `.grad` as ``backward()`` does, hooks
            included, averaged over the time-steps (from burn_in on); use it for accumulation, followed by
            ``optimizer.step()``.
        record: Names of arrays to return, see :class:`dalton.rules.workspace.Recorder`.

    Raises:
        UserError: An argument is out of range or does not fit the others; memory of an accelerator is exhausted.
        Diverged: A weight, a loss or a gradient is no longer finite; a UserError that names the layer.
    """
    rule, setting = resolve(method, setting)
    if setting not in rule.settings:
        others = ", use tfr or dalton for " + setting if rule.name == "surrgd" else ""
        raise UserError(
            f"setting is {setting!r}; {rule.name} has {' and '.join(rule.settings)} only{others}."
        )
    if loss not in ("mse", "ce"):
        raise UserError(f"loss is {loss!r}; choose mse or ce.")
    if loss == "ce" and rule.name == "dalton":
        raise UserError(
            "loss 'ce' is not defined for dalton, whose targets are currents; choose mse, or surrgd or tfr."
        )
    if loss not in rule.losses:
        raise UserError(f"loss is {loss!r}; {rule.name} is defined for {' and '.join(rule.losses)}.")
    for name, value in (("update", update), ("transfer_masks", transfer_masks)):
        if not isinstance(value, bool | np.bool_):
            raise UserError(f"{name} is {value!r}; it must be True or False.")
    if not isinstance(optimizer, torch.optim.Optimizer | None):
        raise UserError(f"optimizer is a {type(optimizer).__name__}; give a torch optimizer.")
    if not isinstance(generator, torch.Generator | None):
        raise UserError(
            f"generator is a {type(generator).__name__}; give one, e.g. torch.Generator().manual_seed(0)."
        )
    if optimizer is None and update:
        raise UserError("optimizer is None; give a torch optimizer, or update=False.")
    network, group = unwrapped(network, update)
    check_optimizer(network, rule, optimizer if update else None)
    network.check()
    steps, frames = check_inputs(network.input_shape, inputs, steps)
    if setting != "bptt":
        check_burn_in(burn_in, steps, ", or nothing would be trained")
    labels = check_labels(network, labels, inputs.shape[1 if frames else 0])
    with torch.no_grad(), torch.autocast(network.device.type, enabled=False):
        masks = prepare_masks(network, dropout_masks, generator, steps, len(labels))
        job = Job(
            rule, network, optimizer if update else None, inputs.to(network.device), labels, steps, frames, loss,
            masks, generator, engine_for(engine, network, masks), transfer_masks, Recorder(record), group,
        )  # fmt: skip
        with own_gradients(job), helpful_out_of_memory(network, size_like(rule), setting, steps, len(labels)):
            outcome = (
                train_sequence(job) if setting == "bptt" else train_stepwise(job, burn_in, setting == "rtrl")
            )
    if update:
        network.check()
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
    network, _ = unwrapped(network, update=False)
    network.check()
    steps, frames = check_inputs(network.input_shape, inputs, steps)
    check_burn_in(burn_in, steps)
    record = frozenset(record)
    if unseen := sorted(record & {"target", "gradient", "weight"}):
        raise UserError(f"record has {', '.join(unseen)}, which a prediction does not make; use train_step.")
    batch = inputs.shape[1 if frames else 0]
    with torch.no_grad(), torch.autocast(network.device.type, enabled=False):
        job = Job(
            RULES["surrgd"], network, None, inputs.to(network.device), torch.zeros(batch, dtype=torch.int64), steps,
            frames, "mse", None, None, engine_for(engine, network, None), False, Recorder(record),
        )  # fmt: skip
        with helpful_out_of_memory(network, "predict", "bptt", steps, batch):
            outputs = predict_sequence(job)
    return outputs[burn_in:], job.recorder.joined(1)


def classes(class_outputs: Tensor) -> Tensor:
    """Return int64 (batch,): argmax over classes of the mean over time of (time, batch, class).

    Raises:
        UserError: The wrong number of axes.
    """
    if check_tensor("class_outputs", class_outputs).dim() != 3:
        raise UserError(f"class_outputs have shape {tuple(class_outputs.shape)}; give (time, batch, class).")
    return class_outputs.mean(0).argmax(1)


def size_like(rule: LearningRule) -> str:
    """Return the method for the memory estimate: the method itself, or for a user's own rule the most demanding one."""
    return rule.name if rule.name in METHODS else "dalton"


def resolve(method: str | LearningRule, setting: str) -> tuple[LearningRule, Setting]:
    """Return rule and setting; the original's names imply both, except that "rtrl" keeps its meaning.

    Args:
        method: A name, or a user's own rule.
        setting: bptt, online or rtrl.

    Raises:
        UserError: Unknown name, or an object that is not a rule.
    """
    if isinstance(method, str) and method.upper() in ALIASES:
        default = ALIASES[method.upper()][1]
        setting = default if setting == "bptt" else setting
    rule = rule_named(method)
    if setting not in SETTINGS:
        raise UserError(f"setting is {setting!r}; choose one of {', '.join(SETTINGS)}.")
    return rule, cast("Setting", setting)


def rule_named(method: str | LearningRule) -> LearningRule:
    """Return the rule of a name; a user's own rule is returned as it is.

    Raises:
        UserError: Unknown name, or an object that is not a rule.
    """
    if any(hasattr(method, name) for name in ("trained", "begin")):
        return check_rule(method, "method")
    if isinstance(method, str) and method.upper() in ALIASES:
        method = ALIASES[method.upper()][0]
    if method not in METHODS:
        raise UserError(f"method is {method!r}; choose one of {', '.join((*METHODS, *ALIASES))}.")
    return RULES[str(method)]


def unwrapped(network: nn.Module, update: bool) -> tuple[SpikingCNN, ProcessGroup | None]:
    """Return the network within torch's wrappers, and the processes whose gradients are averaged.

    Args:
        network: A SpikingCNN, bare or in ``torch.compile``, DataParallel, DistributedDataParallel or AveragedModel.
        update: Whether its weights will be changed.

    Raises:
        UserError: Not a network of dalton, averaged weights that would be changed, or one of several processes'
            networks without the wrapper that keeps them equal.
    """
    group, inner = None, network
    if isinstance(inner, DistributedDataParallel):
        group = inner.process_group if update or inner.require_backward_grad_sync else None
    elif update and is_initialized() and get_world_size() > 1:
        raise UserError(
            f"torch.distributed runs {get_world_size()} processes, whose networks would drift apart; give train_step "
            "the DistributedDataParallel module itself, or update=False and average the gradients."
        )
    if isinstance(inner, AveragedModel) and update:
        raise UserError(
            "network is an AveragedModel; train the network that it averages, then update the average."
        )
    while isinstance(inner, DistributedDataParallel | DataParallel | AveragedModel):
        inner = inner.module
    inner = getattr(inner, "_orig_mod", inner)  # of torch.compile
    if not isinstance(inner, SpikingCNN):
        raise UserError(f"network is a {type(inner).__name__}; it must be a dalton.SpikingCNN.")
    return inner, group


def check_burn_in(burn_in: int, steps: int, why: str = "") -> None:
    """Refuse a burn-in that is not a whole number, or leaves no time-step.

    Raises:
        UserError: The message names it and the number of time-steps.
    """
    number = whole(burn_in)
    if number is None or not 0 <= number < steps:
        raise UserError(
            f"burn_in is {burn_in!r}; it must be a whole number of at least 0 and below the number of time-steps, "
            f"{steps}{why}."
        )


def check_optimizer(network: SpikingCNN, rule: LearningRule, optimizer: torch.optim.Optimizer | None) -> None:
    """Refuse anything that cannot be trained before computing; without `optimizer` there is no update.

    Raises:
        UserError: inference_mode, weights made in it or made anew in every forward pass, all layers frozen, an
            optimizer that computes losses itself, or a rule that names weights that do not exist.
    """
    names = _weights_of(rule, network)
    weights = {name: network.weight(name) for name in names}
    if torch.is_inference_mode_enabled() or any(weight.is_inference() for weight in weights.values()):
        raise UserError(
            "train_step runs under torch.inference_mode, or the network was made there, and its weights cannot be "
            "trained; use torch.no_grad, or make it outside."
        )
    for name in names:
        if name not in {*network._parameters, *getattr(network, "parametrizations", {})}:
            raise UserError(
                f"{name} is not a parameter but made anew in every forward pass (torch.nn.utils.prune, the old "
                "weight_norm); use torch.nn.utils.parametrizations, or prune.remove first."
            )
    if not trainable(network, rule):
        raise UserError(
            f"{', '.join(names)} are frozen, so that {rule.name} trains nothing; unfreeze a layer."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UserError(
            "optimizer is LBFGS, which computes the loss several times per step; choose another, e.g. Adam."
        )


def check_labels(network: SpikingCNN, labels: Tensor, batch: int) -> Tensor:
    """Return int64 labels (batch,) on the network's device.

    Raises:
        UserError: Their number, type or range does not fit.
    """
    if (
        check_tensor("labels", labels).is_floating_point()
        or labels.is_complex()
        or labels.dtype == torch.bool
    ):
        raise UserError(f"labels are {labels.dtype}; give whole numbers, int64.")
    if labels.shape != (batch,):
        raise UserError(f"labels have shape {tuple(labels.shape)}; {batch} inputs need ({batch},).")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= network.classes:
        raise UserError(
            f"labels run from {low} to {high}; the network has classes 0 to {network.classes - 1}."
        )
    return labels.to(network.device, torch.int64)


def prepare_masks(
    network: SpikingCNN,
    masks: Mapping[str, Tensor] | None,
    generator: torch.Generator | None,
    steps: int,
    batch: int,
) -> dict[str, DropoutMask] | None:
    """Return dropout masks on the network's device, or None if they must be drawn.

    Raises:
        UserError: A name or shape is wrong, or masks have to be drawn and there is no generator.
    """
    if masks is None and not network.training:
        return {}  # as after net.eval() everywhere in torch
    if masks is None:
        dropped = [layer.name for layer in network.layers if layer.dropout]
        if dropped and generator is None:
            raise UserError(
                f"{', '.join(dropped)} drop spikes: give a generator, e.g. torch.Generator().manual_seed(0), or "
                "dropout_masks={} for none."
            )
        return None
    check_masks(masks, {layer.name: (steps, batch, *layer.output_shape) for layer in network.layers})
    moved = {name: mask.to(network.device, network.dtype) for name, mask in masks.items()}
    return {name: DropoutMask.from_multipliers(mask) for name, mask in moved.items()}
