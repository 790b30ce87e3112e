"""Put a finished run into its package as a trained model: ``X.pretrained(NAME)``.

python reproduction/pretrained.py RUN [--data FOLDER]        # RUN: a run directory of `X train`, from a clean commit
python reproduction/pretrained.py --samples [--data FOLDER]  # write the small samples that tests classify

The run classifies the whole test set; then weights, configuration and ledger row are written to
``packages/X/src/X/pretrained/NAME``, the row to ``reproduction/pretrained/results.csv``, and the written model
is compared with the run: it must give the same scores. NAME is the data set of the run. --data is the folder of the
spoken digits; MNIST comes from the data cache.
"""

import argparse
import importlib
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import Ledger, UserError, load_images, load_recordings, read_run, run_id, standard_row
from reprokit.cli.running import run as guarded_run
from reprokit.files import write_file
from reprokit.run.pretrained import WEIGHTS, Packed, read_pretrained, write_pretrained
from reprokit.run.stored import CONFIG, OPTIONS, owner_of
from reprokit.terminal import say

ROOT = Path(__file__).resolve().parents[1]
LEDGER = ROOT / "reproduction" / "pretrained" / "results.csv"
SAMPLES = ROOT / "reproduction" / "pretrained" / "samples"
IMAGES, RECORDINGS = 200, 50  # of the samples
LIBRARIES = {"denram": ("denram", "jax", "jaxlib")}
METRICS: dict[str, type] = {
    "model": str,
    "test_accuracy": float,  # share of the whole test set
    "test_samples": int,
    "sample_accuracy": float,  # share of the committed sample
    "sample_samples": int,
    "commits": str,  # at which it was trained: several if it was interrupted
    "weights": int,  # numbers in the file
    "weights_bytes": int,
}
MOST_BYTES = 3_000_000


def main(words: list[str]) -> int:
    """Run the command line; the exit code."""
    parser = argparse.ArgumentParser(description="Put a finished run into its package.")
    parser.add_argument("run", nargs="?", type=Path)
    parser.add_argument("--data", type=Path, default=None)
    parser.add_argument("--samples", action="store_true")
    given = parser.parse_args(words)
    if given.samples:
        for file in write_samples(given.data):
            say(str(file))
        return 0
    if given.run is None:
        parser.error("name a run directory, or give --samples")
    say(str(take(given.run, given.data)))
    return 0


def take(run: Path, data: Path | None = None) -> Path:
    """Put a run into its package and return the folder.

    Raises:
        UserError: The run is not finished, is from a modified tree or on own data, or the model is too large or does
            not give the same scores.
    """
    package = _owner(run)
    stored = read_run(run, package=package)
    identity = stored.identity()
    commits = identity.code if identity else ()
    if stored.summary is None or identity is None:
        raise UserError(
            f"{run} is not finished, or has no record of its data; continue it with `{package} train`"
        )
    if not commits or any(commit.endswith("-dirty") or commit == "unknown" for commit in commits):
        raise UserError(
            f"{run} was trained at {', '.join(commits) or 'no commit'}; train it again at a clean one"
        )
    name, module = identity.name, importlib.import_module(f"{package}.training.pretrained")
    samples, labels = test_set(name, data)
    loaded = importlib.import_module(package).load(run)
    kept: Packed = module.packed(run)
    scores = loaded.predict(samples)
    sample, truth = sample_of(name)
    accuracy = float(np.mean(scores.classes == labels))
    found = loaded.predict(sample)
    folder = ROOT / "packages" / package / "src" / package / "pretrained" / name
    row = {
        **standard_row(
            stored.config, package=package, claim="pretrained", dataset=name, scale="own",
            seed=int(stored.config["seed"]), seconds=seconds_of(stored.summary, run),
            threads=threads_of(stored.summary), packages=LIBRARIES.get(package, (package, "torch")), data=identity,
        ),
        "git_commit": commits[-1],
        "commits": " ".join(commits),
        "peak_memory_mb": None,  # of this program, as are the versions; the run kept neither
        "started": "",
        "model": name,
        "test_accuracy": accuracy,
        "test_samples": len(labels),
        "sample_accuracy": float(np.mean(found.classes == truth)),
        "sample_samples": len(truth),
        "weights": sum(array.size for array in kept.arrays.values()),
        "weights_bytes": sum(array.nbytes for array in kept.arrays.values()),
    }  # fmt: skip
    if row["weights_bytes"] > MOST_BYTES:
        raise UserError(f"the weights of {run} are {row['weights_bytes']} bytes; {MOST_BYTES} are allowed")
    assert row["run_id"] == run_id(stored.config)
    write_pretrained(folder, kept, row)
    again = module.predictor_of(read_pretrained(folder)).predict(sample)
    if not np.array_equal(again.scores, found.scores):
        raise UserError(f"{folder / WEIGHTS} does not give the scores of {run}")
    Ledger.for_results(LEDGER, METRICS).append(row, again=True)
    say(
        f"{package} {name}: {100 * accuracy:.2f} % of {len(labels)} test samples, {row['weights_bytes'] / 1e6:.2f} MB"
    )
    return folder


