"""The command line: every subcommand, both spellings of options, one sentence for an error."""

import subprocess
import sys

import numpy as np
import pytest
from denram import cli

TRAIN = "train --data spoken-toy --n-in 64 --n_delays 4 --nb-epochs 2 --batch_size 32"


@pytest.fixture
def denram(monkeypatch, capsys):
    def run(command: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["denram", *command.split()])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

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
    assert [len(folder.name) for folder in (tmp_path / "runs").iterdir()] == [16]


@pytest.mark.parametrize("command", ["", "train", "evaluate", "plot", "info", "export", "fig4d"])
def test_help(denram, command):
    code, out, _ = denram(f"{command} --help")
    assert code == 0
    assert "usage: denram" in out


@pytest.mark.parametrize("command", ["", "train", "evaluate", "plot", "info", "export", "fig4d"])
def test_help_loads_no_heavy_library(command):
    program = (
        "import sys; from denram.cli import main; sys.argv = ['denram', *sys.argv[1:], '--help']\n"
        "try: main()\n"
        "finally: assert not {'jax', 'torch', 'optax', 'matplotlib', 'h5py'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, *command.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "usage: denram" in done.stdout


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
    assert "state             finished" in out
    assert "n_in              64" in out


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
