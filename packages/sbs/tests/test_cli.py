"""Every command as a user calls it: output, files and exit codes."""

import csv
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from reprokit.run.study import ReproduceOptions
from sbs.cli import main
from sbs.presets import preset
from sbs.reproduce.plan import tasks

QUICK = [
    "--learning.updates=3",
    "--learning.batch_size=8",
    "--network.number_of_spikes=20",
    "--data.limit-train=60",
    "--data.limit-test=20",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", "digits-smoke", *QUICK, "--out", str(folder)]) == 0
    return folder


def test_help_of_every_command(capsys):
    assert main([]) == 2
    assert "usage: sbs COMMAND" in capsys.readouterr().out
    for arguments in (["--help"], ["convert"], ["convert", "--help"]):
        assert main(arguments) == 0
        assert "usage" in capsys.readouterr().out
    for command in ("train", "evaluate", "test", "spikes", "plot", "show", "export", "info", "reproduce"):
        assert main([command, "--help"]) == 0
        canonical = {"test": "evaluate", "show": "plot"}.get(command, command)
        assert f"sbs {canonical}" in capsys.readouterr().out
    for what in ("export", "import", "data"):
        assert main(["convert", what, "--help"]) == 0
        assert f"sbs convert {what}" in capsys.readouterr().out


def test_help_loads_no_torch():
    program = (
        "import sys; from sbs.cli import main\n"
        "for words in ('--help', 'train --help', 'train digits-smoke --help', '--version'):\n"
        "    assert main(words.split()) == 0, words\n"
        "    assert 'torch' not in sys.modules, words\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_both_spellings_of_flags_reach_the_configuration(run):
    config = json.loads((run / "config.json").read_text())
    assert config["learning"]["updates"] == 3
    assert config["learning"]["batch_size"] == 8
    assert config["network"]["number_of_spikes"] == 20
    assert config["data"]["limit_train"] == 60


def test_a_run_writes_log_summary_and_checkpoint(run):
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["update"] for record in records] == [1, 2, 3]
    summary = json.loads((run / "summary.json").read_text())
    assert summary["dataset"] == "digits"
    assert records[-1]["accuracy"] == summary["accuracy"]
    assert len(list((run / "checkpoints").glob("*.safetensors"))) == 1


def test_test(run, capsys):
    assert main(["test", str(run), "--limit", "15"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"digits: [\d.]+ % of 15 test images correct \(\d+ images/s\)\n", said)


def test_test_repeats_the_accuracy_of_training(run, capsys):
    assert main(["test", str(run), "--limit", "20"]) == 0
    accuracy = json.loads((run / "summary.json").read_text())["accuracy"]
    assert f"{accuracy:.2f} %" in capsys.readouterr().out


def test_spikes_writes_table_and_figure(run, tmp_path, capsys):
    assert main(["spikes", str(run), "--counts", "5", "20", "--limit", "10", "--out", str(tmp_path)]) == 0
    assert "accuracy" in capsys.readouterr().out
    lines = (tmp_path / "spikes.csv").read_text().splitlines()
    assert lines[0] == "spikes,correct,total,accuracy"
    assert [line.split(",")[0] for line in lines[1:]] == ["5", "20"]
    assert (tmp_path / "spikes.png").read_bytes().startswith(b"\x89PNG")


def test_show_writes_figures(run, tmp_path):
    assert main(["show", str(run), "--out", str(tmp_path), "--images", "3", "--format", "svg"]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert {"filters-0.svg", "filters-1.svg", "filters-2.svg", "h-0.svg", "reconstruction.svg"} <= names


def test_evaluate_takes_several_runs_splits_checkpoints_and_writes_a_table(run, tmp_path, capsys):
    flags = [
        "--limit",
        "20",
        "--split",
        "train",
        "--which",
        "best",
        "--engine",
        "reference",
        "--threads",
        "2",
    ]
    assert main(["evaluate", str(run), str(run), *flags, "--out", str(tmp_path / "table.csv")]) == 0
    assert capsys.readouterr().out.count("20 train images correct") == 2
    lines = (tmp_path / "table.csv").read_text().splitlines()
    assert lines[0] == "run,dataset,split,correct,total,accuracy"
    assert len(lines) == 3
    assert lines[1] == lines[2]


def test_repeated_list_flags_keep_all_values(run, tmp_path):
    flags = ["--counts", "5", "--limit", "10", "--counts", "20", "--out", str(tmp_path)]
    assert main(["spikes", str(run), *flags]) == 0
    assert len((tmp_path / "spikes.csv").read_text().splitlines()) == 3


def test_export_npz_is_imported_again(run, tmp_path):
    archive = tmp_path / "weights.npz"
    assert main(["export", str(run), "--to", "npz", "--out", str(archive)]) == 0
    quick = tmp_path / "quick.toml"
    quick.write_text(
        "[augmentation]\ncrop = 0\n"
        "[[network.layers]]\nneurons = 16\nkernel = [3, 3]\n"
        "[[network.layers]]\nkind = 'average-pool'\nkernel = [2, 2]\nstride = [2, 2]\n"
        "[[network.layers]]\nneurons = 32\nkernel = [3, 3]\n"
        "[[network.layers]]\nneurons = 10\n"
    )
    assert main(["convert", "import", str(quick), str(archive), "--out", str(tmp_path / "back")]) == 0
    assert main(["export", str(tmp_path / "back"), "--to", "npz", "--out", str(tmp_path / "again.npz")]) == 0
    with np.load(archive) as first, np.load(tmp_path / "again.npz") as second:
        for index in range(3):
            assert np.allclose(first[f"weights_L{index}"], second[f"weights_L{index}"], rtol=1e-6)


def test_options_are_kept_and_a_run_is_a_configuration(run, tmp_path, capsys):
    options = json.loads((run / "options.json").read_text())
    assert options["package"] == "sbs"
    assert options["out"] == str(run)
    assert options["engine"] == "auto"
    for source in (run, run / "config.json", run / "options.json"):
        assert main(["train", str(source), "--out", str(run)]) == 0
        assert "finished" in capsys.readouterr().out


def test_data_flag_is_the_source(run, capsys):
    assert main(["train", str(run), "--data", "digitz", "--out", "x"]) == 2
    assert "digitz" in capsys.readouterr().err


def test_info_names_the_engine(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    for word in ("engine", "torch", "digits-smoke"):
        assert word in said


def test_info_of_a_run(run, capsys):
    assert main(["info", str(run)]) == 0
    said = capsys.readouterr().out
    assert "finished, 3 records" in said
    assert "learning.updates" in said


@pytest.fixture
def quick_study(monkeypatch):
    base = preset("digits-smoke")
    quick = replace(
        base,
        learning=replace(base.learning, updates=2, batch_size=8),
        data=replace(base.data, limit_train=30, limit_test=20),
        network=replace(base.network, number_of_spikes=10),
    )
    monkeypatch.setattr("sbs.reproduce.plan.preset", lambda name: quick)
    monkeypatch.setattr("sbs.reproduce.plan.SPIKE_COUNTS", {"smoke": (5, 10)})


def test_smoke_reproduction_fills_the_ledger_once(quick_study, tmp_path, capsys):
    flags = ["reproduce", "--scale", "smoke", "--out", str(tmp_path / "out")]
    assert main(flags) == 0
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("run_id,package,claim,dataset,scale,seed")
    for suffix in ("png", "pdf", "csv"):
        assert (tmp_path / "out" / f"spikes-digits-smoke-smoke.{suffix}").exists()
    capsys.readouterr()
    assert main(flags) == 0
    assert "1 skipped" in capsys.readouterr().out
    assert (tmp_path / "out" / "results.csv").read_text().splitlines() == rows
    (summary,) = (tmp_path / "out" / "runs").glob("*/summary.json")
    before = summary.stat().st_ino, summary.read_text()
    assert main([*flags, "--again", "sbs-digits"]) == 0
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 5
    assert (summary.stat().st_ino, summary.read_text()) != before  # trained again, not only read back


@pytest.mark.slow
def test_reproduction_in_two_processes_with_seeds(quick_study, tmp_path, capsys):
    """The parent plans and writes the rows; fresh processes get plain values, so they need no patches."""
    flags = ["reproduce", "--jobs", "2", "--seeds", "3", "--seeds", "4", "--out", str(tmp_path)]
    assert main(flags) == 0
    assert "2 done" in capsys.readouterr().out
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted((row["seed"], row["number_of_spikes"]) for row in rows) == [
        ("3", "10"),
        ("3", "5"),
        ("4", "10"),
        ("4", "5"),
    ]
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert (tmp_path / "spikes-digits-smoke-smoke-seed3.png").exists()


def test_reproduction_goes_to_runs_by_default(quick_study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce"]) == 0
    assert (tmp_path / "runs/reproduce/sbs/smoke/results.csv").exists()


def test_own_data_is_never_judged(tmp_path):
    found = tasks(ReproduceOptions(scale="paper"), own="digits")
    assert found[0].config["config"]["data"]["source"] == "digits"
    assert set(found[0].rows).isdisjoint(tasks(ReproduceOptions(scale="paper"))[0].rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'", "train"]),
        (["train", "mnist_v2"], ["mnist-v2"]),
        (["train"], ["CONFIG", "digits-smoke"]),
        (["evaluate"], ["no run"]),
        (["reproduce", "--only", "sbs-digit"], ["--only sbs-digit", "sbs-digits"]),
        (["reproduce", "--jobs", "0"], ["--jobs is 0"]),
        (["train", "digits-smoke", "--device", "gpu"], ["--device", "cuda:K"]),
        (["train", "nothing.json"], ["nothing.json"]),
        (["train", "nothing.toml"], ["nothing.toml"]),
        (["train", "digits-smoke", "--profile", "exact"], ["--profile", "faithful"]),
        (["train", "digits-smoke", "--threads", "0"], ["threads is 0"]),
        (["train", "digits-smoke", "--network.number-of-spikes", "0"], ["network.number_of_spikes is 0"]),
        (["train", "digits-smoke", "--data.source", "digitz"], ["digitz"]),
        (["train", "digits-smoke", "--augmentation.crop", "4"], ["leaves nothing"]),
        (["test", "nowhere"], ["nowhere", "no run"]),
        (["test", "file.json"], ["--step"]),
        (["spikes", "nowhere"], ["nowhere"]),
        (["convert", "weights"], ["'weights'", "export"]),
        (["convert", "data", "nowhere", "--out", "x"], ["nowhere"]),
    ],
)
def test_mistakes_are_one_sentence_and_exit_2(arguments, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    for word in words:
        assert word in errors
    assert "Traceback" not in errors


def test_wrong_flags_exit_2(capsys):
    assert main(["train", "digits-smoke", "--learning.update", "3"]) == 2
    capsys.readouterr()


def test_original_file_trains_from_pattern_storage(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "data", "digits", "--out", "DATA"]) == 0
    config = {
        "data_mode": "MNIST",
        "data_path": "DATA",
        "batch_size": 9,
        "learning_step_max": 2,
        "number_of_cpu_processes": 1,
        "number_of_spikes": 10,
        "cooldown_after_number_of_spikes": 8,
        "network_structure": {
            "number_of_output_neurons": 10,
            "forward_neuron_numbers": [[2, 6], [6, 6], [6, 10]],
            "is_pooling_layer": [False, True, False],
            "forward_kernel_size": [[3, 3], [2, 2], [2, 2]],
            "strides": [[1, 1], [2, 2], [1, 1]],
            "dilation": [[1, 1]] * 3,
            "padding": [[0, 0]] * 3,
            "w_trainable": [True, False, True],
            "eps_xy_trainable": [True, True, True],
            "eps_xy_mean": [False, True, False],
        },
        "learning_parameters": {"learning_rate_gamma_w": 0.02, "lr_scheduler_patience_w": 1},
        "augmentation": {"crop_width_in_pixel": 1},
    }
    from pathlib import Path

    Path("net.json").write_text("// small\n" + json.dumps(config))
    for profile in ("fixed", "faithful"):
        flags = ["--profile", profile, "--out", profile, "--data.limit-test", "20"]
        assert main(["train", "net.json", *flags]) == 0
        assert json.loads((Path(profile) / "summary.json").read_text())["updates"] == 2
    assert main(["convert", "export", "fixed", "--out", "."]) == 0
    assert Path("Weights/Weight_L0_S1.npy").exists()
    assert np.load("EpsXY/EpsXY_L1_S1.npy").shape == (2, 2)
    assert main(["test", "net.json", "--step", "1", "--limit", "20"]) == 0
    assert "20 test images" in capsys.readouterr().out
    config["learning_step"], config["learning_step_max"] = 1, 3
    Path("more.json").write_text(json.dumps(config))
    assert main(["train", "more.json", "--out", "more", "--data.limit-test", "20"]) == 0
    config["learning_parameters"]["learning_active"] = False  # DEV-26
    Path("off.json").write_text(json.dumps(config))
    assert main(["train", "off.json"]) == 2
