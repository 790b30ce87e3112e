"""A trained network that classifies images: `sbs.load` and ``sbs predict``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from reprokit import Prediction, UserError
from reprokit.run.prediction import image_samples
from reprokit.run.stored import stored_identity

from sbs.checks import whole
from sbs.config import Engine
from sbs.data.loading import load_dataset
from sbs.streams import TEST
from sbs.training.evaluation import BLOCK, evaluating, first_sample, parts, spike_number, spikes_from
from sbs.training.runs import Model, load_model, run_on


@dataclass(frozen=True)
class Predictor:
    """The network of a run, ready to classify.

    Attributes:
        model: The network with its configuration and input shape.
        seed: Seed of the spikes.
        largest: The value of full intensity: the largest one in the run's training images.
    """

    model: Model
    seed: int
    largest: float

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channel, height, width) of an image, before the crop."""
        shape, config = self.model.shape, self.model.config
        border = 2 * config.augmentation.crop
        channels = shape.channels // (2 if config.data.on_off else 1)
        return channels, shape.height + border, shape.width + border

    def predict(
        self, arrays: Any, *, number_of_spikes: int | None = None, batch_size: int = BLOCK
    ) -> Prediction:
        """Classify images in the form of the run's data set.

        Inference draws spikes. Image k gets those of place k % 100 of stream k // 100, which depend only on the
        seed. So every call gives the same scores, and the run's test images get the classes behind its accuracy.

        Args:
            arrays: uint8 (sample, height, width), (sample, channel, height, width) or (sample, height, width, channel),
                0 to 255; an array, a tensor or nested lists.
            number_of_spikes: Spikes per position in every layer; None: each layer's own number.
            batch_size: Images per forward pass, at most; it changes no result.

        Returns:
            Scores, float32 (sample, class): h of the last layer, 0 or more; and classes, int64 (sample,).

        Raises:
            UserError: Wrong shapes or values, no image, or an invalid number.
        """
        given = image_samples(arrays, self.input_shape)
        batch_size = whole("batch_size", batch_size, 1)
        network, scores = self.model.network, []
        device = next(network.parameters()).device
        with evaluating(network), spike_number(network, number_of_spikes), torch.inference_mode():
            for first, last in parts(len(given), batch_size):
                images = torch.from_numpy(given[first:last]).to(torch.float32) / self.largest
                inputs = self.model.presentation.test(images).to(device)
                with spikes_from(self.seed, TEST, first // BLOCK), first_sample(network, first % BLOCK):
                    scores.append(network(inputs).flatten(1).cpu().numpy())
        return Prediction.of(np.concatenate(scores))


def load(
    run: str | Path,
    which: Literal["last", "best"] = "last",
    *,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
    seed: int | None = None,
) -> Predictor:
    """Load the network of a run to classify images; nothing is written.

    The run's data set must be available, because its brightest training pixel is the unit of the images.

        classes = sbs.load("runs/mine").predict(images).classes

    Args:
        run: Run directory.
        which: The last checkpoint, or that of the best test so far.
        engine: Engine that draws spikes: auto, kernel (the compiled core) or reference (torch).
        device: auto, cpu or cuda:K.
        threads: Threads of the core and of torch; None: the run's number.
        seed: Seed of the spikes; None: the run's.

    Raises:
        UserError: Not a run of sbs, a damaged file, an invalid number, or data that are missing or changed.
    """
    model = load_model(run, which)
    config = model.config
    run_on(model.network, engine, device, config.threads if threads is None else threads)
    dataset, noted = load_dataset(config.data.source), stored_identity(run)
    if noted is not None and noted.digest != (now := dataset.identity()).digest:
        raise UserError(
            f"the data set {config.data.source} changed since the run in {run} began (SHA-256 {noted.short} there, "
            f"{now.short} now), and its brightest pixel is the unit of the images; restore it"
        )
    return Predictor(model, config.seed if seed is None else whole("seed", seed, 0), dataset.train.largest)
