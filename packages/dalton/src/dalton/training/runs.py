"""Run directories and ledger rows: where a run is stored, how it is opened again, what it records and reports."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from reprokit import Checkpoint, DataIdentity, Ledger, StoredRun, UserError, read_run, run_id, standard_row
from reprokit.config import rebuild
from reprokit.files.reading import guarded

from dalton.config import BY_CONTENT, TrainConfig
from dalton.data.samples import Splits
from dalton.engines.choice import engine_for
from dalton.formats.dumps import NAMES as DUMP_NAMES
from dalton.model.network import SpikingCNN

PACKAGE = "dalton"
CLASSES = "classes.json"  # names of the classes, for evaluation on other data
BEST = "best"  # folder of the selected epoch's weights
FILES = tuple(
    name.format("*") for name in DUMP_NAMES.values()
)  # files that a run writes in addition to reprokit's
_SHARE = float | None
# What reports and figures use from a record of the log, and from a summary.
_RECORD: dict[str, Any] = {
    "epoch": int, "train_loss": float, "layer_losses": dict, "train_accuracy": float, "train_accuracy_leaks": bool,
    "validation_accuracy": _SHARE, "test_accuracy": float, "firing_rates": dict, "batch_losses": list,
    "seconds": float, "peak_memory_mb": float,
}  # fmt: skip
_SUMMARY: dict[str, Any] = {
    "dataset": str, "network": str, "method": str, "setting": str, "steps": int, "burn_in": int, "epochs": int,
    "train_samples": int, "validation_samples": int, "test_samples": int, "train_accuracy_leaks": bool | None,
    "train_accuracy": _SHARE, "validation_accuracy": _SHARE, "test_accuracy": _SHARE, "train_loss": _SHARE,
    "selected_epoch": int, "selected_by": str, "selected_test_accuracy": _SHARE, "firing_rates": dict | None,
    "seconds": float, "peak_memory_mb": _SHARE, "device": str, "engine": str, "threads": int,
}  # fmt: skip
METRICS: dict[str, type] = {
    "method": str,
    "setting": str,
    "profile": str,
    "arch": str,
    "downsample": str,
    "loss": str,
    "tau_cur": float,
    "gain": float,
    "bias": float,
    "steps": int,
    "burn_in": int,
    "batch_size": int,
    "epochs": int,
    "train_samples": int,
    "validation_samples": int,
    "test_samples": int,
    "train_accuracy": float,
    "validation_accuracy": float,
    "test_accuracy": float,
    "selected_epoch": int,
    "selected_test_accuracy": float,
    "train_loss": float,
    "engine": str,
}
_FROM_SUMMARY = (
    "steps", "burn_in", "epochs", "train_samples", "validation_samples", "test_samples", "train_accuracy",
    "validation_accuracy", "test_accuracy", "selected_epoch", "selected_test_accuracy", "train_loss", "engine",
)  # fmt: skip
_FROM_CONFIG = (
    "method", "setting", "profile", "arch", "downsample", "loss", "tau_cur", "gain", "bias", "batch_size",
)  # fmt: skip


def run_directory(config: TrainConfig, root: Path = Path("runs")) -> Path:
    """Folder of a run: the given one, or one named after its options and the hash of all of them.

    The original uses one folder for different runs (A4 and A5, pooled and strided, other batch sizes; DEV-25).
    """
    if config.out is not None:
        return Path(config.out)
    content = config.content()
    arch = config.arch.rpartition(":")[2]
    data = Path(content["dataset"]).stem
    method = config.method.rpartition(":")[2]
    name = f"{data}-{arch}-{method}-{config.setting}-seed{config.seed}-{run_id(content)}"
    return root / name


def all_options(config: TrainConfig) -> dict[str, Any]:
    """All options of a run, paths included: ``options.json``; ``config.json`` has those that set the numbers."""
    return {"package": PACKAGE, **asdict(config)}


@dataclass(frozen=True)
class OpenedRun:
    """A run directory read back.

    Attributes:
        stored: Its content; `stored.records` has one record per epoch.
        config: Its options; `out` is the folder's present location.
    """

    stored: StoredRun
    config: TrainConfig

    def weights(self, which: Literal["best", "last"] = "best") -> Checkpoint:
        """Return the checkpoint of the ``best`` or the ``last`` epoch.

        Raises:
            UserError: There is none yet, it is damaged, or ``which`` is not a valid choice.
        """
        return self.stored.checkpoint(which)


def open_run(path: str | Path) -> OpenedRun:
    """Open a run directory for reading; nothing is written.

    Raises:
        UserError: It does not contain a run of this package, or contains a damaged file, which is named.
    """
    stored = stored_run(path)
    source = stored.path / ("options.json" if stored.options else "config.json")
    return OpenedRun(
        stored, rebuild(TrainConfig, stored.options or stored.config, str(source), out=stored.path)
    )


def check_classes(stored: StoredRun, data: Splits) -> None:
    """Refuse data whose classes differ from those that a run's network was trained for.

    Raises:
        UserError: Different names, or a different order; runs of older versions recorded no names.
    """
    if not (stored.path / CLASSES).exists():
        return
    with guarded(stored.path / CLASSES, "the record of a run's classes", "restore it or train again"):
        there = [str(name) for name in json.loads((stored.path / CLASSES).read_text("utf-8"))]
    if tuple(there) != tuple(data.class_names):
        raise UserError(
            f"{stored.path} was trained for the classes {', '.join(there[:8])}, but {data.name} has "
            f"{', '.join(data.class_names[:8])}; give data with the same classes, each of them in the training set."
        )


def stored_run(path: str | Path) -> StoredRun:
    """Read a run directory whose options may no longer be usable here; its log and summary are checked.

    Raises:
        UserError: As :func:`open_run`.
    """
    stored = read_run(path, package=PACKAGE)
    for name, value in stored.config.items() if stored.options else ():
        if name not in stored.options or (name not in BY_CONTENT and value != stored.options[name]):
            raise UserError(
                f"{stored.path / 'config.json'} and options.json disagree about {name}; restore them or train again."
            )
    log = stored.path / "metrics.jsonl"
    for number, record in enumerate(stored.records, start=1):
        _check(record, _RECORD, f"{log} line {number}")
    if stored.summary is not None:
        _check(stored.summary, _SUMMARY, str(stored.path / "summary.json"))
        if len(stored.records) != stored.summary["epochs"]:
            raise UserError(
                f"{log} is damaged ({len(stored.records)} records of {stored.summary['epochs']} epochs); restore it or "
                "train again."
            )
    return stored


def _check(values: Mapping[str, Any], kinds: Mapping[str, Any], source: str) -> None:
    """Refuse a record or summary that lacks values that reports and figures show."""
    for name, kind in kinds.items():
        value = values.get(name)
        fine = name in values and isinstance(value, kind)
        if kind is dict and fine:
            fine = all(isinstance(number, float) for number in values[name].values())
        if not fine:
            raise UserError(f"{source} is damaged ({name} is {value!r}); restore it or train again.")


def open_ledger(path: str | Path) -> Ledger:
    """Open a results ledger of this package."""
    return Ledger.for_results(path, METRICS)


def ledger_row(
    config: TrainConfig,
    summary: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    claim: str,
    scale: str,
    data: DataIdentity | None = None,
) -> dict[str, Any]:
    """Ledger row of a finished run.

    Args:
        config: Its options.
        summary: The run's summary.
        identity: Configuration from which the row's run id is computed: the run's content and more.
        claim: Experiment it belongs to.
        scale: ``paper``, ``reduced`` or ``smoke``.
        data: The run's record of its data set; without it, no row counts as the paper's scale.
    """
    row = standard_row(
        identity, package=PACKAGE, claim=claim, dataset=summary["dataset"], scale=scale, seed=config.seed,
        seconds=summary["seconds"], threads=summary["threads"], device=summary["device"],
        packages=("dalton", "torch", "numpy"), data=data,
    )  # fmt: skip
    own = {name: getattr(config, name) for name in _FROM_CONFIG}
    return row | own | {name: summary[name] for name in _FROM_SUMMARY}


Record = dict[str, Any]
_LAST = (
    "train_loss", "layer_losses", "train_accuracy", "train_accuracy_leaks", "validation_accuracy", "test_accuracy",
    "firing_rates", "peak_memory_mb",
)  # fmt: skip


def summarise(
    config: TrainConfig,
    data: Splits,
    net: SpikingCNN,
    records: Sequence[Record],
    epochs: int,
    best: tuple[float, int] | None,
    seconds: float,
) -> Record:
    """Results of the last epoch and the selected epoch, sizes, and where the run took place.

    Args:
        config: Options.
        data: Data set.
        net: Network.
        records: One per epoch.
        epochs: Finished epochs.
        best: Accuracy and number of the selected epoch; None before the first.
        seconds: Wall time, summed over all resumed parts.
    """
    epoch = 0 if best is None else best[1]
    chosen: Record = next((record for record in records if record["epoch"] == epoch), {})
    last: Record = records[-1] if records else {}
    device = net.device
    return {
        **{name: last.get(name) for name in _LAST},
        "epochs": epochs,
        "selected_epoch": epoch,
        "selected_by": "test" if data.validation is None else "validation",
        "selected_test_accuracy": chosen.get("test_accuracy"),
        "method": config.method,
        "setting": config.setting,
        "network": f"{net.arch.name}, {sum(p.numel() for p in net.parameters())} weights",
        "dataset": data.name,
        "train_samples": len(data.train),
        "validation_samples": 0 if data.validation is None else len(data.validation),
        "test_samples": len(data.test),
        "steps": data.train.steps,
        "burn_in": config.resolved_burn_in(data.train.steps),
        "engine": engine_for(config.engine_name, net).name,
        "seconds": seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
    }