def test_set(name: str, data: Path | None) -> tuple[Any, np.ndarray]:
    """Return all test samples of a data set, as `predict` takes them, and their labels."""
    if name == "spoken-digits":
        if data is None:
            raise UserError("the spoken digits are not published in this form; give their folder with --data")
        part = load_recordings(data).test
        return part, part.labels
    test = load_images(name).test
    return test.images, test.labels


def sample_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the committed sample of a data set, as `predict` takes it, and its labels.

    The spoken digits are stored as the network sees them, 0 and 1 (sample, step, channel): 256 channels, 5 ms.
    """
    with np.load(SAMPLES / f"{name}.npz", allow_pickle=False) as file:
        if "spikes" in file.files:
            shape = tuple(int(size) for size in file["shape"])
            bits = np.unpackbits(file["spikes"], count=int(np.prod(shape)))
            return bits.reshape(shape), file["labels"]
        return file["images"], file["labels"]


def write_samples(data: Path | None) -> list[Path]:
    """Write the first test images of MNIST and, with `data`, spoken digits spread over their test set."""
    SAMPLES.mkdir(parents=True, exist_ok=True)
    test = load_images("mnist").test
    files = [_write("mnist", images=test.images[:IMAGES], labels=test.labels[:IMAGES])]
    if data is not None:
        import denram

        events = denram.load_data(data, denram.TrainConfig(n_in=256).binning, channels=700).test
        index = np.linspace(0, len(events) - 1, RECORDINGS).round().astype(np.int64)
        dense = events.events.take(index).dense().transpose(1, 0, 2).astype(np.uint8)
        files.append(
            _write(
                "spoken-digits",
                spikes=np.packbits(dense),
                shape=np.array(dense.shape),
                labels=np.asarray(events.labels)[index],
            )
        )
    return files


def seconds_of(summary: Mapping[str, Any], run: Path) -> float:
    """Return how long a run trained, wherever its package stores that."""
    if "networks" in summary:
        return float(summary["networks"][0]["seconds"])
    if "seconds" in summary:
        return float(summary["seconds"])
    return float(json.loads((run / "timing.json").read_text("utf-8"))["seconds"])


def threads_of(summary: Mapping[str, Any]) -> int:
    """Return how many threads a run used; packages that do not record it use one by default."""
    return int((summary["networks"][0] if "networks" in summary else summary).get("threads", 1))


def _write(name: str, **arrays: np.ndarray) -> Path:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return write_file(SAMPLES / f"{name}.npz", buffer.getvalue())


def _owner(run: Path) -> str:
    """Name the package of a run directory."""
    if not (run / CONFIG).is_file():
        raise UserError(f"{run} contains no run; give the folder that `X train` wrote")
    config, options = (
        json.loads((run / name).read_text("utf-8")) if (run / name).is_file() else {}
        for name in (CONFIG, OPTIONS)
    )
    return owner_of(config, options)


if __name__ == "__main__":
    sys.exit(guarded_run(lambda: main(sys.argv[1:])))
