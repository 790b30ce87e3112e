"""Every option of every command has an effect, is refused, or is listed with a reason (digits, the smallest size)."""

import inspect
import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from dalton import TrainConfig, cli
from dalton.reproduce import plan
from reprokit import Checkpoints
from reprokit.run.study import ReproduceOptions

BASE = [
    "--dataset", "digits", "--arch", "small_runs:TINY", "--epochs", "2", "--steps", "6", "--train-size", "30",
    "--test-size", "20", "--batch-size", "10", "--threads", "1", "--engine", "torch",
]  # fmt: skip
ONLINE = ["--setting", "online"]
# option: words that change it, after words that both runs have (so that it can act at all)
TRAIN: dict[str, tuple[list[str], list[str]]] = {
    "method": ([], ["tfr"]),
    "setting": ([], ["online"]),
    "profile": ([], ["faithful"]),
    "seed": ([], ["1"]),
    "dataset": ([], ["digits-events"]),
    "steps": ([], ["7"]),
    "test_steps": ([], ["7"]),
    "time_window": ([], ["500"]),
    "augment": ([], []),
    "validation": ([], ["0.3"]),
    "train_size": ([], ["25"]),
    "test_size": ([], ["15"]),
    "subset": ([], ["SUBSET"]),
    "shuffle": ([], []),
    "reader": ([], ["tonic"]),
    "cache_dir": ([], ["CACHE"]),
    "sensor": ([], ["40", "40"]),
    "time_unit": ([], ["ms"]),
    "denoise_us": ([], ["0"]),
    "spatial_factor": ([], ["0.5"]),
    "allow_loss": ([], []),
    "arch": ([], ["small_runs:DROPPED"]),
    "downsample": (["--arch", "A1"], ["maxpool"]),
    "threshold": ([], ["0.8"]),
    "surrogate_scale": ([], ["9"]),
    "reset": ([], ["soft"]),
    "readout_init": ([], ["normal"]),
    "weight_scale": ([], ["1"]),
    "convolution": ([], ["bf16"]),
    "init_weights": ([], ["WEIGHTS"]),
    "loss": (["--method", "tfr"], ["ce"]),
    "lr": ([], ["3e-3"]),
    "lr_decay": (["--lr-decay-epochs", "1"], ["0.1"]),
    "lr_decay_epochs": ([], ["1"]),
    "reset_optimizer_each_epoch": ([], ["True"]),
    "burn_in": (ONLINE, ["3"]),
    "transfer_masks": ([], []),
    "epochs": ([], ["1"]),
    "batch_size": ([], ["15"]),
    "engine": ([], ["native"]),
    "dtype": ([], ["float64"]),
    "checkpoint_epochs": ([], ["2"]),
    "checkpoint_batches": ([], ["1"]),
    "dumps": ([], []),
    "tau_cur": ([], ["none"]),
    "gain": ([], ["1"]),
    "bias": ([], ["0.1"]),
}
REASONS = {
    "out": "it is where the run lies: test_resume_and_force",
    "threads": "speed alone; results do not depend on it",
    "rule_source": "set by itself: test_own_rules",
    "device": "speed alone, and which GPU: test_gpu",
    "cache_dir": "where prepared recordings and images of folders are kept; digits need none: test_cache",
    "resume": "test_resume_and_force",
    "force": "test_resume_and_force",
}
REFUSED = {
    "time_window",
    "sensor",
    "time_unit",
    "denoise_us",
    "spatial_factor",
    "allow_loss",
    "reader",
}  # of digits
CLOCK = ("seconds", "peak_memory_mb")


def run(*words: object) -> int:
    return cli.main([str(word) for word in words])


