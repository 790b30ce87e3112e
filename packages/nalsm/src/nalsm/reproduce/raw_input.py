"""The readout on the input itself: its accuracy on the events that a liquid is shown, without the liquid."""

from __future__ import annotations

import io
import time
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import RunDirectory, read_run

from nalsm.config import Config
from nalsm.data.loading import Dataset
from nalsm.names import SPLITS, Split
from nalsm.training.liquid import derive_seed
from nalsm.training.runs import compact, fit_readout, open_dataset, same_data

RAW = "input events"  # the setting `features` of such a run
CHUNK = 1000  # samples


def event_counts(data: Dataset, split: Split, config: Config) -> np.ndarray:
    """Return how many events each input channel receives in each sample, as a liquid of this seed is shown them.

    Args:
        data: the data set.
        split: the part.
        config: seed and duration.

    Returns:
        Unsigned (sample, input).
    """
    seed, parts = derive_seed(config.seed, "features"), []
    samples = len(data.labels(split))
    for begin in range(0, samples, CHUNK):
        index = np.arange(begin, min(begin + CHUNK, samples))
        events = data.source(split, index, seed).events(config.duration)
        size = events.first[:, -1] - events.first[:, 0]
        place = np.repeat(np.arange(len(index)), size) * data.inputs
        chosen = np.concatenate([events.channels[a:b] for a, b in events.first[:, [0, -1]]])
        counts = np.bincount(place + chosen, minlength=len(index) * data.inputs)
        parts.append(compact(counts.reshape(len(index), data.inputs)))
    return compact(np.concatenate(parts))


def train_on_input(folder: Path, config: Config, *, threads: int = 1) -> dict[str, Any]:
    """Count events, train the readout of a configuration on them and return the summary; a finished run is only read.

    The directory holds features_<split>.npy, labels_<split>.npy, predictions_test.npy and readout.npz, like
    that of a liquid; existing counts are not made again.

    Args:
        folder: the run directory.
        config: data, seed, duration and readout; settings of the liquid are not used.
        threads: of the readout.

    Raises:
        UserError: a directory with another run, or other data than it began with.
    """
    data = open_dataset(config)
    content = {"features": RAW, **config.content()}
    options = {"package": "nalsm", **content, "threads": threads}
    with RunDirectory(folder, content, options=options, files=("readout.npz",)) as run:
        if run.finished:
            same_data(folder, data.identity, {}, config.data)
            return run.summary()
        run.identify(data.identity, source=config.data)
        begin = time.perf_counter()
        counts: dict[Split, np.ndarray] = {}
        labels: dict[Split, np.ndarray] = {split: data.labels(split) for split in SPLITS}
        for split in SPLITS:
            name, shape = f"features_{split}", (len(labels[split]), data.inputs)
            if (folder / f"{name}.npy").exists():
                counts[split] = read_run(folder, package="nalsm").array(name, shape=shape)
                continue
            began, counts[split] = time.perf_counter(), event_counts(data, split, config)
            run.write_array(f"labels_{split}.npy", labels[split])
            run.log({"phase": name, "seconds": time.perf_counter() - began})
            run.write_array(f"{name}.npy", counts[split])
        readout = fit_readout(config, counts, labels, data.classes, threads=threads)
        buffer = io.BytesIO()
        np.savez(buffer, weight=readout.weight, bias=readout.bias, maximum=np.array(readout.maximum))
        run.write_bytes("readout.npz", buffer.getvalue())
        run.write_array("predictions_test.npy", compact(readout.predict(counts["test"])))
        summary: dict[str, Any] = {
            f"{split}_accuracy": readout.accuracy(counts[split], labels[split]) for split in SPLITS
        }
        logged = sum(float(record["seconds"]) for record in run.records())
        summary |= {"dataset": data.name, "samples": [len(labels[split]) for split in SPLITS]}
        summary |= {"inputs": data.inputs, "seconds": max(logged, time.perf_counter() - begin)}
        run.finish(summary)
        return summary
