"""A trained network that classifies images: `bdfa.load` and ``bdfa predict``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from reprokit import Prediction, UserError
from reprokit.config import device_name
from reprokit.run.prediction import image_samples

from bdfa.checks import whole
from bdfa.config import TrainConfig
from bdfa.data.loading import EVALUATION_BATCH, Pipeline
from bdfa.engines.engine import Engine, load_model_arrays, make_engine
from bdfa.training.runs import named, open_run


@dataclass(frozen=True)
class Predictor:
    """One network of a run, ready to classify.

    Attributes:
        config: Its options.
        class_names: One name per class.
        input_shape: (channel, height, width) of an image.
    """

    config: TrainConfig
    class_names: tuple[str, ...]
    input_shape: tuple[int, int, int]
    _engine: Engine
    _pipeline: Pipeline
    _network: int

    def predict(self, arrays: Any) -> Prediction:
        """Classify images as the data set of the run holds them; they are scaled as its training images were.

        Args:
            arrays: uint8 (sample, height, width), (sample, channel, height, width) or (sample, height, width, channel),
                0 to 255; an array, a tensor or nested lists.

        Returns:
            Scores, float32 or float64 (sample, class): logits, under profile ``faithful`` with ce log-probabilities;
            and classes, int64 (sample,).

        Raises:
            UserError: Other shapes or values, no image, or scores that are not finite.
        """
        images = torch.from_numpy(image_samples(arrays, self.input_shape)).to(self._device)
        scores = [
            self._engine.scores(self._pipeline(part))[self._network]
            for part in images.split(EVALUATION_BATCH)
        ]
        return Prediction.of(torch.cat(scores).cpu().numpy())

    @property
    def _device(self) -> torch.device:
        return next(self._engine.models[0].parameters()).device


def load(
    run: str | Path,
    which: Literal["last", "best"] = "last",
    *,
    network: int = 0,
    engine: Literal["auto", "module", "fast"] = "auto",
    device: str = "auto",
) -> Predictor:
    """Load a network of a run to classify images; nothing is written.

    The run's data set must be available, because the scaling of images is fitted to it.

        classes = bdfa.load("runs/mine").predict(images).classes

    Args:
        run: Run directory.
        which: Checkpoint; bdfa keeps the last.
        network: Index of the network among those trained together, from 0.
        engine: fast, module or auto, as in training.
        device: auto, cpu or cuda:K.

    Raises:
        UserError: Not a run of bdfa, a damaged file, no such network, or data that are missing or changed.
    """
    opened = open_run(Path(run))
    found = opened.checkpoint(which)
    if whole("network", network, 0) >= len(opened.configs):
        raise UserError(
            f"network is {network}, but {run} holds {len(opened.configs)}; choose from 0 to {len(opened.configs) - 1}."
        )
    place = torch.device(device_name(device, torch.cuda.device_count()))
    folder = opened.data_dir(None)
    configs = [replace(each, engine=engine, data_dir=folder, device=device) for each in opened.configs]
    data = opened.data(configs[0], place)
    made = make_engine(configs, data.input_shape, data.classes, place)
    load_model_arrays(made.models, named(found, "model/"), run)
    return Predictor(
        opened.configs[network], data.class_names, data.input_shape, made, data.pipeline, network
    )
