"""A trained network that classifies images or recordings: `dalton.load` and ``dalton predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from reprokit import Prediction, UserError
from reprokit.run.prediction import channel_first, image_samples, one_array
from torch import Tensor

from dalton.config import TrainConfig
from dalton.data.samples import Splits, lasting
from dalton.model.network import SpikingCNN
from dalton.names import EngineName
from dalton.threads import set_threads
from dalton.training.evaluation import load_run
from dalton.training.step import predict


@dataclass(frozen=True)
class Predictor:
    """The network of a run, ready to classify.

    Attributes:
        net: The network.
        config: The options of its run.
        class_names: One name a class.
        events: Whether it was trained on recordings.
        steps: Time-steps of 1 ms for which a sample is shown, as for the run's test samples.
    """

    net: SpikingCNN
    config: TrainConfig
    class_names: tuple[str, ...]
    events: bool
    steps: int

    def predict(self, arrays: Any) -> Prediction:
        """Classify samples, each from rest, without dropout; results do not depend on how samples are batched.

        Args:
            arrays: Images: uint8 (sample, height, width), (sample, channel, height, width) or (sample, height, width,
                channel), 0 to 255, or floating-point in [0, 1]. Recordings: event counts of 1 ms frames, any numbers
                (sample, time, channel, height, width); the first `steps` frames are shown, followed by empty
                ones if there are fewer. An array, a tensor or nested lists.

        Returns:
            Scores, float32 or float64 (sample, class): class outputs averaged over time after the burn-in; and
            classes, int64 (sample,).

        Raises:
            UserError: Wrong shapes or values, or no sample.
        """
        inputs = self._frames(arrays) if self.events else self._images(arrays)
        steps = None if self.events else self.steps
        burn_in, size = self.config.resolved_burn_in(self.steps), self.config.batch_size
        scores = []
        for part in inputs.split(size):
            shown = lasting(part.transpose(0, 1), self.steps).contiguous() if self.events else part
            outputs = predict(
                self.net, shown.to(self.net.device), steps, burn_in=burn_in, engine=self.config.engine_name
            )
            scores.append(outputs.mean(0).cpu())
        return Prediction.of(torch.cat(scores).numpy())

    def _images(self, arrays: Any) -> Tensor:
        images = channel_first(arrays, _shape(self.net))
        if images.dtype.kind == "f" and bool(images.min() >= 0) and bool(images.max() <= 1):
            return torch.from_numpy(images).float()
        return torch.from_numpy(image_samples(images)).float().div_(255)

    def _frames(self, arrays: Any) -> Tensor:
        wanted = f"event counts (sample, time, {', '.join(map(str, self.net.input_shape))})"
        frames = one_array(arrays, wanted)
        if frames.ndim != 5 or frames.shape[2:] != self.net.input_shape or 0 in frames.shape:
            raise UserError(f"the recordings are {frames.dtype} {frames.shape}; this network takes {wanted}.")
        return torch.from_numpy(np.ascontiguousarray(frames))


def load(
    run: str | Path,
    which: Literal["best", "last"] = "best",
    *,
    engine: EngineName | None = None,
    device: str = "auto",
    threads: int | None = None,
    data: Splits | None = None,
    **changes: Any,
) -> Predictor:
    """Load the network of a run to classify samples; nothing is written.

    The run's data set must be available, because it determines how long samples are shown.

        classes = dalton.load("runs/mine").predict(images).classes

    Args:
        run: Run directory.
        which: best: the selected epoch; last.
        engine: native (compiled), torch or auto; None: the run's own.
        device: auto, cpu, cuda:K or a GPU's number.
        threads: CPU threads; None: the run's own.
        data: The data of the run if they were given from Python.
        changes: Options to change, as for `dalton.load_run`, e.g. ``dataset=`` where the data lie elsewhere now.

    Raises:
        UserError: Not a run of dalton, a damaged file, or data that are missing or have other classes.
    """
    given = {"engine": engine, "device": device, "threads": threads}
    changes |= {name: value for name, value in given.items() if value is not None}
    loaded = load_run(run, which, data=data, **changes)
    set_threads(loaded.config.threads)
    found = loaded.data
    return Predictor(loaded.net, loaded.config, found.class_names, found.events, found.test.steps)


def _shape(net: SpikingCNN) -> tuple[int, int, int]:
    channel, height, width = net.input_shape
    return channel, height, width
