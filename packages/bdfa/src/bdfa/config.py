"""Every option of a training run, typed, checked and printable.

The fields mirror the flag table of the original program; ``profile="faithful"`` reproduces its quirks, the
default ``"fixed"`` corrects them (the deviations are listed in the package README).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from reprokit import UserError
from reprokit.config import nearest
from reprokit.own_code import is_import_path, source_note
from tyro.conf import Suppress, arg

Rule = Literal["bp", "fa", "dfa", "bfa", "bdfa", "usf", "brsf", "frsf", "kolen-pollack", "sign-dfa", "drtp"]
# The Torch optim functions that work with stochastic gradients.
Optimizer = Literal["sgd", "rmsprop", "adam", "adamax", "adagrad", "adadelta", "asgd", "nag", "rprop"]
Normalize = Literal["none", "scale", "simple", "channel", "image"]
Target = Literal["code", "logit", "onehot", "paper", "center"]
Step = (
    Literal["auto", "none"] | int
)  # the learning rate is halved when the error stalls, never, every k epochs

RULES: tuple[str, ...] = get_args(Rule)
DATASETS = ("mnist", "fashion-mnist", "cifar10", "cifar100", "svhn", "stl10", "digits")  # known by name
IGNORES_MOMENTUM = ("rmsprop", "adam", "adamax", "adagrad", "adadelta", "asgd", "rprop")
HONOURS_RATE_DECAY = ("sgd", "adam", "adagrad", "nag")
_NOT_CONTENT = (
    "revision",
    "rule_source",
    "fb_output",
    "out",
    "plot",
    "data_dir",
    "cache_dir",
    "threads",
    "checkpoint_steps",
    "visualize",
    "resume",
)


@dataclass(frozen=True)
class TrainConfig:
    """Options of ``bdfa train``, with the defaults of the original's README."""

    rule: str = "bdfa"
    """Learning rule: bp, fa, dfa, bfa, bdfa, or one for comparison: usf, brsf, frsf (sign-symmetric), sign-dfa, drtp,
    kolen-pollack; or an import path package.module:factory of your own, see bdfa.rules.LearningRule."""
    rule_source: Annotated[str | None, Suppress] = None
    """Import path of a rule of your own and the first 16 digits of the SHA-256 of its file."""
    profile: Literal["fixed", "faithful"] = "fixed"
    """faithful reproduces the original's quirks, fixed corrects them."""
    seed: int = 1
    """Seed of weights, feedback, sample order, dropout and augmentation."""
    revision: Annotated[int, Suppress] = 2
    """Of the numbers of own data that are cut: 1 took them in the order of the file."""
    order_seed: int | None = None
    """Seed of the sample order alone; none: --seed. Networks trained together share their batches."""

    # network
    model: str = "mlp"
    """mlp, conv, or an import path package.module:factory called as factory(input_shape, classes)."""
    hidden: tuple[int, ...] = (800, 800)
    """Width of each hidden layer of the mlp."""
    act: str = "tanh"
    """Nonlinearity: tanh, sigmoid, relu, or the name of a torch.nn activation such as GELU."""
    bias: bool = True
    """Train biases; without, layers have none (faithful: random ones, set to zero after each step)."""
    batchnorm: Literal["none", "all", "conv2"] = "none"
    """Batch normalisation between each affine map and its nonlinearity; conv2: only after the second map."""
    dropout: Literal["none", "full", "input", "conv"] = "none"
    """full: the original's -dropout 1; input: only the mlp's input (mlp, 2); conv: only its two maps (conv,
    2)."""
    p_in: float | None = None
    """Input dropout probability, overriding the preset of --dropout."""
    p_hidden: float | None = None
    """Dropout probability after each hidden linear layer."""
    p_conv: float | None = None
    """Dropout probability after the first two convolutions."""
    init: Literal["auto", "uniform", "zero"] = "auto"
    """auto: zero for fa and dfa with tanh or sigmoid, as in the original; uniform otherwise."""

    # feedback
    fb_scale: Literal["auto"] | float = "auto"
    """Feedback matrices are uniform in ±X; auto: ±1/√(receiving units), fa: the initial weights."""
    fb_dist: Literal["uniform", "normal", "orthogonal"] = "uniform"
    """Distribution of the feedback matrices."""
    fb_lr: float | None = None
    """Feedback learning rate; none: 5e-5 for bdfa, --lr for bfa."""
    fb_target: Target | None = None
    """Target of the bdfa feedback; none: code under faithful, center otherwise."""
    fb_alpha: float = 0.25
    """Weight of the network's output in the targets code, logit and paper."""
    fb_loss: Literal["logistic", "mse"] = "logistic"
    """Loss of the bdfa feedback."""
    fb_order: Literal["sequential", "simultaneous"] = "sequential"
    """bfa: the feedback phase uses the new or the old forward weights."""
    fb_output: Literal["identity", "sigmoid"] = "identity"
    """bfa: nonlinearity at the generated input; sigmoid: for images in 0..1, trained by the cross-entropy."""

    # loss and optimiser
    loss: Literal["bce", "ce"] = "bce"
    """bce: one sigmoid per class; ce: softmax."""
    reduction: Literal["auto", "sum", "mean"] = "auto"
    """Scale of the gradient over the batch; auto: sum for bce, mean for ce, as in the original."""
    optim: Optimizer = "rmsprop"
    """Optimiser with the semantics of Torch7's optim."""
    lr: float = 1e-4
    """Learning rate."""
    lr_decay: float = 0.0
    """Rate at step t is lr / (1 + t·lr_decay); sgd, adam, adagrad and nag only."""
    lr_step: Step = "none"
    """Halving: none, auto (when the running training error stalls), or every K epochs."""
    weight_decay: float = 0.0
    """L2 penalty added to the gradients."""
    decay_bias: bool = True
    """Apply the weight decay to biases and batch-norm parameters too, as the original does."""
    momentum: float = 0.0
    """Momentum of sgd and nag."""
    dampening: float | None = None
    """Dampening of the momentum; none: equal to the momentum (an average of gradients), as in the
    original."""
    max_norm_in: float | None = None
    """Largest L2 norm of the incoming weights of one unit or filter (the original's maxOutNorm)."""
    max_norm_out: float | None = None
    """Largest L2 norm of the outgoing weights of one input unit or channel (the original's maxInNorm)."""
    batch_size: int = 64
    """Samples per step."""
    drop_last: bool = False
    """Leave out the last, smaller batch of each epoch."""
    epochs: int = 300
    """Epochs to run (faithful: one fewer); -1: no limit."""

    # adversarial regularisation
    adv_eps: float = 0.0
    """Size of the fast-gradient-sign perturbation of the inputs; 0: off."""
    adv_mode: Literal["replace", "accumulate"] = "replace"
    """accumulate adds the clean pass's gradient (the original's -accGradient 1)."""
    adv_clean_rule: Literal["bp", "same"] = "bp"
    """Rule of the clean pass's gradient under accumulate."""

    # data
    dataset: str = "mnist"
    """mnist, fashion-mnist, cifar10, cifar100, svhn, stl10, digits, or the path of own data: an image folder, .zip or
    .npz, or a folder with the files of CIFAR (pickles or binary) or MNIST."""
    data_dir: Path | None = None
    """Folder of downloaded data sets (otherwise REPROKIT_DATA or the user's cache)."""
    val_split: int = 0
    """Hold out the last N training samples, of own data N chosen by seed, each class in its share; faithful: the last,
    which replace the test set."""
    train_size: int | None = None
    """Use only the first N training samples (after the validation split), of own data N chosen by seed, each class in
    its share."""
    normalize: Normalize = "scale"
    """Normalisation fitted on the training set; ignored with --whiten, as in the original."""
    zero_variance: Literal["error", "one"] = "error"
    """What to do with a pixel or channel without variance: stop with an error, or divide by one."""
    color: Literal["rgb", "yuv"] = "rgb"
    """Colour space."""
    whiten: Literal["none", "zca", "pca"] = "none"
    """Whitening instead of a normalisation."""
    augment: bool = False
    """Random crops and flips of the training images (faithful: of the test images too)."""
    cache_dir: Path | None = None
    """Folder for the fitted statistics, keyed by the content of the data."""

    # running
    engine: Literal["auto", "module", "fast"] = "auto"
    """fast: FastMLP; module: FeedbackModel; auto: fast for the networks and rules it supports."""
    device: str = "auto"
    """auto, cpu or cuda:K."""
    dtype: Literal["float32", "float64"] = "float32"
    """Floating-point type."""
    threads: int | None = None
    """CPU threads; none: torch's own choice."""
    compile: bool = False
    """Compile the network with torch.compile (module engine)."""
    angles_every: int = 0
    """Measure the alignment with back-propagation every K steps into angles.csv; 0: never."""
    checkpoint_steps: int = 0
    """Checkpoint every K steps, as well as after every epoch; 0: after epochs only."""
    init_from: Path | None = None
    """Run directory whose newest checkpoint gives the initial weights and feedback."""
    resume: Annotated[Path | None, arg(name="continue-from")] = None
    """Run directory to continue from, optimiser and epoch included, e.g. with more --epochs."""
    out: Path | None = None
    """Run directory; none: runs/bdfa-<run id>. The same command resumes it."""
    visualize: bool = False
    """Redraw the error curves after every epoch instead of once at the end."""
    plot: bool = True
    """Draw the error curves (and angles) when the run ends."""

    def __post_init__(self) -> None:
        """Check every value and combination.

        Raises:
            UserError: Naming the option, its value and what is allowed.
        """
        _check_types(self)
        _check_ranges(self)
        _check_combinations(self)
        note = source_note(self.rule, "--rule", self.rule_source) if self.own_rule else None
        object.__setattr__(self, "rule_source", note)

    @property
    def faithful(self) -> bool:
        """Whether to reproduce the original's quirks."""
        return self.profile == "faithful"

    def resolved_target(self) -> Target:
        """Feedback target in use: code under faithful, else center (DEV-27)."""
        return self.fb_target or ("code" if self.faithful else "center")

    def resolved_fb_lr(self) -> float:
        """Feedback learning rate in use."""
        if self.fb_lr is not None:
            return self.fb_lr
        return self.lr if self.rule == "bfa" else 5e-5

    @property
    def own_rule(self) -> bool:
        """Whether the rule is an import path rather than the name of one of this package's rules."""
        return is_import_path(self.rule)

    @property
    def own_data(self) -> bool:
        """Whether the data set is a path rather than the name of a published or bundled one."""
        return self.dataset.lower() not in DATASETS

    @property
    def stratified(self) -> bool:
        """Whether --train-size and --val-split choose by seed, each class in its share: own data, fixed, revision 2."""
        return self.own_data and not self.faithful and self.revision > 1

    def content(self) -> dict[str, Any]:
        """The options that determine the run's numbers, ready for JSON; the run id is computed from them."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_CONTENT}
        return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items()} | {
            "hidden": list(self.hidden),
            **(
                {"revision": self.revision} if self.stratified and (self.val_split or self.train_size) else {}
            ),
            **({"rule_source": self.rule_source} if self.own_rule else {}),
            **({"fb_output": self.fb_output} if self.fb_output != "identity" else {}),
            **({"resume": str(self.resume)} if self.resume else {}),
        }


def net_name(config: TrainConfig) -> str:
    """Short name of a network: ``2x800``, ``400-200``, ``conv``, or the factory's name."""
    if config.model != "mlp":
        return config.model.rpartition(":")[2]
    widths = config.hidden
    return f"{len(widths)}x{widths[0]}" if len(set(widths)) == 1 else "-".join(map(str, widths))


