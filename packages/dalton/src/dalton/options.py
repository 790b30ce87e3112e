"""The options of a run, with the constants of the original as defaults (spec 2.6)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """All options of a run but the three that the original sweeps."""

    method: str = "dalton"
    """surrgd, tfr or dalton, or one of the original's names, e.g. DALTON_RTRL_SCNN."""
    setting: str = "bptt"
    """bptt: whole sequence, one update a batch; online: one update a time-step; rtrl: online with eligibility
    traces."""
    profile: str = "fixed"
    """fixed, or faithful: the original's protocol with its mistakes."""
    seed: int = 0
    """Seed of weights, sample order, dropout, augmentation and windows."""

    # data
    dataset: str = "mnist"
    """mnist, fashion-mnist, cifar10, digits; n-mnist, dvs-gesture, cifar10-dvs, digits-events; the original's
    names; or a path: image folder, .zip, .npz, N-MNIST recordings."""
    steps: int | None = None
    """Time-steps of 1 ms in training; none: the data set's own (mnist 40, fashion-mnist 50, cifar10 60, ...)."""
    test_steps: int | None = None
    """Time-steps in evaluation; none: the data set's own, or those given by --steps."""
    time_window: int = 1000
    """Length of an event frame, microseconds."""
    augment: bool = False
    """Random crops, flips and rotations of training images (the original's USE_TRANSFORMS)."""
    validation: float | None = None
    """Share of the training samples held out to choose the best epoch; none: 0.1, faithful: 0."""
    train_size: int | None = None
    """Use only so many training samples (after the validation split)."""
    test_size: int | None = None
    """Use only so many test samples."""
    subset: Path | None = None
    """JSON file whose lists train and test number the samples to use, in order, test numbers going on from the
    training set's."""
    shuffle: bool = True
    """Draw a new order of the training samples every epoch."""
    reader: str = "reprokit"
    """reprokit, or tonic: its data sets and downloads of n-mnist, dvs-gesture, cifar10-dvs (extra events)."""
    cache_dir: Path | None = None
    """Folder for prepared event recordings; none: the data cache."""

    # network
    arch: str = "A1"
    """A1 to A5, or an import path package.module:name of your own Architecture."""
    downsample: str = "avgpool"
    """avgpool, maxpool or stride."""
    threshold: float = 1.0
    """Firing threshold of the spiking neurons."""
    surrogate_scale: float = 5.0
    """k of the surrogate derivative 1 / (1 + k|v - threshold|)^2."""
    reset: str = "hard"
    """hard: to 0; soft: by the threshold."""
    readout_init: str = "uniform"
    """Class matrix and readouts: uniform in ±1/√n or normal with deviation 2/√n."""
    weight_scale: float = 2.0
    """Deviation of the dense layers' initial weights times √n."""
    init_weights: Path | None = None
    """An .npz file of initial weights by name (conv1, ..., dense1, ..., out, readout_conv1, ...)."""

    # learning
    loss: str = "mse"
    """mse, or ce (surrgd and tfr only)."""
    lr: float = 1e-3
    """Adam's learning rate."""
    lr_decay: float = 0.5
    """Factor on the learning rate every --lr-decay-epochs epochs."""
    lr_decay_epochs: int = 30
    """Epochs between two decays; 0: never."""
    reset_optimizer_each_epoch: bool | None = None
    """Forget Adam's moments every epoch; none: only under faithful."""
    burn_in: int | None = None
    """Steps without updates and outputs, online and rtrl only; none: 50, or a quarter of a shorter sequence;
    faithful: 50."""
    transfer_masks: bool = False
    """dalton: pass dropout and clipping masks through the target recursion."""
    epochs: int = 10
    """Passes over the training samples."""
    batch_size: int = 50
    """Samples a batch."""

    # running
    engine: str = "auto"
    """native (compiled), torch, or auto."""
    device: str = "auto"
    """auto, cpu, cuda:K, or the original's GPU number K (without that GPU: the CPU, with a warning)."""
    threads: int | None = None
    """CPU threads; none: torch's own choice."""
    dtype: str = "float32"
    """Floating-point type."""
    checkpoint_epochs: int = 1
    """Checkpoint every K epochs."""
    checkpoint_batches: int = 0
    """Checkpoint every K batches too; 0: only between epochs."""
    dumps: bool = False
    """Write the original's files of predictions and class outputs every epoch (hickle layout)."""
    out: Path | None = None
    """Run directory; none: below runs/. The same command resumes it."""
