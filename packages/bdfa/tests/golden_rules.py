"""Golden checks of the rules, optimisers, norms and initial values, for ``test_golden.py``.

Each check takes one file's arrays and returns ``{key: (ours, golden)}`` for every key that is not an input.
"""

from __future__ import annotations

import re

import bdfa
import numpy as np
import torch
from bdfa.rules.adversarial import adversarial_backward
from bdfa.rules.bdfa import feedback_gradient, feedback_target
from bdfa.rules.initialisation import fan_in
from bdfa.rules.max_norm import renorm_original
from golden_networks import Arrays, Case, Pairs, Trace, feedback, parameters, set_masks, tensor, wrap
from torch import Tensor

INPUTS = ("x", "labels", "lr", "fb_lr", "alpha", "eps", "init.*", "step*.dropmask*")
PATTERN = re.compile(
    r"(?:(?P<variant>conv|bn|drop|adv0|adv1)_)?(?P<rule>bp|fa|dfa|bdfa|bfa)"
    r"(?:_(?P<extra>paper_a0|paper_a025|mse|simultaneous|zeroinit))?_(?P<criterion>bce|ce)"
    r"_(?P<nonlinearity>tanh|relu|sigm)(?P<true>_true_error)?"
)
TARGET_OF = {"paper_a0": "onehot", "paper_a025": "paper"}


def parse(name: str) -> Case | None:
    """Read a file's name, or None when it is not a training file."""
    match = PATTERN.fullmatch(name)
    if match is None:
        return None
    extra = match["extra"] or ""
    transcribed = bool(match["true"]) or match["rule"] == "bfa" or extra in ("paper_a0", "paper_a025", "mse")
    return Case(
        match["rule"], match["criterion"], match["nonlinearity"], match["variant"] or extra, not transcribed
    )


def check_training(golden: Arrays, case: Case) -> Pairs:
    """Three plain SGD steps through `FeedbackModel`."""
    model = wrap(golden, case, **options(golden, case))
    criterion = bdfa.Criterion(case.criterion, log_probabilities=model.log_probabilities)
    optimiser = bdfa.make_optimiser("sgd", model.forward_parameters(), lr=float(golden["lr"]))
    trace, pairs = Trace().attach(model.model), {}
    for step in range(len(golden["x"])):
        inputs = tensor(golden["x"][step]).requires_grad_()
        labels = tensor(golden["labels"][step])
        set_masks(model.model, golden, step)
        optimiser.zero_grad()
        before = {key: value.clone() for key, value in feedback(model).items()}
        if case.variant.startswith("adv"):
            ours = adversarial(model, criterion, inputs, labels, golden, case, trace)
        else:
            scores = model(inputs, labels=labels)
            scores.retain_grad()
            criterion(scores, labels).backward()
            ours = seen(model, criterion, scores, labels, inputs.grad, trace)
        ours |= {f"d{key}": value.grad for key, value in parameters(model.model).items()}
        if case.rule == "bdfa" and not case.faithful:
            ours |= learning(model, golden, before, trace, step)
        optimiser.step()
        if case.rule == "bfa":
            ours |= generating(model, inputs.detach(), labels, case)
        ours |= {key: value for key, value in parameters(model.model).items()}
        ours |= feedback(model) if case.rule not in ("fa",) else {}
        ours |= running(model)
        pairs |= compare(ours, golden, f"step{step}.")
    return pairs


def missing(golden: Arrays, case: Case) -> set[str]:
    """Keys that a training file must have but does not."""
    layers = range(1, sum(key.startswith("init.W") for key in golden) + 1)
    steps = range(len(golden["x"]))
    shown = {"logits", "loss"} | {f"{kind}{k}" for kind in ("W", "b", "dW", "db") for k in layers}
    if case.faithful:
        shown |= {"output", "dE_dy", "dE_dx"} | {f"act{k}" for k in layers[:-1]}
    if case.rule == "bdfa":
        shown |= {f"B{k}" for k in layers[:-1]}
    if case.rule == "bfa":
        shown |= {f"{kind}{k}" for kind in ("FB", "dFB") for k in layers}
    for key in golden:
        if key.startswith("step"):
            shown.add(key.split(".", 1)[1])
    wanted = {f"step{step}.{key}" for step in steps for key in shown}
    return (wanted | {"x", "labels", "lr"} | {f"init.{kind}{k}" for kind in "Wb" for k in layers}) - set(
        golden
    )


def options(golden: Arrays, case: Case) -> dict[str, object]:
    """Arguments of FeedbackModel for a file."""
    chosen: dict[str, object] = {}
    if "fb_lr" in golden:
        chosen["feedback_lr"] = float(golden["fb_lr"])
    if case.rule == "bdfa" and not case.faithful:
        chosen |= {"feedback_target": TARGET_OF.get(case.variant, "onehot"),
                   "feedback_alpha": float(golden["alpha"]),
                   "feedback_loss": "mse" if case.variant == "mse" else "logistic"}  # fmt: skip
    if case.rule == "bfa":
        chosen["feedback_update"] = "manual"
        chosen["feedback_order"] = "simultaneous" if case.variant == "simultaneous" else "sequential"
    return chosen