def _require(holds: bool, option: str, value: object, allowed: str) -> None:
    if not holds:
        raise UserError(f"--{option.replace('_', '-')} is {value!r}; it must be {allowed}.")


_WHOLE = ("seed", "order_seed", "revision", "batch_size", "epochs", "val_split", "train_size", "threads",
          "angles_every", "checkpoint_steps")  # fmt: skip
_REAL = ("fb_lr", "fb_alpha", "lr", "lr_decay", "weight_decay", "momentum", "dampening", "max_norm_in", "max_norm_out",
         "p_in", "p_hidden", "p_conv", "adv_eps")  # fmt: skip
_SWITCHES = ("bias", "decay_bias", "drop_last", "augment", "compile", "visualize", "plot")


def _check_types(config: TrainConfig) -> None:
    """Refuse values of the wrong type; NumPy's numbers become Python's."""

    def number(name: str, value: Any, kind: type, words: str) -> Any:
        if type(value) in (int, float) and (kind is Real or type(value) is int):
            return value
        fits = isinstance(value, kind) and not isinstance(value, bool)
        _require(fits, name, value, words)
        return int(value) if isinstance(value, Integral) else float(value)

    changed: dict[str, Any] = {}
    for names, kind, words in ((_WHOLE, Integral, "a whole number"), (_REAL, Real, "a number")):
        for name in names:
            value = getattr(config, name)
            if value is not None:
                changed[name] = number(name, value, kind, words)
    for name, kind in (("lr_step", Integral), ("fb_scale", Real)):
        value, words = getattr(config, name), ("auto", "none") if name == "lr_step" else ("auto",)
        if isinstance(value, str):
            _require(value in words, name, value, f"{' or '.join(words)}, or a number")
        else:
            changed[name] = number(name, value, kind, "a number")
    hidden = config.hidden if isinstance(config.hidden, tuple | list) else (config.hidden,)
    changed["hidden"] = tuple(number("hidden", width, Integral, "whole numbers") for width in hidden)
    for name in _SWITCHES:
        value = getattr(config, name)
        _require(isinstance(value, bool), name, value, "True or False")
    for name, value in changed.items():
        object.__setattr__(config, name, value)


