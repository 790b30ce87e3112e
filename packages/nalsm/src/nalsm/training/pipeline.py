"""A run from start to end in one directory, resumable at every phase.

Files: config.json, network.npz, initial_weights.npy, features_<split>.npy (uint8 or uint16, (sample, liquid)),
labels_<split>.npy, raster.npy (recorded test samples), readout.npz, metrics.jsonl, summary.json, and the state of an
unfinished phase in checkpoints/. Work is saved after every chunk; a killed run started again ends bit-equal.
"""

from __future__ import annotations

import io
import time
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from reprokit import Checkpoints, RunDirectory, UserError, progress, read_config
from reprokit.files.atomic import atomic_write

from nalsm.config import Config
from nalsm.model.network import LiquidNetwork, NetworkSpec, generate
from nalsm.names import SPLITS, Engine, Split
from nalsm.training.liquid import Liquid, LiquidState, check_activity
from nalsm.training.measures import branching_factor
from nalsm.training.runs import WRITTEN, chunk_size, compact, fit_readout, open_dataset

INITIAL_CHUNK = 2500  # presentations between two checkpoints, a few seconds of work
ORDER: tuple[Split, ...] = ("validation", "test", "train")  # the original's; matters where traces carry over


class Run:
    """One run directory and what belongs to it.

    Args:
        path: the directory; a run of the same configuration that is there goes on.
        config: everything that determines the result.
        engine: events (compiled), torch, or auto.
        device: cpu, or an accelerator for engine torch.
        threads: samples simulated at once; results do not depend on it.
        resume: False refuses a directory that holds a run.
        force: delete a run that is there first.

    Raises:
        UserError: bad settings or data, or a directory with a run of other settings; nothing is written then.
    """

    def __init__(
        self,
        path: str | Path,
        config: Config,
        *,
        engine: Engine = "auto",
        device: str = "cpu",
        threads: int = 1,
        resume: bool = True,
        force: bool = False,
    ) -> None:
        if threads < 1:
            raise UserError(f"threads is {threads}; it must be 1 or more.")
        self.config, self.threads = config, threads
        self.data = open_dataset(config)
        fresh = force or read_config(path) is None  # then a mistake is found before anything is written
        options = {
            "package": "nalsm",
            **config.settings(),
            "engine": engine,
            "device": device,
            "threads": threads,
        }
        prepare = partial(Liquid, config=config, engine=engine, device=device)
        liquid = prepare(self._network()) if fresh else None
        self.directory = RunDirectory(
            path, config.settings(), options=options, resume=resume, force=force, files=WRITTEN
        )
        try:
            file = self.path / "network.npz"
            if liquid is None:
                liquid = prepare(LiquidNetwork.load(file) if file.exists() else self._network())
            self.liquid, self.network = liquid, liquid.network
            if not file.exists():
                self.network.save(file)
        except BaseException:
            self.directory.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.directory.close()

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.directory.path

    def train(self) -> dict[str, Any]:
        """Do every phase that is not done yet, return the summary and release the directory.

        Raises:
            UserError: where the liquid is silent, or the directory belongs to another configuration.
        """
        with self.directory:
            if self.directory.finished:
                return self.directory.summary()
            begin = time.perf_counter()
            weights = self.initialise()
            for split in ORDER:
                self.features(split, weights)
            summary = self.readout() | self.branching(weights)
            summary["seconds"] = self._seconds(time.perf_counter() - begin)
            self.directory.finish(summary)
            return summary

    def initialise(self) -> np.ndarray:
        """Run the initialisation phase, or read its result; float32 (synapse,)."""
        file = self.path / "initial_weights.npy"
        if file.exists():
            return np.load(file, allow_pickle=False)
        checkpoints = Checkpoints(self.path / "checkpoints" / "initialise")
        state = self.liquid.start()
        saved = checkpoints.load_latest()
        if saved is not None:
            arrays = saved.arrays
            state = LiquidState(arrays["weights"], arrays["trace"], arrays["calcium"], saved.step)
        total = self.liquid.presentations(len(self.data.labels("train")))
        began = time.perf_counter()
        with progress(total=total, description="initialise") as bar:
            bar.update(state.done)
            while state.done < total:
                before = state.done
                state = self.liquid.initialise(self.data, state, min(INITIAL_CHUNK, total - before))
                arrays = {"weights": state.weights, "trace": state.trace, "calcium": state.calcium}
                checkpoints.save(state.done, arrays, {})
                bar.update(state.done - before)
        self._log("initialise", presentations=total, seconds=time.perf_counter() - began)
        self.directory.write_array("initial_weights.npy", state.weights)
        return state.weights

    def features(self, split: Split, weights: np.ndarray) -> np.ndarray:
        """Produce the spike counts of a split chunk by chunk, or read them; unsigned (sample, liquid)."""
        file = self.path / f"features_{split}.npy"
        if file.exists():
            return np.load(file, allow_pickle=False)
        labels = self.data.labels(split)
        quirks, chunk = self.config.quirks, chunk_size(self.config)
        folder = self.path / "checkpoints" / f"features_{split}"
        trace = self._carried_trace(split) if quirks.carry_trace else None
        began = time.perf_counter()
        parts: list[np.ndarray] = []
        with progress(total=len(labels), description=f"features {split}") as bar:
            for begin in range(0, len(labels), chunk):
                index = np.arange(begin, min(begin + chunk, len(labels)))
                part = folder / f"{begin:08d}.npz"
                if part.exists():
                    with np.load(part, allow_pickle=False) as saved:
                        counts = saved["counts"]
                        trace = saved["trace"] if quirks.carry_trace else None
                else:
                    own = trace[: len(index)] if trace is not None else None
                    run = self.liquid.features(
                        self.data, split, index, weights, trace=own, threads=self.threads
                    )
                    counts = compact(run.counts)
                    kept: dict[str, np.ndarray] = {"counts": counts}
                    if trace is not None:
                        trace = np.concatenate([run.trace, trace[len(index) :]])
                        kept["trace"] = trace
                    self._write_npz(part.relative_to(self.path), kept)
                parts.append(counts)
                bar.update(len(index))
        counts = np.concatenate(parts)
        check_activity(counts, split)
        self.directory.write_array(f"labels_{split}.npy", labels)
        if trace is not None:
            self.directory.write_array(f"checkpoints/trace_{split}.npy", trace)
        seconds = time.perf_counter() - began
        rate = float(counts.mean()) / self.config.duration * 1000.0
        self._log(f"features {split}", samples=len(labels), seconds=seconds, rate_hz=rate)
        self.directory.write_array(file.name, compact(counts))
        for part in sorted(folder.glob("*.npz")):
            part.unlink()
        return counts

    def readout(self) -> dict[str, Any]:
        """Train the readout on stored features and write it; accuracies of all splits."""
        counts: dict[Split, np.ndarray] = {
            s: np.load(self.path / f"features_{s}.npy", allow_pickle=False) for s in SPLITS
        }
        labels: dict[Split, np.ndarray] = {s: self.data.labels(s) for s in SPLITS}
        began = time.perf_counter()
        checkpoints = Checkpoints(self.path / "checkpoints" / "readout")
        readout = fit_readout(
            self.config, counts, labels, self.data.classes, threads=self.threads, checkpoints=checkpoints
        )
        seconds = time.perf_counter() - began
        arrays = {"weight": readout.weight, "bias": readout.bias, "maximum": np.array(readout.maximum)}
        self._write_npz(Path("readout.npz"), arrays)
        result: dict[str, Any] = {f"{s}_accuracy": readout.accuracy(counts[s], labels[s]) for s in SPLITS}
        self._log("readout", seconds=seconds, **result)
        rate = float(counts["test"].mean()) / self.config.duration * 1000.0
        samples = [len(labels[s]) for s in SPLITS]
        return result | {"rate_hz": rate, "dataset": self.data.name, "samples": samples}

    def branching(self, weights: np.ndarray) -> dict[str, Any]:
        """Record the first test and training samples and return their branching factors."""
        result: dict[str, Any] = {}
        if self.config.record < 1 or self.config.duration <= 58:
            return result
        for split in ("test", "train"):
            index = np.arange(min(self.config.record, len(self.data.labels(split))))
            run = self.liquid.features(self.data, split, index, weights, record=True, threads=self.threads)
            assert run.raster is not None
            result[f"branching_{split}"] = branching_factor(run.raster, self.network).value
            if split == "test":
                self.directory.write_array("raster.npy", np.packbits(run.raster, axis=2))
                self.directory.write_array("depression.npy", run.depression)
        self._log("branching", **result)
        return result

    def _network(self) -> LiquidNetwork:
        """Return the network of the file that the configuration names, or generate one."""
        if self.config.network is not None:
            network = LiquidNetwork.load(self.config.network)
        else:
            network = generate(NetworkSpec(self.config.dims, self.data.inputs, self.config.network_seed))
        if network.inputs != self.data.inputs:
            raise UserError(
                f"the network has {network.inputs} input neurons, {self.data.name} has {self.data.inputs} channels; "
                "generate a network for this data set."
            )
        return network

    def _carried_trace(self, split: Split) -> np.ndarray:
        place = ORDER.index(split)
        if place:
            return np.load(self.path / "checkpoints" / f"trace_{ORDER[place - 1]}.npy", allow_pickle=False)
        return np.zeros((self.config.batch, self.network.neurons), np.float32)

    def _write_npz(self, name: Path, arrays: dict[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path / name, buffer.getvalue())

    def _log(self, phase: str, **values: object) -> None:
        """Log a phase; a phase that was killed just before its end and done again replaces its record."""
        self.directory.rewind_log(lambda record: record["phase"] != phase)
        self.directory.log({"phase": phase, **values})

    def _seconds(self, fallback: float) -> float:
        logged = sum(float(r.get("seconds", 0.0)) for r in self.directory.records())
        return max(logged, fallback)
