"""Every command through its front door: output, files and exit codes."""

import json
import re

import numpy as np
import pytest
from sbs.cli import main

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
    for arguments in ([], ["--help"], ["train"], ["train", "--help"], ["convert"], ["convert", "--help"]):
        assert main(arguments) == 0
        assert "usage" in capsys.readouterr().out
    for command in ("test", "spikes", "show", "info", "reproduce"):
        assert main([command, "--help"]) == 0
        assert f"sbs {command}" in capsys.readouterr().out
    for what in ("export", "import", "data"):
        assert main(["convert", what, "--help"]) == 0
        assert f"sbs convert {what}" in capsys.readouterr().out


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


def test_info_names_the_engine(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    assert "engine" in said
    assert "torch" in said


def test_smoke_reproduction_fills_the_ledger_once(tmp_path, capsys, monkeypatch):
    from dataclasses import replace

    from sbs.presets import preset
    from sbs.reproduce import plan as reproduce

    base = preset("digits-smoke")
    quick = replace(
        base,
        learning=replace(base.learning, updates=2, batch_size=8),
        data=replace(base.data, limit_train=30, limit_test=20),
        network=replace(base.network, number_of_spikes=10),
    )
    monkeypatch.setattr(reproduce, "preset", lambda name: quick)
    monkeypatch.setattr(reproduce, "SPIKE_COUNTS", {"smoke": (5, 10)})
    flags = [
        "reproduce",
        "--scale",
        "smoke",
        "--out",
        str(tmp_path / "out"),
        "--runs",
        str(tmp_path / "runs"),
    ]
    assert main(flags) == 0
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert len(rows) == 3
    assert rows[0].startswith("run_id,package,claim,dataset,scale,seed")
    assert (tmp_path / "out" / "spikes-digits-smoke-smoke.png").exists()
    capsys.readouterr()
    assert main(flags) == 0
    assert "recorded already" in capsys.readouterr().out
    assert (tmp_path / "out" / "results.csv").read_text().splitlines() == rows


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], ["'trian'", "train"]),
        (["train", "mnist_v2"], ["mnist-v2"]),
        (["train", "nothing.json"], ["nothing.json"]),
        (["train", "nothing.toml"], ["nothing.toml"]),
        (["train", "digits-smoke", "--profile", "exact"], ["--profile", "faithful"]),
        (["train", "digits-smoke", "--threads", "0"], ["threads is 0"]),
        (["train", "digits-smoke", "--network.number-of-spikes", "0"], ["network.number_of_spikes is 0"]),
        (["train", "digits-smoke", "--data.source", "digitz"], ["digitz"]),
        (["train", "digits-smoke", "--augmentation.crop", "4"], ["leaves nothing"]),
        (["test", "nowhere"], ["nowhere", "no run directory"]),
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
    assert main(["test"]) == 2
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