def _check_ranges(config: TrainConfig) -> None:
    """Refuse values that an option does not allow."""
    for name, allowed in _choices().items():
        value = getattr(config, name)
        if value is not None and value not in allowed and not (name == "rule" and is_import_path(value)):
            hint = nearest(str(value), allowed)
            more = ", or an import path package.module:factory" if name == "rule" else ""
            _require(False, name, value, f"one of {', '.join(allowed)}{more}{hint}")
    _require(bool(config.hidden), "hidden", config.hidden, "at least one width")
    _require(all(width > 0 for width in config.hidden), "hidden", config.hidden, "positive widths")
    for name in ("batch_size",):
        _require(getattr(config, name) >= 1, name, getattr(config, name), "a positive integer")
    for name in ("val_split", "angles_every", "checkpoint_steps"):
        _require(getattr(config, name) >= 0, name, getattr(config, name), "zero or a positive integer")
    for name in ("train_size", "threads"):
        value = getattr(config, name)
        _require(value is None or value >= 1, name, value, "a positive integer")
    for name in ("lr_decay", "weight_decay", "adv_eps", "fb_alpha", "fb_lr"):
        value = getattr(config, name)
        _require(value is None or (math.isfinite(value) and value >= 0), name, value, "a number >= 0")
    for name in ("max_norm_in", "max_norm_out"):
        value = getattr(config, name)
        _require(value is None or (math.isfinite(value) and value > 0), name, value, "a positive number")
    for name in ("p_in", "p_hidden", "p_conv", "momentum", "dampening"):
        value = getattr(config, name)
        _require(value is None or 0 <= value < 1, name, value, "at least 0 and less than 1")
    _require(math.isfinite(config.lr) and config.lr > 0, "lr", config.lr, "a positive number")
    _require(config.epochs >= -1, "epochs", config.epochs, "at least 0, or -1 for no limit")
    step = config.lr_step
    _require(isinstance(step, str) or step >= 1, "lr_step", step, "none, auto or a positive number of epochs")
    scale = config.fb_scale
    valid_scale = isinstance(scale, str) or (math.isfinite(scale) and scale > 0)
    _require(valid_scale, "fb_scale", scale, "auto or a positive number")
    for name in ("seed", "order_seed"):
        value = getattr(config, name)
        _require(value is None or 0 <= value < 2**63, name, value, "between 0 and 2**63 - 1")
    _require(config.revision in (1, 2), "revision", config.revision, "1 or 2")


