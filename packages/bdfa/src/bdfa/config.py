"""Every option of a training run, typed, checked and printable.

The fields mirror the flag table of the original program; ``profile="faithful"`` reproduces its quirks, the
default ``"fixed"`` corrects them (the deviations are listed in the package README).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from bdfa.options import RULES, Normalize, Optimizer, Rule, Target, check_combinations, check_ranges, nearest

__all__ = ["RULES", "Normalize", "Optimizer", "Rule", "Target", "TrainConfig", "nearest"]

_NOT_CONTENT = ("out", "plot", "data_dir", "cache_dir", "threads", "checkpoint_steps", "visualize", "resume")


@dataclass(frozen=True)
class TrainConfig:
    """Options of ``bdfa train``, with the defaults of the original's README."""

    rule: Rule = "bdfa"
    """Learning rule: bp, fa, dfa, bfa, bdfa, or one to compare with: usf, brsf, frsf (sign-symmetric),
    sign-dfa, drtp, kolen-pollack."""
    profile: Literal["fixed", "faithful"] = "fixed"
    """faithful reproduces the original's quirks, fixed corrects them."""
    seed: int = 1
    """Seed of weights, feedback, sample order, dropout and augmentation."""
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
    lr_step: Literal["none", "auto"] | int = "none"
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
    """Epochs to run (faithful: one fewer); -1: no bound."""

    # adversarial regularisation
    adv_eps: float = 0.0
    """Size of the fast-gradient-sign perturbation of the inputs; 0: off."""
    adv_mode: Literal["replace", "accumulate"] = "replace"
    """accumulate adds the clean pass's gradient (the original's -accGradient 1)."""
    adv_clean_rule: Literal["bp", "same"] = "bp"
    """Rule of the clean pass's gradient under accumulate."""

    # data
    dataset: str = "mnist"
    """mnist, fashion-mnist, cifar10, cifar100, svhn, stl10, digits, or the path of an image folder, .zip or
    .npz."""
    data_dir: Path | None = None
    """Folder of downloaded data sets (otherwise REPROKIT_DATA or the user's cache)."""
    val_split: int = 0
    """Hold out the last N training samples; faithful: they replace the test set."""
    train_size: int | None = None
    """Use only the first N training samples (after the validation split)."""
    normalize: Normalize = "scale"
    """Normalisation fitted on the training set; ignored with --whiten, as in the original."""
    zero_variance: Literal["error", "one"] = "error"
    """What a pixel or channel without variance does: stop, or be divided by one."""
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
    """Checkpoint every K steps besides every epoch's end; 0: epochs only."""
    init_from: Path | None = None
    """Run directory whose newest checkpoint gives the initial weights and feedback."""
    resume: Path | None = None
    """Run directory to continue from, optimiser and epoch included, e.g. with more --epochs."""
    out: Path | None = None
    """Run directory; none: runs/<hash of the configuration>. The same command resumes it."""
    visualize: bool = False
    """Redraw the error curves after every epoch instead of once at the end."""
    plot: bool = True
    """Draw the error curves (and angles) when the run ends."""

    def __post_init__(self) -> None:
        """Check every value and combination.

        Raises:
            UserError: Naming the option, its value and what is allowed.
        """
        check_ranges(self)
        check_combinations(self)

    @property
    def faithful(self) -> bool:
        """True when the original's quirks are wanted."""
        return self.profile == "faithful"

    def resolved_target(self) -> Target:
        """Feedback target in use: code under faithful, else center (DEV-27)."""
        return self.fb_target or ("code" if self.faithful else "center")

    def resolved_fb_lr(self) -> float:
        """Feedback learning rate in use."""
        if self.fb_lr is not None:
            return self.fb_lr
        return self.lr if self.rule == "bfa" else 5e-5

    def content(self) -> dict[str, Any]:
        """Options that determine the numbers of the run, JSON-able: what the run's id is made of."""
        kept = {name: value for name, value in asdict(self).items() if name not in _NOT_CONTENT}
        return {name: str(value) if isinstance(value, Path) else value for name, value in kept.items()} | {
            "hidden": list(self.hidden),
            **({"resume": str(self.resume)} if self.resume else {}),
        }
