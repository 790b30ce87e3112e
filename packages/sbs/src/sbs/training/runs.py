"""Run directories as models: load the network that a run ended with, or store one from elsewhere.

A run directory holds ``config.json`` (our `TrainConfig`), ``metrics.jsonl``, ``checkpoints/`` with one-file
checkpoints, and ``summary.json`` once finished. `sbs test`, `sbs spikes`, `sbs show` and `sbs convert` all
work on it. The original wrote one .npy file per layer and update instead (DEV-28).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from reprokit import Checkpoint, RunDirectory, UserError, read_run
from reprokit.config import device_name
from torch import nn

from sbs.checks import choice, whole
from sbs.config import Engine, TrainConfig, from_mapping
from sbs.data.encoding import Presentation
from sbs.data.images import Dataset
from sbs.engines.kernel import use_kernel
from sbs.model.networks import build_network, sbs_layers

Arrays = dict[str, npt.NDArray]


@dataclass(frozen=True)
class InputShape:
    """What a network was built for: its input, its classes, and the training mean per channel."""

    channels: int
    height: int
    width: int
    classes: int
    mean: tuple[float, ...]

    @classmethod
    def of(cls, config: TrainConfig, dataset: Dataset) -> "InputShape":
        """Return the shape that the first layer sees for this data set."""
        height, width = config.augmentation.size(*dataset.size)
        channels = dataset.channels * (2 if config.data.on_off else 1)
        return cls(channels, height, width, dataset.classes, dataset.mean)

    def network(self, config: TrainConfig) -> nn.Sequential:
        """Build the network of a configuration for this input."""
        return build_network(
            config.network,
            channels=self.channels,
            size=(self.height, self.width),
            classes=self.classes,
            threads=config.threads,
            seed=config.seed,
        )

    def presentation(self, config: TrainConfig) -> Presentation:
        """Return how images are shown to that network."""
        return Presentation(config.augmentation, self.mean, config.data.on_off, config.data.offset)


@dataclass(frozen=True)
class Model:
    """A network with its configuration and input shape.

    Attributes:
        network: The layers.
        config: The run's configuration.
        shape: Its input shape.
        step: Weight updates done.
    """

    network: nn.Sequential
    config: TrainConfig
    shape: InputShape
    step: int

    @property
    def presentation(self) -> Presentation:
        """How images are shown to the network."""
        return self.shape.presentation(self.config)

    def check_data(self, dataset: Dataset) -> None:
        """Raise `UserError` unless images of this data set fit the network."""
        found = InputShape.of(self.config, dataset)
        ours = (self.shape.channels, self.shape.height, self.shape.width)
        theirs = (found.channels, found.height, found.width)
        if ours != theirs:
            raise UserError(
                f"the network takes inputs of shape {ours} but data set {dataset.name} gives {theirs}; "
                "choose the data set it was trained on"
            )
        if dataset.classes > self.shape.classes:
            raise UserError(
                f"the network has {self.shape.classes} classes but "
                f"data set {dataset.name} has {dataset.classes}"
            )


def load_model(path: str | Path, which: Literal["last", "best"] = "last") -> Model:
    """Load a network from a run directory; nothing is written.

    Args:
        path: The folder.
        which: The last checkpoint, or that of the best test so far.

    Raises:
        UserError: Not a run of this package, a damaged file, no checkpoint, or one that does not fit its
            configuration.
    """
    stored = read_run(path, package="sbs")
    config = from_mapping(stored.config, str(stored.path / "config.json"))
    checkpoint = stored.checkpoint(which)
    folder = "checkpoints" if which == "last" else which
    file = stored.path / folder / f"checkpoint-{checkpoint.step:012d}.safetensors"
    shape = shape_of(checkpoint, file)
    network = shape.network(config)
    load_network(network, checkpoint, file)
    return Model(network, config, shape, checkpoint.step)


def store_model(path: str | Path, model: Model, origin: str) -> RunDirectory:
    """Write a network that was not trained here as a finished run directory.

    Args:
        path: A new folder.
        model: The network to store.
        origin: Where the weights come from, kept in the summary.
    """
    content = model.config.content()
    options = {"package": "sbs", **content}
    directory = RunDirectory(path, content, options=options, resume=False)
    arrays: Arrays = {}
    state = {"network": pack(model.network.state_dict(), "network", arrays), "shape": pack_shape(model.shape)}
    directory.checkpoints().save(model.step, arrays, state)
    directory.finish({"origin": origin, "updates": model.step})
    return directory


def load_network(network: nn.Module, checkpoint: Checkpoint, source: Path) -> None:
    """Load a checkpoint's parameters and buffers into a network.

    Args:
        network: The network to change.
        checkpoint: The checkpoint.
        source: Where it was read, for the message.

    Raises:
        UserError: The checkpoint belongs to another network or program.
    """
    try:
        network.load_state_dict(unpack(checkpoint.state["network"], checkpoint.arrays))
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        last = (str(error) or type(error).__name__).splitlines()[-1].strip()
        raise UserError(f"{source} belongs to another network ({last}); delete it or train again") from error


def pack_shape(shape: InputShape) -> dict[str, Any]:
    """Return an input shape as plain values."""
    return {
        "channels": shape.channels,
        "height": shape.height,
        "width": shape.width,
        "classes": shape.classes,
        "mean": list(shape.mean),
    }


def shape_of(checkpoint: Checkpoint, source: Path) -> InputShape:
    """Return the input shape for which a checkpoint was written.

    Raises:
        UserError: It does not say so; ``source`` is named.
    """
    try:
        values = dict(checkpoint.state["shape"])
        return InputShape(**{**values, "mean": tuple(np.asarray(values["mean"], np.float64).tolist())})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{source} does not say what input its network takes; delete it or train again"
        ) from error


def run_on(network: nn.Module, engine: Engine, device: str, threads: int) -> nn.Module:
    """Move a network to a device and set how it computes; results on one device do not change.

    Args:
        network: Any module that contains SbS layers.
        engine: Engine that draws spikes.
        device: "auto" is the CPU, where the compiled core works; "cpu"; "cuda:K" runs Triton kernels.
        threads: Threads of the core and of torch, at least 1.

    Raises:
        UserError: An invalid number of threads, or a device that does not exist.
    """
    torch.set_num_threads(whole("threads", threads, 1))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    place = "cpu" if device in ("auto", "cpu") else device_name(device, gpus)
    if engine == "kernel":
        use_kernel(engine, torch.device(place))  # reports immediately that it is missing
    for layer in sbs_layers(network):
        layer.engine = choice("engine", engine, get_args(Engine))  # type: ignore[assignment]
        layer.number_of_cpu_processes = threads
    return network.to(place)


def pack(values: Any, prefix: str, arrays: Arrays) -> Any:
    """Move the tensors of a nested state dictionary into ``arrays`` and return the rest, fit for JSON.

    Args:
        values: Nested dicts, lists and tuples of tensors and plain values.
        prefix: Prefix of the arrays' names.
        arrays: Receives the tensors as ``prefix.key.key...``.
    """
    if isinstance(values, torch.Tensor):
        arrays[prefix] = values.detach().cpu().numpy().copy()
        return {"tensor": prefix}
    if isinstance(values, Mapping):
        entries = [[_key(key), pack(value, f"{prefix}.{key}", arrays)] for key, value in values.items()]
        return {"mapping": entries}
    if isinstance(values, list | tuple):
        parts = [pack(value, f"{prefix}.{index}", arrays) for index, value in enumerate(values)]
        return {"tuple" if isinstance(values, tuple) else "list": parts}
    if values is None or isinstance(values, bool | int | float | str):
        return {"value": values}
    if isinstance(values, np.generic):
        return {"value": values.item()}
    raise TypeError(f"{prefix} is a {type(values).__name__}, which a checkpoint cannot hold")


def unpack(packed: Any, arrays: Mapping[str, npt.NDArray]) -> Any:
    """Rebuild the values given to `pack`.

    Raises:
        UserError: The checkpoint lacks an array.
    """
    ((kind, content),) = packed.items()
    if kind == "tensor":
        if content not in arrays:
            raise UserError(f"the checkpoint lacks the array {content!r}; it was written by another version")
        return torch.from_numpy(np.array(arrays[content]))
    if kind == "mapping":
        return {key: unpack(value, arrays) for key, value in content}
    if kind in ("list", "tuple"):
        parts = [unpack(part, arrays) for part in content]
        return tuple(parts) if kind == "tuple" else parts
    return content


def _key(key: Any) -> str | int:
    if not isinstance(key, str | int):
        raise TypeError(f"the key {key!r} cannot be kept in a checkpoint")
    return key
