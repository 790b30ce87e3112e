"""A trained liquid and readout that classify images or recordings: `nalsm.load` and ``nalsm predict``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from reprokit import Prediction, UserError
from reprokit.run.prediction import image_samples, one_array

from nalsm.checks import whole
from nalsm.data.encoding import rate_probabilities
from nalsm.data.loading import STREAM, Dataset, RateImages
from nalsm.data.sources import Events, Rates
from nalsm.model.readout import LinearReadout
from nalsm.names import Engine
from nalsm.training.liquid import Liquid, derive_seed
from nalsm.training.runs import FinishedRun, open_run, open_run_dataset


@dataclass(frozen=True)
class Predictor:
    """The liquid and the readout of a run, ready to classify.

    Attributes:
        run: The stored run.
        data: Its data set, which determines how samples become events.
        liquid: Network, configuration and engine.
        readout: The trained readout.
        threads: Samples simulated at once; results do not depend on it.
    """

    run: FinishedRun
    data: Dataset
    liquid: Liquid
    readout: LinearReadout
    threads: int

    def predict(self, arrays: Any) -> Prediction:
        """Show samples to the liquid, each from the initialised weights, and read out its spikes.

        The random events of image k depend only on the run's seed and on k, like those of test image k. So
        every call gives the same scores, and the run's test images, in order, get the classes behind its accuracy.

        Args:
            arrays: Images: uint8 (sample, height, width), (sample, channel, height, width) or (sample, height, width,
                channel), 0 to 255. Recordings: whole numbers (sample, time, polarity, height, width) or (sample, time,
                input), events of each input in each millisecond, as long as a sample of the run or longer. An array, a
                tensor or nested lists.

        Returns:
            Scores, float32 (sample, class): softmax logits of the readout; and classes, int64 (sample,).

        Raises:
            UserError: Wrong shapes or values, or no sample.
        """
        config, limit = self.liquid.config, self.run.config.batch
        source = self._rates(arrays) if isinstance(self.data, RateImages) else self._events(arrays)
        rule, counts = config.plasticity("sample"), []
        for first in range(0, len(source), limit):
            shown = self.liquid.simulator.present_independent(
                source[first : first + limit], self.run.weights, rule, duration=config.duration,
                threads=self.threads, batch=limit,
            )  # fmt: skip
            counts.append(shown.counts)
        return Prediction.of(self.readout.scores(np.concatenate(counts)))

    def _rates(self, arrays: Any) -> Rates:
        data = self.data
        assert isinstance(data, RateImages)
        channel, height, width = data.images["test"].shape[1:]
        images = image_samples(arrays, (channel, height, width))
        probability, _ = rate_probabilities(images, data.maximum["test"], blank=data.own)
        samples = np.arange(len(images), dtype=np.int64) + STREAM["test"]
        return Rates(probability * data.highest, samples, derive_seed(self.run.config.seed, "features"))

    def _events(self, arrays: Any) -> Events:
        duration, inputs = self.run.config.duration, self.data.inputs
        wanted = f"whole numbers (sample, time, input) with {inputs} inputs and at least {duration} ms"
        given = one_array(arrays, wanted)
        flat = given.reshape(*given.shape[:2], -1) if given.ndim == 5 and given.size else given
        if flat.ndim != 3 or flat.shape[2] != inputs or flat.shape[1] < duration or not len(flat):
            raise UserError(f"the recordings are {given.dtype} {given.shape}; this run takes {wanted}.")
        return Events.from_raster(np.ascontiguousarray(flat[:, :duration].transpose(0, 2, 1)))


def load(
    run: str | Path,
    which: Literal["best"] = "best",
    *,
    engine: Engine = "auto",
    device: str = "auto",
    threads: int = 1,
) -> Predictor:
    """Load the liquid of a finished run to classify samples; nothing is written.

    The run's data set must be available, because its training images set the scale of the samples.

        classes = nalsm.load("runs/mine").predict(images).classes

    Args:
        run: Run directory.
        which: Readout; a run keeps the one that is best on its validation samples.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: Samples simulated at once; results do not depend on it.

    Raises:
        UserError: Not a run of nalsm, an unfinished one, a damaged file, data that are missing or changed, or a
            quirk of the original that makes a sample's result depend on earlier ones.
    """
    if which != "best":
        raise UserError(f"which is {which!r}, but nalsm keeps only the best readout; give best.")
    opened = open_run(run)
    readout, quirks = opened.readout(), opened.config.quirks
    if quirks.carry_trace or (quirks.frozen_stdp and opened.config.model == "lsm-stdp"):
        raise UserError(
            f"{run} follows the original's behaviour, in which a sample's result depends on its place in a batch "
            "(DEV-1, DEV-3), so single samples cannot be classified; train with profile fixed, or evaluate the run."
        )
    liquid = opened.liquid(engine=engine, device=device)
    return Predictor(opened, open_run_dataset(opened), liquid, readout, whole("threads", threads, 1))
