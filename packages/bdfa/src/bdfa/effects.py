"""Options that would have no effect are refused before a new run begins; the message names what they need."""

from __future__ import annotations

from dataclasses import replace

from reprokit import UserError

from bdfa.config import TrainConfig
from bdfa.presets import PRESETS

DIRECT = ("dfa", "bdfa", "sign-dfa", "drtp")
ZEROED = ("fa", *DIRECT)  # rules whose networks can start at zero
_PRESET_HIDDEN = {config.hidden for config in PRESETS.values()}


def idle_options(config: TrainConfig) -> dict[str, str]:
    """Options that differ from their default and have no effect, with the reason.

    Those the original ignores too (momentum and rate decay, profile ``faithful``) are left out; `TrainConfig`
    refuses them under ``fixed``.
    """
    own_network = config.model not in ("mlp", "conv")
    rule, fixed = config.rule, not config.faithful
    target = config.resolved_target()
    waits: dict[str, tuple[bool, str]] = {
        "hidden": (
            config.model != "mlp" and config.hidden not in _PRESET_HIDDEN, f"--model {config.model} has its own widths",
        ),
        "act": (own_network and (rule not in ZEROED or config.own_rule), "the network is your own"),
        "bias": (own_network and fixed, "the network is your own"),
        "batchnorm": (
            (own_network and fixed) or (config.model == "mlp" and config.batchnorm == "conv2"),
            "the network is your own" if own_network else "the mlp has no convolution; use all",
        ),
        "dropout": (
            own_network or (config.model == "mlp" and config.dropout == "conv"),
            "the network is your own" if own_network else "the mlp has no convolution; use full or input",
        ),
        "p_in": (own_network, "the network is your own"),
        "p_hidden": (own_network, "the network is your own"),
        "p_conv": (config.model != "conv", "it is for --model conv"),
        "init": (
            config.init == "zero" and rule not in ZEROED and not config.own_rule,
            f"only {', '.join(ZEROED)} start at zero",
        ),
        "fb_scale": (
            rule == "bp" or config.own_rule,
            "bp has no feedback" if rule == "bp" else "your rule draws its own feedback",
        ),
        "fb_dist": (rule not in DIRECT, f"it is for {', '.join(DIRECT)}"),
        "fb_lr": (rule not in ("bdfa", "bfa"), "it is for bdfa and bfa, whose feedback learns"),
        "fb_target": (rule != "bdfa", "it is for bdfa"),
        "fb_loss": (rule != "bdfa", "it is for bdfa"),
        "fb_alpha": (
            rule != "bdfa" or target in ("onehot", "center"), "it is for bdfa with --fb-target code, logit or paper",
        ),
        "fb_order": (rule != "bfa", "it is for bfa"),
        "fb_output": (rule != "bfa", "it is for bfa"),
        "lr": (fixed and config.optim in ("adadelta", "rprop"), f"{config.optim} sets its own step size"),
        "decay_bias": (config.weight_decay == 0, "there is no --weight-decay"),
        "dampening": (config.optim != "sgd" or config.momentum == 0, "it is for --optim sgd with --momentum"),
        "adv_mode": (config.adv_eps == 0, "there is no --adv-eps"),
        "adv_clean_rule": (config.adv_eps == 0 or config.adv_mode != "accumulate", "it is for --adv-mode accumulate"),
        "normalize": (config.whiten != "none", "--whiten takes its place"),
        "zero_variance": (
            config.whiten != "none" or config.normalize not in ("image", "channel"),
            "it is for --normalize image and channel",
        ),
        "data_dir": (config.dataset == "digits" or config.own_data, f"{config.dataset} is not downloaded"),
        "cache_dir": (config.whiten == "none" and config.normalize == "none", "nothing is fitted to the images"),
    }  # fmt: skip
    default = TrainConfig()
    return {
        name: reason
        for name, (idle, reason) in waits.items()
        if idle and getattr(config, name) != getattr(default, name)
    }


def check_effects(config: TrainConfig, rules: tuple[str, ...] = ()) -> None:
    """Refuse options that would have no effect.

    Args:
        config: Options of a run.
        rules: The rules it is run with, if there are several: an option needs to affect only one of them.

    Raises:
        UserError: The message names the option, its value and its purpose.
    """
    found = [idle_options(replace(config, rule=rule)) for rule in rules] or [idle_options(config)]
    for name, reason in found[0].items():
        if all(name in other for other in found):
            raise UserError(
                f"--{name.replace('_', '-')} {getattr(config, name)} would do nothing: {reason}; leave it out."
            )
