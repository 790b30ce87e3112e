"""The run ids that each package gives to its presets and to all it would run for `reproduce`, by a label.

One function for each package, the only place here that imports it. Data sets are the defaults of each scale; data
that are not available are named, never read.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from reprokit import run_id

SCALES = ("smoke", "reduced", "paper")


class Ids(dict[str, str]):
    """Run ids by label; a label never belongs to two runs."""

    def __setitem__(self, label: str, value: str) -> None:
        assert self.get(label, value) == value, f"label {label!r} stands for two runs"
        super().__setitem__(label, value)


def sbs(_: Path) -> Ids:
    """Presets under both profiles; every training and every point of its curve at each scale."""
    from reprokit.run.study import ReproduceOptions
    from sbs.config import with_profile
    from sbs.presets import PRESETS, preset
    from sbs.reproduce.plan import SPIKE_COUNTS, identity, plan, tasks

    ids = Ids()
    for name in PRESETS:
        for profile in ("fixed", "faithful"):
            config = with_profile(replace(preset(name), profile=profile))
            ids[f"preset {name}, {profile}"] = run_id(config.content())
    for scale in SCALES:
        for job in plan(scale):
            counts = {job.config.network.number_of_spikes, *(SPIKE_COUNTS[scale] if job.curve else ())}
            for count in sorted(counts):
                ids[f"{scale} {job.claim}, {count} spikes"] = run_id(identity(job.config, count))
        for task in tasks(ReproduceOptions(scale=scale)):
            for case, row in zip(task.config.get("cases", ()), task.rows, strict=False):
                ids[f"{scale} {task.claim}, {' '.join(map(str, case))}"] = row
            if "factor" in task.config:
                for count, row in zip(task.config["counts"], task.rows, strict=True):
                    ids[f"{scale} {task.claim}, {count} spikes"] = row
    return ids


def dalton(folder: Path) -> Ids:
    """Defaults of every method; every task at each scale, as a ledger row and as a run directory."""
    from dalton.config import TrainConfig
    from dalton.reproduce.plan import EXTRA, PARTS, wanted

    ids = Ids()
    for profile in ("fixed", "faithful"):
        for method, setting in (
            ("surrgd", "bptt"),
            *((name, setting) for name in ("tfr", "dalton") for setting in ("bptt", "online", "rtrl")),
        ):
            config = TrainConfig(method=method, setting=setting, profile=profile)
            ids[f"default {method} {setting}, {profile}"] = run_id(config.content())
    for scale in SCALES:
        for task in wanted(scale, (*PARTS, *EXTRA), runs=folder):
            label = f"{scale} {task.label}, {task.scale}"
            ids[label] = run_id(task.identity)
            ids[f"{label}, run directory"] = run_id(task.config.content())
    return ids


def bdfa(_: Path) -> Ids:
    """Presets; every network at each scale; the groups trained together, which name run directories; `table`."""
    from bdfa.cli import TableOptions
    from bdfa.config import TrainConfig
    from bdfa.presets import PRESETS, preset
    from bdfa.reproduce.groups import grid
    from bdfa.reproduce.plan import wanted

    ids = Ids({f"preset {name}": run_id(preset(name).content()) for name in PRESETS})
    options = TableOptions()
    groups = [(scale, group) for scale in SCALES for group in wanted(scale)]
    table = grid(TrainConfig(), options.rules, options.nets, options.seeds, "table", "reduced")
    groups += [("command table", group) for group in table]
    for scale, group in groups:
        for config in group.configs:
            label = f"{scale} {group.claim} {config.rule} {config.model} {config.hidden} seed {config.seed}"
            ids[label] = run_id(config.content())
        together = {"together": [config.content() for config in group.configs]}
        ids[f"{label}, group"] = run_id(together)
    return ids


def nalsm(_: Path) -> Ids:
    """Defaults of every model; every experiment at each scale, as a ledger row and as a run directory."""
    from nalsm.config import MODELS, Config
    from nalsm.reproduce.plan import _identity, _label, experiments

    ids = Ids()
    for model in MODELS:
        for profile in ("fixed", "faithful"):
            ids[f"default {model}, {profile}"] = run_id(Config(model=model, profile=profile).content())
    for scale in SCALES:
        for experiment in experiments(scale, "digits" if scale == "smoke" else "mnist"):
            label = f"{scale} {experiment.name}: {_label(experiment)}"
            ids[label] = run_id(_identity(experiment, scale))
            ids[f"{label}, run directory"] = run_id(experiment.config.content())
    return ids


def denram(_: Path) -> Ids:
    """Defaults; the grid of figure 4d at each scale, by both profiles and engines."""
    from denram import TrainConfig, load_data
    from denram.engines import native
    from denram.reproduce.plan import grid
    from denram.training.loop import identity

    assert native.available(), "the ids of engine events need the compiled library"
    toy = load_data("spoken-toy", TrainConfig(n_in=64).binning)
    data = {
        "smoke": replace(toy, fingerprint="0" * 16),
        "paper": replace(toy, name="shd", classes=20, fingerprint="0" * 16),
    }
    data["reduced"] = data["paper"]
    ids = Ids()
    for profile in ("fixed", "faithful"):
        for engine in ("fft", "events"):
            for name in ("smoke", "paper"):
                config = TrainConfig(profile=profile, engine=engine)
                ids[f"default {data[name].name}, {profile}, {engine}"] = run_id(identity(config, data[name]))
            for scale in SCALES:
                for network, config in grid(scale, profile, engine):
                    label = f"{scale} {network}, noise {config.noise_std:g}, seed {config.seed}, {profile}, {engine}"
                    ids[label] = run_id(identity(config, data[scale]))
    return ids


PLANNED: dict[str, Callable[[Path], Ids]] = {
    "sbs": sbs,
    "dalton": dalton,
    "bdfa": bdfa,
    "nalsm": nalsm,
    "denram": denram,
}