def _choices() -> dict[str, tuple[str, ...]]:
    """Allowed values of the fields that take one of a fixed list."""
    return {
        "rule": RULES,
        "profile": ("fixed", "faithful"),
        "batchnorm": ("none", "all", "conv2"),
        "dropout": ("none", "full", "input", "conv"),
        "init": ("auto", "uniform", "zero"),
        "fb_dist": ("uniform", "normal", "orthogonal"),
        "fb_target": get_args(Target),
        "fb_loss": ("logistic", "mse"),
        "fb_order": ("sequential", "simultaneous"),
        "fb_output": ("identity", "sigmoid"),
        "loss": ("bce", "ce"),
        "reduction": ("auto", "sum", "mean"),
        "optim": get_args(Optimizer),
        "adv_mode": ("replace", "accumulate"),
        "adv_clean_rule": ("bp", "same"),
        "normalize": get_args(Normalize),
        "zero_variance": ("error", "one"),
        "color": ("rgb", "yuv"),
        "whiten": ("none", "zca", "pca"),
        "engine": ("auto", "module", "fast"),
        "dtype": ("float32", "float64"),
    }


def _check_combinations(config: TrainConfig) -> None:
    """Refuse options that contradict each other or have no effect."""
    if not config.faithful and config.momentum > 0 and config.optim in IGNORES_MOMENTUM:
        raise UserError(
            f"--momentum {config.momentum:g} has no effect with --optim {config.optim}; use sgd or nag, "
            "leave it out, or take --profile faithful, where it is ignored as in the original."
        )
    if not config.faithful and config.lr_decay > 0 and config.optim not in HONOURS_RATE_DECAY:
        raise UserError(
            f"--lr-decay {config.lr_decay:g} has no effect with --optim {config.optim}; use "
            f"{', '.join(HONOURS_RATE_DECAY)}, leave it out, or take --profile faithful."
        )
    if config.optim == "nag" and config.momentum == 0:
        raise UserError("--optim nag needs --momentum above 0.")
    if config.own_rule and config.compile:
        raise UserError("--compile is for the rules of this package; leave it out with a --rule of your own.")
    if config.rule == "bfa" and config.model != "mlp":
        raise UserError(
            f"--rule bfa is defined for the mlp only, not for --model {config.model}; use bdfa, or build a "
            "FeedbackModel with your own feedback module."
        )
    if config.fb_output == "sigmoid" and (config.normalize != "scale" or config.whiten != "none"):
        other = f"--whiten {config.whiten}" if config.whiten != "none" else f"--normalize {config.normalize}"
        raise UserError(
            f"--fb-output sigmoid generates values between 0 and 1, which {other} does not give; use --normalize scale "
            "without whitening, or leave it out."
        )
    if config.resume is not None and config.init_from is not None:
        raise UserError(
            "--continue-from and --init-from exclude each other; continue-from already brings the weights."
        )
