"""Run directories and ledger rows: where a run is kept, how it is opened again, what is recorded and reported of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from reprokit import Checkpoint, Checkpoints, Ledger, UserError, read_config, run_id, standard_row

from dalton.config import OPTION_NAMES, TrainConfig
from dalton.data.samples import Splits
from dalton.engines.choice import engine_for
from dalton.model.network import SpikingCNN

OPTIONS = (
    "options.json"  # the options as given, paths included; config.json holds what determines the numbers
)
BEST, LATEST = "best", "checkpoints"
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
    """Folder of a run: the given one, or one named by its options and the hash of all of them.

    The original gives different runs (A4 and A5, pooled and strided, other batch sizes) one folder (DEV-25).
    """
    if config.out is not None:
        return Path(config.out)
    content = config.content()
    arch = config.arch.rpartition(":")[2]
    data = Path(content["dataset"]).stem
    name = f"{data}-{arch}-{config.method}-{config.setting}-seed{config.seed}-{run_id(content)}"
    return root / name


def write_options(path: Path, config: TrainConfig) -> None:
    """Keep the options as given beside the run, for ``dalton evaluate`` and its like."""
    values = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()}
    text = json.dumps(values, indent=2, sort_keys=True) + "\n"
    temporary = path / f".{OPTIONS}.part"
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path / OPTIONS)


def config_of(values: Mapping[str, Any], **changes: Any) -> TrainConfig:
    """Rebuild a configuration from its options as JSON holds them.

    Raises:
        UserError: An option is unknown here.
    """
    given = {**values, **changes}
    unknown = sorted(set(given) - set(OPTION_NAMES))
    if unknown:
        raise UserError(f"options {', '.join(unknown)} are unknown; the run was made by another version.")
    for name in ("subset", "init_weights", "cache_dir", "out"):
        if given.get(name) is not None:
            given[name] = Path(given[name])
    return TrainConfig(**given)


@dataclass(frozen=True)
class OpenedRun:
    """A run directory read back.

    Attributes:
        path: The folder.
        config: Its options.
        records: One record an epoch.
        summary: What a finished run left, else None.
    """

    path: Path
    config: TrainConfig
    records: list[dict[str, Any]]
    summary: dict[str, Any] | None

    def weights(self, which: str = "best") -> Checkpoint:
        """Return the checkpoint of the ``best`` or the ``last`` epoch.

        Raises:
            UserError: There is none yet, or ``which`` is something else.
        """
        if which not in ("best", "last"):
            raise UserError(f"which is {which!r}; it must be best or last.")
        folder = self.path / (BEST if which == "best" else LATEST)
        found = Checkpoints(folder).load_latest() if folder.is_dir() else None
        if found is None:
            raise UserError(f"{self.path} has no checkpoint yet; let `dalton train` finish an epoch.")
        return found


def open_run(path: str | Path) -> OpenedRun:
    """Open a run directory for reading.

    Raises:
        UserError: It holds no run of this package.
    """
    folder = Path(path)
    options = folder / OPTIONS
    if read_config(folder) is None or not options.is_file():
        raise UserError(
            f"{folder} is no run directory of dalton; give the folder that `dalton train` reported."
        )
    log, summary = folder / "metrics.jsonl", folder / "summary.json"
    text = log.read_text(encoding="utf-8") if log.exists() else ""
    records = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    found = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else None
    # the folder may have been moved since
    config = config_of(json.loads(options.read_text(encoding="utf-8")), out=folder)
    return OpenedRun(folder, config, records, found)


def open_ledger(path: str | Path) -> Ledger:
    """Open a results ledger of this package."""
    return Ledger.for_results(path, METRICS)


def ledger_row(
    config: TrainConfig, summary: Mapping[str, Any], identity: Mapping[str, Any], *, claim: str, scale: str
) -> dict[str, Any]:
    """Ledger row of a finished run.

    Args:
        config: Its options.
        summary: What the run left.
        identity: Configuration that the row's run id is made of: the run's content and more.
        claim: Experiment it belongs to.
        scale: ``paper``, ``reduced`` or ``smoke``.
    """
    row = standard_row(
        identity, package="dalton", claim=claim, dataset=summary["dataset"], scale=scale, seed=config.seed,
        seconds=summary["seconds"], threads=summary["threads"], device=summary["device"],
        packages=("dalton", "torch", "numpy"),
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
    """Figures of the last epoch, the selected epoch, sizes, and where the run took place.

    Args:
        config: Options.
        data: Data set.
        net: Network.
        records: One an epoch.
        epochs: Epochs done.
        best: Accuracy and number of the selected epoch; None before the first.
        seconds: Wall time, of all resumed parts together.
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
