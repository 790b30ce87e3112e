"""Accuracy of a network on labelled samples, and of the network of a run directory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from reprokit import UserError
from torch import Tensor

from dalton.config import TrainConfig
from dalton.data.loading import is_known, load
from dalton.data.samples import Portion, Splits
from dalton.data.splits import hold_out, limit, take_subset
from dalton.model.build import build_network, choose_device, load_weights
from dalton.model.network import SpikingCNN
from dalton.names import EngineName
from dalton.threads import set_threads
from dalton.training.runs import OpenedRun, check_classes, open_run
from dalton.training.step import predict


@dataclass(frozen=True)
class Evaluation:
    """A network's predictions for labelled samples.

    Attributes:
        predictions: (sample,), int64, argmax over classes of the time-mean of the class outputs.
        labels: (sample,), int64.
        alike: Share of the samples whose time-mean class outputs equal the median up to rounding; near 1, the
            network cannot tell its inputs apart.
    """

    predictions: Tensor
    labels: Tensor
    alike: float = 0.0

    @property
    def accuracy(self) -> float:
        """Share of samples whose class is predicted correctly."""
        return float((self.predictions == self.labels).double().mean())

    def confusion(self, count: int) -> Tensor:
        """Samples by true class (row) and predicted class (column), int64 (count, count)."""
        return torch.bincount(self.labels * count + self.predictions, minlength=count**2).reshape(
            count, count
        )


def evaluate(
    net: SpikingCNN,
    portion: Portion | Splits,
    *,
    batch_size: int = 50,
    epoch: int = 1,
    burn_in: int = 0,
    engine: EngineName = "auto",
) -> Evaluation:
    """Show all samples of a portion once, without dropout, from a zero state for every batch.

    Args:
        net: The network.
        portion: Labelled samples; for `Splits`, the test set.
        batch_size: Number of samples shown at once.
        epoch: Epoch that determines order and left-out samples if the portion follows the original's rules (DEV-23).
        burn_in: Leading time-steps left out of the time-mean; 0 for bptt.
        engine: ``native``, ``torch`` or ``auto``.

    Raises:
        UserError: Anything but samples of `dalton.data`, or labels beyond the network's classes.
    """
    portion = portion.test if isinstance(portion, Splits) else portion
    if not isinstance(portion, Portion):
        raise UserError(
            f"evaluate was given {type(portion).__name__}; make samples with dalton.data.splits_of and pass its test."
        )
    if len(portion) and int(portion.labels.max()) >= net.classes:
        raise UserError(
            f"label {int(portion.labels.max())} is beyond the network's classes 0 to {net.classes - 1}; give it the "
            "data that it was made for."
        )
    means, labels = [], []
    for inputs, truth in portion.batches(batch_size, epoch):
        outputs = predict(
            net, inputs.to(net.device), steps=portion.static_steps, burn_in=burn_in, engine=engine
        )
        means.append(outputs.mean(0).cpu())
        labels.append(truth)
    found = torch.cat(means)
    return Evaluation(found.argmax(1), torch.cat(labels), share_alike(found))


def share_alike(outputs: Tensor) -> float:
    """Return the share of the rows of (sample, class) that equal the median row up to rounding."""
    middle = outputs.median(0).values
    same = (outputs - middle).abs().amax(1) <= 1e-5 * outputs.abs().max()
    return float(same.double().mean())


@dataclass(frozen=True)
class LoadedRun:
    """A trained network and the data of its run.

    Attributes:
        run: The run directory read back.
        config: Its options with the requested changes.
        net: Its network with the chosen weights.
        epoch: The epoch of the weights; 0 before the first.
        data: Its data.
    """

    run: OpenedRun
    config: TrainConfig
    net: SpikingCNN
    epoch: int
    data: Splits


def load_run(
    path: str | Path, which: Literal["best", "last"] = "best", *, data: Splits | None = None, **changes: Any
) -> LoadedRun:
    """Rebuild the network of a run directory.

    Args:
        path: Run directory.
        which: ``best`` (the selected epoch) or ``last``.
        data: Its data if they were given from Python; None: read again as the run read them.
        changes: Options to change, e.g. ``dataset=`` if the data have moved, or ``device=``.

    Raises:
        UserError: No run, no checkpoint, or data of another shape.
    """
    run = open_run(path)
    found = run.weights(which)
    config = replace(run.config, **changes)
    device = choose_device(config.device)
    if (
        data is None
        and config.dataset == getattr(run.stored.identity(), "name", None)
        and not is_known(config.dataset)
    ):
        raise UserError(
            f"{path}: its data {config.dataset!r} are missing; give them again as --data PATH or, if they "
            "were given from Python, as data= of load_run or evaluate_run."
        )
    data = load_data(config) if data is None else chosen(config, data)
    check_classes(run.stored, data)
    net = build_network(config, data.input_shape, data.classes)
    load_weights(net, found.arrays, path)
    return LoadedRun(run, config, net.to(device), int(found.state["epoch"]), data)


def load_data(config: TrainConfig) -> Splits:
    """Data of a run: split, limited, with their time-steps.

    Raises:
        UserError: Unknown, damaged or unsuitable data, or impossible sizes.
    """
    return load(
        config.dataset, profile=config.profile, seed=config.seed, validation=config.resolved_validation(),
        train_size=config.train_size, test_size=config.test_size, subset=config.subset, steps=config.steps,
        test_steps=config.test_steps, augment=config.augment, time_window=config.time_window,
        cache_dir=config.cache_dir, reader=config.reader_name, sensor=config.sensor, time_unit=config.time_unit_name,
        denoise_us=config.denoise_us, spatial_factor=config.spatial_factor, allow_loss=config.allow_loss,
    )  # fmt: skip


READING = (  # options of `load` alone
    "steps", "test_steps", "augment", "time_window", "reader", "cache_dir", "sensor", "time_unit", "denoise_us",
    "spatial_factor", "allow_loss",
)  # fmt: skip


def chosen(config: TrainConfig, data: Splits) -> Splits:
    """Choose samples of data given from Python by the options: subset, validation, sizes.

    Validation samples of the given data are kept.

    Raises:
        UserError: An option that acts on reading data, or impossible sizes.
    """
    if not isinstance(data, Splits):
        raise UserError(
            f"data is {type(data).__name__}; make it with dalton.data.load or dalton.data.splits_of."
        )
    defaults = TrainConfig()
    for name in READING:
        if getattr(config, name) != getattr(defaults, name):
            raise UserError(
                f"{name} is {getattr(config, name)!r}, which acts when data are read, but data are given; "
                "leave it out and pass it to dalton.data.load or dalton.data.splits_of."
            )
    data = data if config.subset is None else take_subset(data, config.subset)
    if data.validation is None:
        data = hold_out(data, config.resolved_validation(), config.seed)
    return limit(data, config.train_size, config.test_size, config.seed)


def evaluate_run(
    path: str | Path,
    split: str = "test",
    which: Literal["best", "last"] = "best",
    *,
    data: Splits | None = None,
    **changes: Any,
) -> Evaluation:
    """Evaluate the network of a run directory on its ``test``, ``validation`` or ``train`` samples.

    Args:
        path: Run directory.
        split: The samples.
        which: ``best`` (the selected epoch) or ``last``.
        data: As for :func:`load_run`.
        changes: Options to change, as for :func:`load_run`; ``threads`` sets torch's.

    Raises:
        UserError: As for :func:`load_run`, or when the run held out no validation samples.
    """
    if split not in ("train", "validation", "test"):
        raise UserError(f"split is {split!r}; it must be train, validation or test.")
    loaded = load_run(path, which, data=data, **changes)
    set_threads(loaded.config.threads)
    portion: Portion | None = getattr(loaded.data, split)
    if portion is None:
        raise UserError(f"{path} held out no validation samples; choose the split train or test.")
    config = loaded.config
    if split == "train":  # as validation samples are shown: first frames, not augmented, each once
        portion = replace(
            portion, samples=portion.samples.evaluated(portion.steps), shuffle=False, drop_last=False
        )
    return evaluate(
        loaded.net,
        portion,
        batch_size=config.batch_size,
        burn_in=config.resolved_burn_in(portion.steps),
        engine=config.engine_name,
    )