def seen(
    model: bdfa.FeedbackModel,
    criterion: bdfa.Criterion,
    scores: Tensor,
    labels: Tensor,
    input_gradient: Tensor | None,
    trace: Trace,
) -> dict[str, Tensor | None]:
    """All values of a forward and backward pass, by golden name."""
    outputs = trace.outputs
    found: dict[str, Tensor | None] = {
        "output": scores, "logits": outputs["output"], "dE_dy": scores.grad, "error": scores.grad,
        "loss": criterion.report(scores, labels), "dE_dx": input_gradient,
        "delta_last": outputs["output"].grad,
    }  # fmt: skip
    for name, output in outputs.items():
        kind, number = re.fullmatch(r"([a-z]+)(\d*)", name).groups()  # type: ignore[union-attr]
        if kind == "nonlinearity":
            found |= {f"act{number}": output, f"h{number}": output}
        elif kind in ("linear", "convolution"):
            found[f"delta{number}"] = output.grad
    for k, name in enumerate(model.tap_names, 1):
        found[f"hfb{k}"] = outputs[name]
    last = sum(key.startswith("act") for key in found) + 1
    found[f"delta{last}"] = found.pop("delta_last")
    return found


def adversarial(
    model: bdfa.FeedbackModel,
    criterion: bdfa.Criterion,
    inputs: Tensor,
    labels: Tensor,
    golden: Arrays,
    case: Case,
    trace: Trace,
) -> dict[str, Tensor | None]:
    """One adversarial step; the activations of the clean pass come from their own pass."""
    clean = model(inputs.detach(), labels=labels).detach()
    clean_outputs = {key: value.detach().clone() for key, value in trace.outputs.items()}
    done = adversarial_backward(
        model, criterion, inputs.detach(), labels, eps=float(golden["eps"]), accumulate=case.variant == "adv1"
    )
    torch.testing.assert_close(done.clean_scores, clean, rtol=0, atol=1e-12)
    found = {"output": clean, "logits": clean, "loss": criterion.report(clean, labels),
             "dE_dy": criterion.error(clean, labels), "dE_dx": done.input_gradient, "x_adv": done.inputs,
             "logits_adv": done.scores, "loss_adv": criterion.report(done.scores, labels)}  # fmt: skip
    for name, output in clean_outputs.items():
        if name.startswith("nonlinearity"):
            number = name.removeprefix("nonlinearity")
            found |= {f"act{number}": output, f"hfb{number}": output}
    return found


def learning(
    model: bdfa.FeedbackModel, golden: Arrays, before: dict[str, Tensor], trace: Trace, step: int
) -> dict[str, Tensor]:
    """Targets, scores, losses and gradients of the learning feedback."""
    assert model.learner is not None
    labels, output = tensor(golden["labels"][step]), trace.outputs["output"].detach()
    found = {}
    for k, name in enumerate(model.tap_names, 1):
        hidden, matrix = trace.outputs[name].detach(), before[f"B{k}"]
        target = feedback_target(
            model.learner.target, output, labels, alpha=model.learner.alpha, probability=model.criterion
        )
        gradient, loss = feedback_gradient(target, matrix, hidden, model.learner.loss)
        found |= {f"target{k}": target, f"dB{k}": gradient, f"fb_loss{k}": loss,
                  f"score{k}": ((target @ matrix) * hidden).sum(1)}  # fmt: skip
    return found


def generating(model: bdfa.FeedbackModel, inputs: Tensor, labels: Tensor, case: Case) -> dict[str, Tensor]:
    """The feedback phase of bfa."""
    feedback_network = model.feedback
    activities = feedback_network.activities(labels)
    if case.variant == "simultaneous":
        gradients = [weight.grad for weight in feedback_network.weights]
    else:
        gradients = feedback_network.gradients(inputs, labels)
    found = {f"dFB{j}": gradient for j, gradient in enumerate(gradients, 1)}
    found |= {f"fh{j}": activity for j, activity in enumerate(activities[1:-1], 1)}
    found |= {"x_hat": activities[-1], "fb_loss": feedback_network.reconstruction_loss(inputs, labels)}
    model.feedback_step()
    return found


def running(model: bdfa.FeedbackModel) -> dict[str, Tensor]:
    """Running statistics of batch normalisation."""
    found = {}
    for name, module in model.model.named_children():
        if name.startswith("batchnorm"):
            k = name.removeprefix("batchnorm")
            found |= {f"running_mean{k}": module.running_mean, f"running_var{k}": module.running_var}
    return found


def compare(ours: dict[str, Tensor | None], golden: Arrays, prefix: str) -> Pairs:
    """Pair our values with the golden ones of one step; copies, because training continues."""
    pairs: Pairs = {}
    for key, value in ours.items():
        if prefix + key in golden:
            wanted = golden[prefix + key]
            assert value is not None, f"{prefix}{key} was not computed"
            found = value.detach().clone().numpy()
            assert found.size == wanted.size, f"{prefix}{key}: {found.shape} against {wanted.shape}"
            pairs[prefix + key] = (found.reshape(wanted.shape), wanted)
    return pairs


