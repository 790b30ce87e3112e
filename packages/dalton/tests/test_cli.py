"""Command line: commands, the original's flags, spellings, output."""

import csv
import json
import subprocess
import sys

import pytest
from dalton import cli
from dalton.config import TrainConfig
from dalton.training.runs import open_ledger
from small_runs import FLAGS, records


def call(*words: object) -> int:
    return cli.main([str(word) for word in words])


def parsed(monkeypatch, *words: str) -> TrainConfig:
    seen = []
    monkeypatch.setattr("dalton.training.loop.train", lambda config, _, **__: seen.append(config) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli.app.dispatch(["train", *words])
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
    assert call("train", "--help") == 0
    text = capsys.readouterr().out
    for name in vars(TrainConfig()).keys() - {"rule_source"}:  # set by itself
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
    assert cli.main() == 2


def test_config_files_hold_no_paths(tmp_path):
    call("train", *FLAGS, "--out", tmp_path / "run")
    assert str(tmp_path) not in (tmp_path / "run" / "config.json").read_text()
    assert json.loads((tmp_path / "run" / "options.json").read_text())["dataset"] == "digits"


def test_help_loads_no_torch():
    program = (
        "import sys; from dalton.cli import main; codes = [main([*words, '--help']) for words in ([], ['train'])]; "
        "assert codes == [0, 0] and main(['--version']) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_version_names_the_core(capsys):
    assert call("--version") == 0
    assert "core: " in capsys.readouterr().out


def test_a_run_is_a_configuration(tmp_path, monkeypatch):
    """CONFIG: the folder or config.json of a run, paths included, or a .toml file; flags override it."""
    subset = tmp_path / "subset.json"
    subset.write_text(json.dumps({"train": list(range(60)), "test": list(range(60, 80))}))
    call(
        "train",
        *FLAGS,
        "--subset",
        subset,
        "--validation",
        "0",
        "--train-size",
        "40",
        "--out",
        tmp_path / "run",
    )
    for source in (tmp_path / "run", tmp_path / "run" / "config.json"):
        config = parsed(monkeypatch, str(source), "--seed", "3")
        assert (config.arch, config.subset, config.out, config.seed) == ("small_runs:TINY", subset, None, 3)
    toml = tmp_path / "own.toml"
    toml.write_text('method = "TFR_RTRL_SCNN"\nsteps = 30\ngain = 1')
    config = parsed(monkeypatch, str(toml), "--data", "digits")
    assert (config.method, config.setting, config.steps, config.gain) == ("tfr", "online", 30, 1.0)
    assert config.dataset == "digits"
    text = tmp_path / "own.json"
    text.write_text(json.dumps({"method": "tfr", "gain": 1}))
    for words in (["--config", str(text)], [f"--config={text}"]):
        assert parsed(monkeypatch, "--seed", "4", *words) == parsed(monkeypatch, str(text), "--seed", "4")
    for words in (["--config"], ["--config", "--seed"], [str(text), "--config", str(text)]):
        assert call("train", *words) == 2
    assert call("train", "own.yaml") == 2
    assert call("train", "nowhere") == 2
    assert call("train", tmp_path / "nowhere.toml") == 2


def test_evaluate_takes_runs_and_writes_a_table(tmp_path, capsys):
    for seed in (0, 1):
        call("train", *FLAGS, "--seed", seed, "--out", tmp_path / f"run{seed}")
    capsys.readouterr()
    table = tmp_path / "tables" / "accuracy.csv"
    runs = [tmp_path / "run0", tmp_path / "run1"]
    assert (
        call("evaluate", *runs, "--data", "digits", "--threads", "1", "--engine", "torch", "--out", table)
        == 0
    )
    assert capsys.readouterr().out.count("test accuracy") == 2
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [str(path) for path in runs]
    summary = json.loads((tmp_path / "run0" / "summary.json").read_text())
    assert float(rows[0]["accuracy"]) == summary["selected_test_accuracy"]


def test_export_for_the_original_and_as_arrays(tmp_path):
    from dalton import load_run, read_original

    call("train", *FLAGS, "--method", "tfr", "--out", tmp_path / "run")
    net = load_run(tmp_path / "run").net
    assert call("export", tmp_path / "run", "--to", "original", "--out", tmp_path / "net.pth") == 0
    found = read_original(tmp_path / "net.pth")
    assert found.method == "tfr"
    assert (found.weights["conv1"] == net.weight("conv1")).all()
    assert call("export", tmp_path / "run", "--to", "npz") == 0
    file = tmp_path / "run" / "network.npz"
    call("train", *FLAGS, "--epochs", "0", "--init-weights", file, "--out", tmp_path / "again")
    again = load_run(tmp_path / "again").net
    for name, tensor in net.state_dict().items():
        assert (again.state_dict()[name] == tensor).all(), name


def test_resume_and_force(tmp_path, capsys):
    words = ["train", *FLAGS, "--out", tmp_path / "run"]
    assert call(*words) == 0
    assert call(*words, "--no-resume") == 2
    (tmp_path / "run" / "mine.txt").write_text("kept")
    capsys.readouterr()
    assert call(*words, "--lr", "0.01", "--force") == 0
    assert "epoch 1/1" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "config.json").read_text())["lr"] == 0.01
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"


def test_list_flags_may_be_repeated(tmp_path, capsys):
    words = ["sweep", *FLAGS, "--out", tmp_path, "--bias", "0", "--tau-cur", "none"]
    assert call(*words, "--gain", "1", "--gain", "2") == 0
    assert "2 done, 0 skipped" in capsys.readouterr().out
