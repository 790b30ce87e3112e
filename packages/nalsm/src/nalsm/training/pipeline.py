"""A run from start to finish in one directory, resumable in every phase.

Files besides those of every run (`reprokit.RunDirectory`): network.npz, initial_weights.npy, features_<split>.npy
(uint8 or uint16, (sample, liquid)), labels_<split>.npy, predictions_test.npy (class of each test sample), raster.npy
(recorded samples), depression.npy, readout.npz, and the state of an unfinished phase in checkpoints/. Work is saved
after every chunk; a killed run that is started again ends bit-equal.
"""

from __future__ import annotations

import io
import time
import warnings
from pathlib import Path
from typing import Any, Self

import numpy as np
from reprokit import RunDirectory, StoredRun, UserError, read_run
from reprokit.own_code import check_source, source_file
from reprokit.run import watch
from reprokit.run.cost import InferenceCost
from reprokit.run.provenance import plain
from reprokit.run.stored import CONFIG, read_whole

from nalsm.config import Config
from nalsm.model.network import LiquidNetwork, NetworkSpec, generate
from nalsm.names import SPLITS, Engine, Split
from nalsm.training.cost import inference_cost
from nalsm.training.liquid import Liquid, LiquidState, check_activity
from nalsm.training.measures import branching_factor
from nalsm.training.progress import Phase, Report, unsaid
from nalsm.training.runs import (
    WRITTEN,
    checkpoint_of,
    chunk_size,
    compact,
    fit_readout,
    open_dataset,
    open_run,
    read_npz,
    result_of,
    same_data,
    settled,
)

NETWORK, PARTS = "network.npz", "checkpoints"
INITIALISE = f"{PARTS}/initialise"
INITIAL_CHUNK = 2500  # presentations between two checkpoints, a few seconds of work
LARGE = 4000  # number of neurons from which the paper's w_a for 1000 is too large
ORDER: tuple[Split, ...] = ("validation", "test", "train")  # the original's; matters if traces carry over


def _part_name(split: Split, begin: int) -> str:
    return f"{PARTS}/features_{split}/{begin:08d}.npz"