def check_optimisers(golden: Arrays) -> Pairs:
    """File ``optim``: five updates of every optimiser."""
    pairs: Pairs = {}
    for key in (key for key in golden if key not in ("x0", "grads", "origin", "case")):
        name, *flags = key.split("_")
        small = name in ("rmsprop", "adam", "adamax")
        decay = "lrd" in flags or name == "adagrad"
        parameter = torch.nn.Parameter(tensor(golden["x0"]))
        optimiser = bdfa.make_optimiser(
            name, [parameter], lr=0.01 if small else 0.1,
            momentum=0.9 if "mom" in flags or name == "nag" else 0.0,
            weight_decay=0.01 if "wd" in flags else 0.0, lr_decay=0.05 if decay else 0.0, profile="faithful",
        )  # fmt: skip
        path = []
        for gradient in golden["grads"]:
            parameter.grad = tensor(gradient)
            optimiser.step()
            path.append(parameter.detach().numpy().copy())
        pairs[key] = (np.stack(path), golden[key])
    return pairs


def check_renorm(golden: Arrays) -> Pairs:
    """File ``renorm``: both limits on a linear, a convolution and a bias."""
    pairs: Pairs = {}
    for key in (key for key in golden if "_out" in key):
        kind, first, last = re.fullmatch(r"(\w+?)_out([\d.]+)_in([\d.]+)", key).groups()  # type: ignore[union-attr]
        start = golden[key] if kind == "bias" else golden[f"{kind}_in"]  # biases must stay as they are
        parameter = tensor(start)
        renorm_original([parameter], float(first), float(last))
        pairs[key] = (parameter.numpy(), golden[key])
    return pairs


def check_ranges(golden: Arrays) -> Pairs:
    """File ``init_ranges``: half-widths from the layers' fans, and that draws fill and respect them."""
    fan_ins, fan_outs = golden["mlp_fan_in"].tolist(), golden["mlp_fan_out"].tolist()
    sizes = (int(fan_ins[0]), [int(width) for width in fan_outs[:-1]], int(fan_outs[-1]))
    mlp, conv = bdfa.initialise(bdfa.mlp(*sizes), seed=1), bdfa.initialise(bdfa.conv(), seed=1)
    direct = bdfa.FeedbackModel(mlp, "dfa", seed=2).feedback.matrices
    direct_conv = bdfa.FeedbackModel(conv, "dfa", seed=2).feedback.matrices
    layered = bdfa.FeedbackModel(bdfa.initialise(bdfa.mlp(*sizes), zero="uniform"), "fa", seed=3)
    weights = [p for p in mlp.parameters() if p.dim() > 1]
    conv_weights = [p for p in conv.parameters() if p.dim() > 1]
    fa = list(feedback(layered).values())
    drawn = [p for p in layered.model.parameters() if p.dim() > 1]
    pairs: Pairs = {
        "mlp_fan_in": (np.array([fan_in(w) for w in weights]), golden["mlp_fan_in"]),
        "mlp_fan_out": (np.array([len(w) for w in weights]), golden["mlp_fan_out"]),
        "mlp_weight_bound": (bounds(drawn, [fan_in(w) for w in drawn]), golden["mlp_weight_bound"]),
        "dfa_feedback_bound_mag0": (
            bounds(direct, [b.shape[1] for b in direct]), golden["dfa_feedback_bound_mag0"],
        ),
        "fa_feedback_bound_mag0": (bounds(fa, [fan_in(f) for f in fa]), golden["fa_feedback_bound_mag0"]),
        "conv_dfa_feedback_numel": (
            np.array([b.shape[1] for b in direct_conv]).reshape(golden["conv_dfa_feedback_numel"].shape),
            golden["conv_dfa_feedback_numel"],
        ),
        "conv_dfa_feedback_bound_mag0": (
            bounds(direct_conv, [b.shape[1] for b in direct_conv]), golden["conv_dfa_feedback_bound_mag0"],
        ),
        "conv_weight_bound": (
            np.array([fan_in(w) ** -0.5 for w in conv_weights]), golden["conv_weight_bound"]
        ),
    }  # fmt: skip
    return pairs


def bounds(tensors: list[Tensor], widths: list[int]) -> np.ndarray:
    """Half-widths 1/√width, after checking that every tensor fills the range and stays inside it."""
    found = []
    for values, width in zip(tensors, widths, strict=True):
        bound, largest = width**-0.5, float(values.detach().abs().max())
        least = 1 - max(0.01, 12 / values.numel())  # of n uniform numbers all are below it once in e^12 times
        assert least * bound < largest <= bound * (1 + 1e-6), f"largest {largest}, bound {bound}"
        found.append(bound)
    return np.array(found)
