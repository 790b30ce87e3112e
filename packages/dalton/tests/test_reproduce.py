"""The reproduction: what it runs at each scale, its labels, and that the study starts as the recorded runs did."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from dalton import TrainConfig, train_step, trainable
from dalton.model.build import build_network
from dalton.reproduce import plan as reproduce
from dalton.reproduce.sweep import Task
from dalton.reproduce.tau import RATES, best_rates, plot_tau, tau_lines
from dalton.training.evaluation import load_data
from dalton.training.runs import open_ledger
from reprokit import UserError
from reprokit.run.study import ReproduceOptions
from small_runs import small

SHARED = Path(__file__).parents[4] / "shared"
GOLDEN = SHARED / "golden" / "dalton"
METHODS = {("surrgd", "bptt"), ("dalton", "bptt"), ("tfr", "bptt"), ("dalton", "online"), ("tfr", "online")}


def test_the_study_is_the_recorded_setting(tmp_path):
    tasks = reproduce.wanted("paper", ("study",), runs=tmp_path)
    assert {(task.config.method, task.config.setting) for task in tasks} == METHODS
    for task in tasks:
        config = task.config
        assert (config.dataset, config.arch, config.downsample, config.batch_size) == (
            "mnist",
            "A1",
            "avgpool",
            50,
        )
        assert (config.epochs, config.steps, config.tau_cur, config.gain, config.bias) == (
            1,
            40,
            1e-3,
            2.0,
            0.0,
        )
        assert config.resolved_burn_in(40) == (10 if config.online else 0)
        assert (config.resolved_validation(), config.shuffle, config.lr) == (0.0, False, 1e-3)
        assert (task.claim, task.scale) == ("study", "paper")
        assert config.subset == tmp_path / "first-10000-1000.json"


def test_parts_and_labels(tmp_path):
    (tmp_path / "cifar10-jpeg.zip").touch()
    (tmp_path / "nmnist-small.zip").touch()
    tasks = reproduce.wanted("paper", data=tmp_path, runs=tmp_path)
    found = {(task.claim, task.scale) for task in tasks}
    assert found == {("study", "paper"), ("mnist", "paper"), ("cifar10", "reduced"), ("nmnist", "reduced")}
    mnist = [task.config for task in tasks if task.claim == "mnist"]
    assert {(c.arch, c.method, c.setting) for c in mnist} == {
        (a, *pair) for a in ("A1", "A3") for pair in METHODS
    }
    assert all(config.epochs >= 10 and config.train_size is None for config in mnist)
    assert {task.config.setting for task in tasks if task.claim == "nmnist"} == {"online"}
    assert len({task.identity["claim"] + str(task.config) for task in tasks}) == len(tasks)
    reduced = reproduce.wanted("reduced", data=tmp_path, runs=tmp_path)
    assert {task.scale for task in reduced if task.claim != "study"} == {"reduced"}
    assert {task.config.dataset for task in reproduce.wanted("smoke")} == {"digits"}
    names = {task.claim: task.config.dataset for task in reproduce.wanted("paper", runs=tmp_path)}
    assert names == {"study": "mnist", "mnist": "mnist", "cifar10": "cifar10", "nmnist": "n-mnist"}


def test_the_part_tau_is_done_only_if_named(tmp_path):
    tasks = reproduce.wanted("paper", ("tau",), runs=tmp_path)
    assert {task.claim for task in reproduce.wanted("paper", runs=tmp_path)}.isdisjoint({"tau"})
    found = {(t.config.tau_cur, t.config.method, t.config.setting, t.config.lr) for t in tasks}
    assert found == {
        (tau, method, setting, rate)
        for tau in (None, 1e-3, 5e-3, 1e-2, 2e-2)
        for method in ("dalton", "tfr")
        for setting in ("bptt", "online")
        for rate in RATES[setting]
    }
    assert len(found) == len(tasks) == 60
    assert len({task.label for task in tasks}) == 60
    for task in tasks:
        config = task.config
        chosen = json.loads(config.subset.read_text())
        assert len(chosen["train"]) * (1 - config.resolved_validation()) == 2000
        assert (len(chosen["test"]), config.epochs, task.scale) == (1000, 3, "reduced")
    with pytest.raises(UserError, match="choose one of study, mnist, cifar10, nmnist, tau"):
        reproduce.wanted("paper", ("taus",))


def row(tau, lr, validation, test, method="tfr", setting="online", claim="tau"):
    return {
        "claim": claim, "tau_cur": tau, "method": method, "setting": setting, "config": {"lr": lr},
        "validation_accuracy": validation, "test_accuracy": test,
    }  # fmt: skip


def test_rates_are_chosen_on_the_validation_part(tmp_path):
    rows = [
        row(None, 1e-3, 0.8, 0.99), row(None, 1e-4, 0.9, 0.85), row(0.005, 1e-3, 0.7, 0.6), row(0.005, 1e-4, 0.7, 0.65),
        row(0.005, 1e-4, 0.5, 0.4, method="dalton"), row(0.005, 1e-4, 1.0, 1.0, claim="study"),
    ]  # fmt: skip
    best = {(line["tau_cur"], line["method"]): line for line in best_rates(rows)}
    assert {key: (line["lr"], line["test_accuracy"], line["rates"]) for key, line in best.items()} == {
        (None, "tfr"): (1e-4, 0.85, 2), (0.005, "tfr"): (1e-3, 0.6, 2), (0.005, "dalton"): (1e-4, 0.4, 1),
    }  # fmt: skip
    assert tau_lines(rows) == [
        "| tau_cur | none | 5 ms |",
        "|---|---|---|",
        "| tfr online | 85.0 % (lr 0.0001) | 60.0 % (lr 0.001) |",
        "| dalton online | – | 40.0 % (lr 0.0001) |",
    ]
    files = plot_tau(rows, tmp_path / "tau")
    assert [file.suffix for file in files] == [".png", ".pdf", ".svg", ".csv"]
    lines = (tmp_path / "tau.csv").read_text().splitlines()
    assert len(lines) == 1 + 5
    assert sum(line.endswith("True") for line in lines) == 3
    assert plot_tau([], tmp_path / "none") == []


@pytest.mark.filterwarnings("ignore:--lr is 0.001 for dalton online")
def test_the_part_tau_leaves_rows_a_table_and_a_figure(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduce, "RATES", {"bptt": (1e-3,), "online": (1e-3, 1e-4)})
    monkeypatch.setattr(reproduce, "PAIRS", (("tfr", "bptt"), ("dalton", "online")))
    tasks = [
        replace(task, config=replace(task.config, arch="small_runs:TINY", engine="torch"))
        for task in reproduce.wanted("smoke", ("tau",))
    ]
    assert {task.claim for task in tasks} == {"study", "tau"}
    monkeypatch.setattr(reproduce, "wanted", lambda *_, **__: tasks)
    out = tmp_path / "out"
    assert reproduce.reproduce(ReproduceOptions(only=("tau",), out=out)) == 0
    rows = open_ledger(out / "results.csv").rows()
    assert [row["claim"] for row in rows] == ["tau"] * 6
    assert len({row["run_id"] for row in rows}) == 6
    assert {row["tau_cur"] for row in rows} == {None, 2e-2}
    assert all(0 <= row["validation_accuracy"] <= 1 for row in rows)
    assert "| tau_cur | none | 20 ms |" in capsys.readouterr().out.splitlines()
    assert (out / "tau-smoke.png").is_file()


def test_a_file_needs_its_part(tmp_path):
    file = tmp_path / "own.zip"
    file.touch()
    (task, *_) = reproduce.wanted("paper", ("nmnist",), file)
    assert task.config.dataset == str(file)
    with pytest.raises(UserError, match="is a file"):
        reproduce.wanted("paper", (), file)


def test_reproduce_fills_the_ledger_and_skips(tmp_path, monkeypatch, capsys):
    tasks = [Task(small(epochs=1, method=method), "study", "smoke") for method in ("surrgd", "tfr")]
    monkeypatch.setattr(reproduce, "wanted", lambda *_, **__: tasks)
    for _ in range(2):
        assert reproduce.reproduce(ReproduceOptions(out=tmp_path / "out")) == 0
    said = capsys.readouterr().out.splitlines()
    rows = open_ledger(tmp_path / "out" / "results.csv").rows()
    assert [(row["method"], row["claim"], row["dataset"]) for row in rows] == [
        ("surrgd", "study", "digits"), ("tfr", "study", "digits"),
    ]  # fmt: skip
    assert "2 of 2 runs are finished already and skipped" in said
    assert any(
        line.startswith("| study | digits | smoke | tiny") or "small_runs:TINY" in line for line in said
    )


def test_every_option_acts(tmp_path, monkeypatch):
    """Seeds, threads and folder reach the runs; without --out files are written only below runs/."""
    seen = {}
    monkeypatch.setattr(
        reproduce.study,
        "reproduce",
        lambda tasks, work, **rest: seen.update(rest, tasks=tasks, work=work) or 0,
    )
    monkeypatch.chdir(tmp_path)
    assert reproduce.reproduce(ReproduceOptions(seeds=(4, 5), threads=2)) == 0
    assert seen["options"].folder("dalton") == tmp_path / "runs" / "reproduce" / "dalton" / "smoke"
    assert sorted({task.config["seed"] for task in seen["tasks"]}) == [4, 5]
    placed = list(seen["work"].keywords["options"].values())
    assert {options["threads"] for options in placed} == {2}
    runs = tmp_path / "runs" / "reproduce" / "dalton" / "smoke" / "runs"
    assert all(Path(options["out"]).parent == runs for options in placed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not (GOLDEN / "mnist_a1_curves.npz").is_file() or not (SHARED / "data" / "mnist").is_dir(),
    reason="the recorded study or MNIST is not there",
)
@pytest.mark.slow
def test_first_losses_are_the_recorded_ones(tmp_path, monkeypatch):
    """Same weights, same images, same order: the losses agree with the original until spikes differ."""
    monkeypatch.setenv("REPROKIT_MIRROR", str(SHARED / "data"))
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path))
    recorded = np.load(GOLDEN / "mnist_a1_curves.npz")
    base: TrainConfig = reproduce.wanted("paper", ("study",), None, GOLDEN)[0].config
    data = load_data(base)
    for method, setting in sorted(METHODS):
        expected = recorded[f"{method}_{'bptt' if setting == 'bptt' else 'rtrl'}_loss"]
        config = replace(base, method=method, setting=setting, burn_in=10 if setting == "online" else None)
        # float32 sums in another order flip spikes once Adam has divided gradients by their own size
        for engine, batches, steps in (("torch", 3, 12), ("auto", 1, 11)):
            net = build_network(config, data.input_shape, data.classes)
            optimizer = torch.optim.Adam(trainable(net, config.method_name).values(), lr=config.lr)
            for number, index in enumerate(data.train.batch_indices(50, 1, False)[:batches]):
                if number and setting == "online":
                    break
                images, labels = data.train.take(index)
                result = train_step(
                    method, net, optimizer, images, labels, steps=40, setting=config.setting_name, burn_in=10,
                    engine=engine,
                )  # fmt: skip
                difference = np.abs(np.atleast_1d(result.loss) - expected[number])
                # the first online updates have their effect one step later
                assert np.max(difference[:steps]) < 2e-6, (method, setting, engine, number)