def left(path: Path) -> dict[str, object]:
    """What a run left besides config.json and options.json: files, numbers, weights."""
    found: dict[str, object] = {
        "files": sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())
    }
    found["log"] = [
        {k: v for k, v in json.loads(line).items() if k not in CLOCK}
        for line in (path / "metrics.jsonl").read_text().splitlines()
    ]
    summary = json.loads((path / "summary.json").read_text())
    found["summary"] = {k: v for k, v in summary.items() if k not in CLOCK}
    newest = Checkpoints(path / "checkpoints").load_latest()
    assert newest is not None
    found["weights"] = {name: array.tobytes() for name, array in newest.arrays.items()}
    return found


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    """The runs that others are compared with, by the words added to BASE."""
    folder = tmp_path_factory.mktemp("bases")
    made: dict[tuple[str, ...], dict[str, object]] = {}

    def base(words: list[str]) -> dict[str, object]:
        if tuple(words) not in made:
            path = folder / str(len(made))
            assert run("train", *BASE, *words, "--out", path) == 0
            made[tuple(words)] = left(path)
        return made[tuple(words)]

    return base


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    assert run("train", *BASE, "--validation", "0.5", "--lr", "0.02", "--out", path) == 0
    return path


def test_the_table_has_every_option_of_train():
    names = {field.name for field in fields(TrainConfig)}
    names |= set(inspect.signature(cli.train).parameters) - {"config"}
    assert names == set(TRAIN) | set(REASONS)


@pytest.mark.parametrize("option", TRAIN)
def test_every_option_of_train_acts_or_is_refused(option, bases, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    before, value = TRAIN[option]
    if value == ["SUBSET"]:
        value = [str(tmp_path / "subset.json")]
        Path(value[0]).write_text(json.dumps({"train": list(range(100, 200))}))
    elif value == ["WEIGHTS"]:
        value = [str(tmp_path / "weights.npz")]
        assert run("export", trained, "--to", "npz", "--out", value[0]) == 0
    elif value == ["CACHE"]:
        value = [str(tmp_path / "own")]
    expected = bases(before)
    flag = f"--{option.replace('_', '-')}" if option != "shuffle" else "--no-shuffle"
    capsys.readouterr()
    code = run("train", *BASE, *before, flag, *value, "--out", tmp_path / "run")
    if option in REFUSED:
        assert code == 2
        assert option in capsys.readouterr().err.replace("-", "_")
        assert not (tmp_path / "run").exists()
        return
    assert code == 0, capsys.readouterr().err
    if option in REASONS:
        return
    assert left(tmp_path / "run") != expected, f"{flag} changes nothing but config.json"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--burn-in", "2"], "--burn-in is 2, which acts in online and rtrl only"),
        (["--method", "tfr", "--transfer-masks"], "--transfer-masks acts in --method dalton only"),
        (
            ["--lr-decay", "0.1", "--lr-decay-epochs", "0"],
            "--lr-decay is 0.1, but --lr-decay-epochs 0 never decays",
        ),
        (["--downsample", "stride"], "your own Architecture decides how it pools"),
        (["--augment", "--dataset", "digits-events"], "augment is for images"),
        (["--method", "DALTON_RTRL_SCNN", "--setting", "rtrl"], "implies the setting online"),
    ],
)
def test_options_that_could_not_act_are_refused(words, message, tmp_path, capsys):
    assert run("train", *BASE, *words, "--out", tmp_path / "run") == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


EVALUATE = {
    "data": ["--data", "IMAGES"],
    "split": ["--split", "train"],
    "which": ["--which", "last"],
    "out": ["--out", "FILE"],
}
EVALUATE_REASONS = {
    "runs": "what is evaluated",
    "engine": "who computes; the numbers are the same",
    "device": "as of train",
    "threads": "as of train",
}