class Run:
    """One run directory and everything that belongs to it.

    Args:
        path: the directory; an existing run of the same configuration continues.
        config: everything that determines the result.
        engine: events (compiled), triton (NVIDIA GPUs), torch, or auto.
        device: cpu, an accelerator for engines triton and torch, or auto.
        threads: samples simulated at once; results do not depend on it.
        resume: False refuses a directory that contains a run.
        force: delete an existing run first.
        report: takes a line at the start and the end of each phase, and every ten seconds where no bar is shown; by
            default nothing is said.

    Raises:
        UserError: for bad settings or data, or a directory with a run of other settings; nothing is written in that
            case.
    """

    def __init__(
        self,
        path: str | Path,
        config: Config,
        *,
        engine: Engine = "auto",
        device: str = "auto",
        threads: int = 1,
        resume: bool = True,
        force: bool = False,
        report: Report = unsaid,
    ) -> None:
        if threads < 1:
            raise UserError(f"threads is {threads}; it must be 1 or more.")
        self.threads, self._report = threads, report
        self.data = open_dataset(config)
        # find all mistakes before writing anything
        there = (Path(path) / CONFIG).exists() and not force
        stored = read_run(path, package="nalsm") if there else None
        self.network = self._network(config, stored)
        if stored is not None and config.rule is not None and stored.config.get("rule") == config.rule:
            check_source(config.rule, "--rule", stored.config.get("rule_source"), stored.path)
        old = stored is not None and stored.config == plain(config.content())
        self.config = config = config if old else settled(config, self.network)
        self.liquid = Liquid(self.network, config, engine=engine, device=device)
        for phase in ("initialise", "sample"):
            config.plasticity(phase)  # refuses a user's own rule that cannot be used
        files = {"network": Path(config.network)} if config.network and Path(config.network).exists() else {}
        if config.rule is not None:
            files["rule"] = source_file(config.rule, "--rule")
        if stored is not None and stored.config == plain(config.content()):
            same_data(stored.path, self.data.identity, files, config.data)
            self._check(stored)
        large = config.model == "nalsm" and self.network.liquid >= LARGE
        if large and config.astrocyte_weight == Config.astrocyte_weight:
            warnings.warn(
                f"astrocyte_weight is {config.astrocyte_weight:g}, the paper's for 1000 neurons; this liquid has "
                f"{self.network.liquid}, and the paper takes 0.0075 for 8000.",
                UserWarning,
                stacklevel=2,
            )
        running = {"engine": engine, "device": device, "threads": threads}
        self.directory = RunDirectory(
            path, config.content(), options={"package": "nalsm", **config.content(), **running},
            resume=resume, force=force, files=WRITTEN,
        )  # fmt: skip
        try:
            self.directory.identify(self.data.identity, source=config.data, files=files)
            if not (self.path / NETWORK).exists():
                self.directory.write_bytes(NETWORK, self.network.encoded())
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
        """Run all unfinished phases, return the summary and release the directory.

        Raises:
            UserError: if the liquid is silent, or the directory belongs to another configuration.
        """
        with self.directory:
            done = result_of(self._stored())
            if done is not None:
                return done
            begin = time.perf_counter()
            weights = self.initialise()
            for split in ORDER:
                self.features(split, weights)
            summary = self.readout() | self.branching(weights) | self._cost().summary()
            summary["seconds"] = self._seconds(time.perf_counter() - begin)
            self.directory.finish(summary)
            return summary

    def initialise(self) -> np.ndarray:
        """Run the initialisation phase, or read its result; float32 (synapse,)."""
        if (self.path / "initial_weights.npy").exists():
            return self._read(self._stored(), "initial_weights")
        checkpoints = self.directory.checkpoints(INITIALISE)
        state = self.liquid.start()
        saved = checkpoint_of(checkpoints, ("weights", "trace", "calcium"))
        if saved is not None:
            arrays = saved.arrays
            state = LiquidState(arrays["weights"], arrays["trace"], arrays["calcium"], saved.step)
        total = self.liquid.presentations(len(self.data.labels("train")))
        began = time.perf_counter()
        with Phase("initialise", total, "presentations", self._report, done=state.done) as phase:
            while state.done < total:
                before = state.done
                state = self.liquid.initialise(self.data, state, min(INITIAL_CHUNK, total - before))
                arrays = {"weights": state.weights, "trace": state.trace, "calcium": state.calcium}
                checkpoints.save(state.done, arrays, {})
                phase.update(state.done - before)
        self._log("initialise", presentations=total, seconds=time.perf_counter() - began)
        self.directory.write_array("initial_weights.npy", state.weights)
        return state.weights

    def features(self, split: Split, weights: np.ndarray) -> np.ndarray:
        """Produce the spike counts of a split chunk by chunk, or read them; unsigned (sample, liquid)."""
        name = f"features_{split}"
        if (self.path / f"{name}.npy").exists():
            counts = self._read(self._stored(), name)
            self._drop_parts(name)  # which a kill may have left
            return counts
        labels = self.data.labels(split)
        quirks, chunk = self.config.quirks, chunk_size(self.config)
        trace = self._carried_trace(split) if quirks.carry_trace else None
        began = time.perf_counter()
        parts: list[np.ndarray] = []
        with Phase(f"features {split}", len(labels), "samples", self._report) as phase:
            for begin in range(0, len(labels), chunk):
                index = np.arange(begin, min(begin + chunk, len(labels)))
                saved = self._part(self.path, split, begin)
                if saved is not None:
                    counts, trace = saved["counts"], saved.get("trace")
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
                    self._write_npz(_part_name(split, begin), kept)
                    watch.saved()
                parts.append(counts)
                phase.update(len(index))
        counts = np.concatenate(parts)
        check_activity(counts, split, self.config.duration)
        self.directory.write_array(f"labels_{split}.npy", labels)
        if trace is not None:
            self.directory.write_array(f"checkpoints/trace_{split}.npy", trace)
        seconds = time.perf_counter() - began
        rate = float(counts.mean()) / self.config.duration * 1000.0
        self._log(f"features {split}", samples=len(labels), seconds=seconds, rate_hz=rate)
        self.directory.write_array(name, compact(counts))
        self._drop_parts(name)
        return counts

    def _drop_parts(self, name: str) -> None:
        """Remove the parts of a split whose counts are stored as a whole."""
        for part in sorted((self.path / PARTS).glob(f"{name}/*.npz")):
            part.unlink()

    def readout(self) -> dict[str, Any]:
        """Train the readout on stored features and write it; accuracies of all splits."""
        stored = self._stored()
        counts: dict[Split, np.ndarray] = {s: self._read(stored, f"features_{s}") for s in SPLITS}
        labels: dict[Split, np.ndarray] = {  # the labels that belong to the features
            s: stored.array(f"labels_{s}", shape=(len(counts[s]),), dtype=np.int64) for s in SPLITS
        }
        began = time.perf_counter()
        self._report(f"readout {self.config.readout}: {len(counts['train'])} training samples")
        checkpoints = self.directory.checkpoints("checkpoints/readout")
        readout = fit_readout(
            self.config, counts, labels, self.data.classes, threads=self.threads, checkpoints=checkpoints
        )
        seconds = time.perf_counter() - began
        arrays = {"weight": readout.weight, "bias": readout.bias, "maximum": np.array(readout.maximum)}
        self._write_npz("readout.npz", arrays)
        self.directory.write_array("predictions_test.npy", compact(readout.predict(counts["test"])))
        result: dict[str, Any] = {f"{s}_accuracy": readout.accuracy(counts[s], labels[s]) for s in SPLITS}
        self._log("readout", seconds=seconds, **result)
        rate = float(counts["test"].mean()) / self.config.duration * 1000.0
        samples = [len(labels[s]) for s in SPLITS]
        return result | {"rate_hz": rate, "dataset": self.data.name, "samples": samples}

    def branching(self, weights: np.ndarray) -> dict[str, Any]:
        """Record some test and training samples and return their branching factors."""
        result: dict[str, Any] = {}
        if self.config.record < 1 or self.config.duration <= 58:
            return result
        for split in ("test", "train"):
            index = self.data.some(split, self.config.record)
            run = self.liquid.features(self.data, split, index, weights, record=True, threads=self.threads)
            assert run.raster is not None
            result[f"branching_{split}"] = branching_factor(run.raster, self.network).value
            if split == "test":
                self.directory.write_array("raster.npy", np.packbits(run.raster, axis=2))
                self.directory.write_array("depression.npy", run.depression)
        self._log("branching", **result)
        return result

    def _cost(self) -> InferenceCost:
        """Count what an inference costs, from the recorded samples where there are any."""
        opened = open_run(self.path)
        raster = opened.raster() if opened.has("raster.npy") else None
        return inference_cost(opened.network, opened.readout(), self.config.duration, raster)

    def _network(self, config: Config, stored: StoredRun | None) -> LiquidNetwork:
        """Return the network of an existing run, or of the file that the configuration names, or generate one."""
        if stored is not None and (file := stored.path / NETWORK).exists():
            return LiquidNetwork.decoded(read_whole(stored.path, NETWORK), file)
        if config.network is not None:
            network = LiquidNetwork.load(config.network)
        else:
            network = generate(NetworkSpec(config.dims, self.data.inputs, config.network_seed))
        if network.inputs != self.data.inputs:
            raise UserError(
                f"the network has {network.inputs} input neurons, {self.data.name} has {self.data.inputs} channels; "
                "generate a network for this data set."
            )
        return network if config.recurrence else network.without_recurrence()

    def _carried_trace(self, split: Split) -> np.ndarray:
        place = ORDER.index(split)
        if place:
            return self._read(self._stored(), f"checkpoints/trace_{ORDER[place - 1]}")
        return np.zeros((self.config.batch, self.network.neurons), np.float32)

    def _stored(self) -> StoredRun:
        return read_run(self.path, package="nalsm")

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the arrays that later phases read."""
        shapes: dict[str, tuple[int, ...]] = {"initial_weights": (int(self.network.active.sum()),)}
        for split in SPLITS:
            shapes[f"features_{split}"] = (len(self.data.labels(split)), self.network.liquid)
            shapes[f"checkpoints/trace_{split}"] = (self.config.batch, self.network.neurons)
        return shapes

    def _read(self, stored: StoredRun, name: str) -> np.ndarray:
        return stored.array(name, shape=self._shapes()[name])

    def _part(self, folder: Path, split: Split, begin: int) -> dict[str, np.ndarray] | None:
        """Return the counts of a finished chunk, and its traces if they carry over."""
        name = _part_name(split, begin)
        if not (folder / name).exists():
            return None
        arrays = ("counts", "trace") if self.config.quirks.carry_trace else ("counts",)
        found = read_npz(folder, name, arrays, "delete it, and it is made again")
        samples = min(chunk_size(self.config), len(self.data.labels(split)) - begin)
        if found["counts"].shape != (samples, self.network.liquid):
            raise UserError(f"{folder / name} belongs to another run; delete it, and it will be made again.")
        return found

    def _check(self, stored: StoredRun) -> None:
        """Read the state from which an unfinished run would continue.

        Raises:
            UserError: if something is damaged or belongs to another run.
        """
        if stored.summary is not None:
            return
        for name in self._shapes():
            if (stored.path / f"{name}.npy").exists():
                self._read(stored, name)
        for split in SPLITS:
            for begin in range(0, len(self.data.labels(split)), chunk_size(self.config)):
                self._part(stored.path, split, begin)

    def _write_npz(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        self.directory.write_bytes(name, buffer.getvalue())

    def _log(self, phase: str, **values: object) -> None:
        """Log a phase; a phase that was killed just before its end and repeated replaces its record."""
        self.directory.rewind_log(lambda record: record.get("phase") != phase)
        self.directory.log({"phase": phase, **values})

    def _seconds(self, fallback: float) -> float:
        logged = sum(float(r.get("seconds", 0.0)) for r in self.directory.records())
        return max(logged, fallback)
