"""The lines that training prints, in the original's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from denram.data.loading import DataSet
    from denram.training.runs import Run

EPOCH_HEADER = (
    "epoch  | mean_train_loss | mean_train_acc  | mean_val_acc    | mean_test_acc   | epoch_duration (s)"
)


def opening(config: Mapping[str, Any], path: Path, delays: np.ndarray) -> list[str]:
    """The network and the data to be trained."""
    mean = float(np.mean(delays))
    return [
        f"data {config['data']}, profile {config['profile']}, engine {config['engine']}, run {path}",
        f"{config['n_in']} inputs x {config['n_delays']} delays -> {config['n_out']} outputs, "
        f"tau_mem {config['tau_mem']:g} s, seed {config['seed']}",
        f"delays: mean {mean:.2f} timesteps ({mean * config['dt'] * 1000:.0f} ms)",
        f"Training with noise: {config['noise_std']}",
    ]


def kept(data: DataSet, delays: np.ndarray, max_delay: int) -> str:
    """One line on what is left of the spikes after binning, and of the delays after clipping."""
    parts = (data.train, data.test)
    live = np.any([np.any(np.diff(part.events.starts, axis=1), axis=0) for part in parts], axis=0)
    fire = f"{np.count_nonzero(live)} of {len(live)} channels ever fire"
    recorded, used = sum(part.n_recorded for part in parts), sum(part.n_kept for part in parts)
    longest = f"{np.mean(delays >= max_delay):.1%} of the delays are at the longest, {max_delay} timesteps"
    return f"kept {used} of {recorded} spikes, {fire}, {longest}" if recorded else f"{fire}, {longest}"


def epoch_line(record: Mapping[str, Any], duration: float) -> str:
    """One line for an epoch; the test accuracy is blank if not measured."""
    tested = "" if record["test_acc"] is None else f"{record['test_acc']:.4f}"
    return (
        f"{record['epoch']:<6} | {record['train_loss']:<15.4f} | {record['train_acc']:<15.4f} | "
        f"{record['val_acc']:<15.4f} | {tested:<15} | {duration:.2f}"
    )


def final_table(summary: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The best epoch and its test accuracy."""
    lines = [
        "",
        "epoch  | best_val_train_acc | best_val_acc    | best_val_test_acc",
        f"{summary['best_epoch']:<6} | {summary['train_acc']:<18.4f} | {summary['val_acc']:<15.4f} | "
        f"{summary['test_acc']:.4f}",
    ]
    if config["profile"] == "fixed" and config["noise_std"] > 0:
        lines.append(
            f"test accuracy over {summary['test_draws']} devices: 5 % {summary['test_acc_p5']:.4f}, "
            f"95 % {summary['test_acc_p95']:.4f}"
        )
    return lines


def describe_run(run: Run) -> list[str]:
    """Configuration, state and numbers of a run, one per line; the network last."""
    if run.config.layers > 1:
        return [*run.stored.describe(), "", *_describe_layers(run)]
    facts = {
        "weights": f"{run.weights.shape[0]} x {run.weights.shape[1]} ({run.weights.size} parameters), "
        f"largest |w| {np.abs(run.weights).max():.4g}",
        "delays": f"mean {run.delays.mean():.2f}, std {run.delays.std():.2f}, "
        f"{run.delays.min():.0f} to {run.delays.max():.0f} timesteps",
        "epochs": f"{len(run.stored.records)} of at most {run.config.nb_epochs}",
    }
    return [*run.stored.describe(), "", *(f"{name:24s} {value}" for name, value in facts.items())]


def _describe_layers(run: Run) -> list[str]:
    """A line for each array of a network of several layers."""
    lines = []
    for name, array in sorted({**run.weights, **run.delays}.items()):
        about = f"largest |w| {np.abs(array).max():.4g}"
        if name in run.delays:
            about = f"mean {array.mean():.2f}, std {array.std():.2f}, {array.min():.0f} to {array.max():.0f} timesteps"
        lines.append(f"{name:24s} {array.shape[0]} x {array.shape[1]}, {about}")
    return [*lines, f"{'epochs':24s} {len(run.stored.records)} of at most {run.config.nb_epochs}"]
