"""Command line: commands, the original's flags, spellings, output."""

import json
import sys

import pytest
from dalton import cli
from dalton.config import TrainConfig
from dalton.training.runs import open_ledger
from reprokit.cli import run
from small_runs import FLAGS, records


def call(*words: object) -> int:
    return run(lambda: cli.dispatch([str(word) for word in words]))


def parsed(monkeypatch, *words: str) -> TrainConfig:
    seen = []
    monkeypatch.setattr("dalton.training.loop.train", lambda config, _: seen.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.dispatch(["train", *words])
    return seen[0]


def test_train_evaluate_info(tmp_path, capsys):
    out = tmp_path / "run"
    assert call("train", *FLAGS, "--out", out) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[0].startswith("epoch 1/1  loss ")
    assert "test accuracy" in said
    assert "firing rates         conv1" in said
    assert call("train", *FLAGS, "--out", out) == 0  # finished: reported again, not trained again
    assert "epoch 1/1" not in capsys.readouterr().out
    assert call("evaluate", out, "--split", "validation", "--which", "last") == 0
    value = f"{100 * records(out)[0]['validation_accuracy']:.2f} %"
    assert f"validation accuracy {value}" in capsys.readouterr().out
    assert call("info", out) == 0
    assert "selected epoch       1" in capsys.readouterr().out
    assert call("info") == 0
    assert "DALTON_RTRL_SCNN" in capsys.readouterr().out


def test_plot_and_export(tmp_path, capsys):
    out = tmp_path / "run"
    call("train", *FLAGS, "--out", out)
    capsys.readouterr()
    pytest.importorskip("matplotlib")
    assert call("plot", out) == 0
    assert len(list(out.glob("*.png"))) >= 2
    pytest.importorskip("nir")
    assert call("export", out) == 0
    assert (out / "network.nir").stat().st_size > 0


def test_original_flags_and_both_spellings(monkeypatch):
    words = [
        "--dataset",
        "MNIST",
        "--epochs",
        "50",
        "--gpu_id",
        "0",
        "--scnn_arch",
        "2",
        "--batch_size",
        "250",
        "--seed",
        "7",
    ]
    config = parsed(monkeypatch, *words)
    assert (config.dataset, config.epochs, config.device, config.arch) == ("mnist", 50, "0", "A2")
    assert (config.batch_size, config.seed) == (250, 7)
    dashes = parsed(monkeypatch, *" ".join(words).replace("_", "-").split())
    assert dashes == config
    assert parsed(monkeypatch, "--scnn_arch=4", "--gpu-id=1", "--method", "TFR_RTRL_SCNN").arch == "A4"
    free = parsed(monkeypatch, "--tau-cur", "None", "--gain", "1", "--reset_optimizer_each_epoch", "True")
    assert (free.tau_cur, free.gain, free.reset_optimizer_each_epoch) == (None, 1.0, True)
    assert parsed(monkeypatch, "--tau-cur", "none", "--steps", "none").tau_cur is None
    assert parsed(monkeypatch) == TrainConfig()


def test_every_option_is_a_flag(capsys):
    with pytest.raises(SystemExit):
        cli.dispatch(["train", "--help"])
    text = capsys.readouterr().out
    for name in vars(TrainConfig()):
        assert f"--{name.replace('_', '-')}" in text, name


def test_sweep(tmp_path, capsys):
    words = [
        "sweep",
        *FLAGS,
        "--out",
        tmp_path,
        "--tau_cur",
        "None",
        "5e-3",
        "--gain",
        "1",
        "2",
        "--bias",
        "0",
    ]
    assert call(*words) == 0
    assert "4 done, 0 skipped" in capsys.readouterr().out
    assert call(*words, "--methods", "dalton", "surrgd") == 0
    said = capsys.readouterr().out
    assert "4 of 8 runs are finished already" in said
    assert said.count("| sweep | digits | reduced |") == 8
    rows = open_ledger(tmp_path / "results.csv").rows()
    assert len({row["run_id"] for row in rows}) == 8


def test_missing_gpu_falls_back_with_a_warning(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(UserWarning, match="no GPU 0; running on the CPU"):
        assert call("train", *FLAGS, "--gpu_id", "0", "--out", tmp_path / "run") == 0


def test_progress_is_silent_without_a_terminal(tmp_path, capsys):
    call("train", *FLAGS, "--out", tmp_path / "run")
    assert capsys.readouterr().err == ""


def test_usage_and_main(monkeypatch, capsys):
    assert call() == 2
    assert call("--help") == 0
    assert "reproduce" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["dalton", "nonsense"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2


def test_config_files_hold_no_paths(tmp_path):
    call("train", *FLAGS, "--out", tmp_path / "run")
    assert str(tmp_path) not in (tmp_path / "run" / "config.json").read_text()
    assert json.loads((tmp_path / "run" / "options.json").read_text())["dataset"] == "digits"