@pytest.mark.parametrize("option", EVALUATE)
def test_every_option_of_evaluate_acts(option, trained, tmp_path, capsys):
    assert set(inspect.signature(cli.evaluate).parameters) == set(EVALUATE) | set(EVALUATE_REASONS)
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (200, 8, 8), np.uint8), np.arange(200) % 10
    np.savez(tmp_path / "IMAGES.npz", x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    places = {"IMAGES": str(tmp_path / "IMAGES.npz"), "FILE": str(tmp_path / "table.csv")}
    capsys.readouterr()
    assert run("evaluate", trained) == 0
    expected = capsys.readouterr().out
    assert run("evaluate", trained, *(places.get(word, word) for word in EVALUATE[option])) == 0
    assert capsys.readouterr().out != expected or Path(places["FILE"]).exists()


def test_every_option_of_export_and_plot_acts(trained, tmp_path, capsys):
    assert set(inspect.signature(cli.export).parameters) == {"run", "to", "out", "which", "reader", "dt"}
    assert set(inspect.signature(cli.plot).parameters) == {"runs", "out", "which", "format"}
    contents = {}
    words = {"npz": [], "last": ["--which", "last"], "original": ["--to", "original"]}
    for name, more in words.items():
        assert run("export", trained, "--to", "npz", "--out", tmp_path / name, *more) == 0
        contents[name] = (tmp_path / name).read_bytes()
    assert len(set(contents.values())) == len(words)  # readers and dt: test_nir
    pytest.importorskip("matplotlib")
    for name, more in {"a": [], "b": ["--which", "last"], "c": ["--format", "svg"]}.items():
        assert run("plot", trained, "--out", tmp_path / name, *more) == 0
    files = {name: {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in "abc"}
    assert files["a"].keys() == files["b"].keys() != files["c"].keys()
    assert files["a"] != files["b"]


def captured(monkeypatch, target, name, *words):
    """What a command passes to the function that does its work."""
    seen = []

    def take(*given, **named):
        seen.append(repr((given, named)))
        raise ZeroDivisionError

    monkeypatch.setattr(target, name, take)
    with pytest.raises(ZeroDivisionError):
        cli.app.dispatch(cli.original_words([str(word) for word in words]))
    return seen[0]


def test_every_option_of_sweep_reaches_its_runs(monkeypatch, trained, tmp_path):
    """They are those of train, whose effect is tested above, and the lists."""
    import dalton.reproduce.sweep as sweep

    subset, weights = tmp_path / "subset.json", tmp_path / "weights.npz"
    subset.write_text("{}")
    weights.write_bytes(b"")
    places = {"SUBSET": subset, "WEIGHTS": weights, "CACHE": tmp_path}
    lists = {
        "tau_cur": ["2e-3"], "gain": ["3"], "bias": ["1"], "methods": ["tfr"], "seeds": ["3", "4"], "jobs": ["2"],
        "out": [tmp_path / "sweep"], "threads": ["3"], "device": ["cpu"], "only": ["x"], "skip": ["x"],
        "scheduler": ["dask"], "scheduler_config": ["x.yaml"], "retries": ["4"], "dry_run": [],
    }  # fmt: skip
    start = captured(monkeypatch, sweep, "run_tasks", "sweep", *BASE)
    for field in fields(cli.SweepOptions):
        before, value = TRAIN.get(field.name, ([], []))
        value = lists.get(field.name, [places.get(word, word) for word in value])
        flag = f"--{field.name.replace('_', '-')}" if field.name != "shuffle" else "--no-shuffle"
        expected = captured(monkeypatch, sweep, "run_tasks", "sweep", *BASE, *before) if before else start
        found = captured(monkeypatch, sweep, "run_tasks", "sweep", *BASE, *before, flag, *value)
        assert found != expected, flag


def test_every_option_of_reproduce_reaches_the_study(monkeypatch, tmp_path):
    for name in ("mnist_subset.json", "mnist_a1_init.npz"):
        (tmp_path / name).write_text("{}")
    values = {
        "scale": ["paper"], "only": ["study"], "again": ["study"], "data": [tmp_path], "jobs": ["2"], "threads": ["2"],
        "seeds": ["3"], "out": [tmp_path / "out"], "golden": [tmp_path], "skip": ["mnist"], "scheduler": ["slurm"],
        "scheduler_config": ["x.yaml"], "retries": ["3"], "dry_run": [],
    }  # fmt: skip
    options = {field.name for field in fields(ReproduceOptions)}
    assert options | set(inspect.signature(cli.reproduce).parameters) - {"options"} == set(values)
    monkeypatch.chdir(tmp_path)
    for name, value in values.items():
        before = {"golden": ["--scale", "paper"], "scheduler_config": ["--scheduler", "dask"]}.get(name, [])
        expected = captured(monkeypatch, plan.study, "reproduce", "reproduce", *before)
        flag = f"--{name.replace('_', '-')}"
        found = captured(monkeypatch, plan.study, "reproduce", "reproduce", *before, flag, *value)
        assert found != expected, name
