"""The command line: every subcommand, both spellings of options, one sentence for an error."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from denram import cli

TRAIN = "train --data spoken-toy --n-in 64 --n_delays 4 --nb-epochs 2 --batch_size 32"


@pytest.fixture
def denram(capsys):
    def run(command: str) -> tuple[int, str, str]:
        code = cli.main(command.split())
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    from denram.config import TrainConfig
    from denram.training.loop import train

    out = tmp_path_factory.mktemp("runs") / "one"
    train(TrainConfig(data="spoken-toy", n_in=64, n_delays=4, nb_epochs=2, batch_size=32, out=out))
    return out


def test_train_prints_epochs_and_result_and_does_nothing_the_second_time(denram, tmp_path):
    code, out, _ = denram(f"{TRAIN} --out {tmp_path / 'run'}")
    assert code == 0
    lines = out.splitlines()
    assert sum(line.startswith(("0      |", "1      |")) for line in lines) >= 2
    assert lines[-1] == f"run: {tmp_path / 'run'}"
    code, again, _ = denram(f"{TRAIN} --out {tmp_path / 'run'}")
    assert code == 0
    assert again.splitlines() == lines[-(len(again.splitlines())) :]


def test_default_directory_is_named_by_the_run_id(denram, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert denram(TRAIN)[0] == 0
    name = "n64-noise0.1-seed42-"
    assert [folder.name[: len(name)] for folder in (tmp_path / "runs").iterdir()] == [name]
    assert [len(folder.name) for folder in (tmp_path / "runs").iterdir()] == [len(name) + 16]


COMMANDS = ("", "train", "evaluate", "plot", "info", "export", "reproduce", "fig4d", "data", "judge")


@pytest.mark.parametrize("command", COMMANDS)
def test_help(denram, command):
    code, out, _ = denram(f"{command} --help")
    assert code == 0
    assert "usage: denram" in out


def test_help_loads_no_heavy_library():
    program = (
        "import sys; from denram.cli import main\n"
        "for command in sys.argv[1:]:\n"
        "    assert main([*command.split(), '--help']) == 0, command\n"
        "    assert not {'jax', 'torch', 'optax', 'matplotlib', 'h5py'} & set(sys.modules), command\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *COMMANDS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("usage: denram") >= len(COMMANDS)


def test_every_flag_of_the_original_and_the_hard_coded_values_are_options(denram):
    out = denram("train --help")[1]
    names = "n-in n-delays seed r-mu r-std tau-mem noise-std nb-epochs lr batch-size dt steps max-delay cap w-scale"
    for name in [
        *names.split(),
        "distribution",
        "patience",
        "data",
        "profile",
        "engine",
        "out",
        "resume",
        "threads",
    ]:
        assert f"--{name} " in out or f"--{name}," in out, name


def test_info(denram, run_directory):
    code, out, _ = denram(f"info {run_directory}")
    assert code == 0
    words = " ".join(out.split())
    assert "state finished, 2 records" in words
    assert "n_in 64" in words
    assert "weights 10 x 257 (2570 parameters)" in words


def test_plot_draws_three_figures(denram, run_directory, tmp_path):
    code, out, _ = denram(f"plot {run_directory} --out {tmp_path}")
    assert code == 0
    for name in ("curves", "confusion", "raster"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert f"{name}.png" in out


def test_plot_refuses_an_unknown_figure(denram, run_directory):
    code, _, err = denram(f"plot {run_directory} --figures pie")
    assert code == 2
    assert "choose from curves, confusion, raster" in err


def test_export_writes_the_names_and_shapes_of_the_original(denram, run_directory):
    assert denram(f"export {run_directory}")[0] == 0
    folder = run_directory / "original"
    assert sorted(file.name for file in folder.iterdir()) == ["d_42.npy", "results_42.csv", "w_42.npy"]
    assert np.load(folder / "w_42.npy").shape == (10, 64 * 4 + 1)
    assert np.load(folder / "d_42.npy").shape == (10, 64 * 4)
    header, row = (folder / "results_42.csv").read_text().splitlines()
    assert header == "n_in,n_delays,noise_std,max_delay,tau_mem,r_mu,r_std,seed,test_acc"
    assert row.startswith("64,4,0.10,200,0.020,500000000000,0.4,42,")


def test_evaluate_prints_a_row_for_each_noise_level(denram, run_directory, tmp_path):
    code, out, _ = denram(
        f"evaluate {run_directory} --noise-std 0 0.1 --devices 3 --out {tmp_path / 'table.csv'}"
    )
    assert code == 0
    assert len([line for line in out.splitlines() if str(run_directory) in line]) == 2
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3


@pytest.mark.slow
def test_config_is_a_preset_a_file_or_a_run_and_flags_override_it(denram, run_directory, tmp_path):
    import json

    (tmp_path / "own.toml").write_text('data = "spoken-toy"\nn_in = 64\nn_delays = 4\nnb_epochs = 1\n')
    small = "--n-delays 2 --nb-epochs 1 --data spoken-toy"
    for source, flags, n_in in (
        ("D2", small, 256),
        (tmp_path / "own.toml", "--batch-size 32", 64),
        (run_directory / "config.json", "--nb-epochs 1", 64),
        (run_directory, "--nb-epochs 1 --seed 3", 64),
    ):
        out = tmp_path / f"run{n_in}{flags[-1]}"
        code, _, err = denram(f"train {source} {flags} --out {out} --force")
        assert code == 0, err
        assert json.loads((out / "config.json").read_text())["n_in"] == n_in
        assert json.loads((out / "options.json").read_text())["package"] == "denram"
    code, _, err = denram("train D3")
    assert code == 2
    assert "name a preset (D2, D1, heartbeat)" in err


def test_force_deletes_what_the_run_wrote_and_nothing_else(denram, tmp_path):
    out = tmp_path / "run"
    assert denram(f"{TRAIN} --out {out}")[0] == 0
    (out / "notes.txt").write_text("mine")
    code, said, err = denram(f"{TRAIN} --out {out} --seed 7 --force")
    assert code == 0, err
    assert "seed 7" in said
    assert (out / "notes.txt").read_text() == "mine"


def test_evaluate_reads_the_last_weights_and_other_splits(denram, run_directory):
    for flags in ("--which last", "--split validation", "--split train --which best", "--device cpu"):
        code, out, err = denram(f"evaluate {run_directory} --noise-std 0 --devices 1 {flags}")
        assert code == 0, err
        assert str(run_directory) in out
    code, _, err = denram(f"evaluate {run_directory} --device cuda:99")
    assert code == 2
    assert "cuda:99" in err


def test_info_without_a_run_shows_engines_presets_and_data(denram):
    code, out, _ = denram("info")
    assert code == 0
    for word in ("denram ", "reprokit ", "core: ", "fft", "D1", "D2", "shd", "spoken-toy"):
        assert word in out


def test_plot_of_several_runs_in_another_format(denram, run_directory, tmp_path):
    copy = tmp_path / "two"
    shutil.copytree(run_directory, copy)
    code, _, _ = denram(
        f"plot {run_directory} {copy} --figures curves --format svg --out {tmp_path / 'figures'}"
    )
    assert code == 0
    for name in (run_directory.name, "two"):
        assert (tmp_path / "figures" / name / "curves.svg").read_text().startswith("<?xml")
        rows = (tmp_path / "figures" / name / "curves.csv").read_text().splitlines()
        assert len(rows) == 3
