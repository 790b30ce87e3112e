"""Bad input: one sentence, exit code 2, and no half-written file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from nalsm import Config, Run
from nalsm_commands import command, run
from nalsm_small import small_network
from reprokit import UserError

NALSM = [sys.executable, "-m", "nalsm.cli"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("nalsm") / "run"
    assert run(command(out, model="lsm", weight="2", readout="ridge")).returncode == 0
    return out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dims": ("0", "4", "4")}, "dims"),
        ({"weight": "-1"}, "weight is -1"),
        ({"duration": "0"}, "duration is 0"),
        ({"data": "nowhere"}, "nowhere"),
        ({"tau_v": "0"}, "tau_v is 0"),
        ({"train_samples": "0"}, "train_samples is 0"),
        ({"seed": "-1"}, "seed is -1"),
        ({"network_seed": "-1"}, "network_seed is -1"),
        ({"astrocyte_weight": "nan"}, "astrocyte_weight is nan"),
        ({"threshold": "inf"}, "threshold is inf"),
        ({"threads": "0"}, "threads is 0"),
        ({"device": "nonsense"}, "device 'nonsense' cannot be used"),
        ({"network": "nowhere.npz"}, "nowhere.npz"),
        ({"dims": ("900", "900", "900")}, "GiB to generate"),
        ({"weight": "0.0001", "model": "lsm"}, "silent"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    done = run(command(tmp_path / "run", **changes))  # pyright: ignore
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "run").exists() == (
        message == "silent"
    )  # mistakes are found before anything is written


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["eval", "kernel", "--repetitions", "0"], "repetitions is 0"),
        (["eval", "branching", "--samples", "0"], "samples is 0"),
        (["eval", "divergence", "--samples", "-1"], "samples is -1"),
        (["eval", "kernel", "--noise", "-3"], "noise is -3"),
        (["eval", "branching", "--threads", "0"], "threads is 0"),
        (["features", "--noise", "-3"], "noise is -3"),
        (["features", "--noise", "nan"], "noise is nan"),
        (["readout", "--epochs", "0"], "epochs is 0"),
    ],
)
def test_bad_arguments_of_other_commands(finished: Path, words: list[str], message: str) -> None:
    before = sorted(finished.iterdir())
    done = run([*NALSM, words[0], *([words[1]] if words[0] == "eval" else []), str(finished),
                *words[2 if words[0] == "eval" else 1 :]])  # fmt: skip
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(finished.iterdir()) == before


def test_no_resume_refuses_and_force_replaces_a_run(tmp_path: Path) -> None:
    first = command(tmp_path / "run", model="lsm", weight="2", readout="ridge", record="0")
    assert run(first).returncode == 0
    refused = run([*first, "--no-resume"])
    assert refused.returncode == 2
    assert "holds a run already" in refused.stderr
    (tmp_path / "run" / "mine.txt").write_text("kept")
    other = command(tmp_path / "run", model="lsm", weight="3", readout="ridge", record="0")
    assert run(other).returncode == 2
    assert run([*other, "--force"]).returncode == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["weight"] == 3.0
    assert (tmp_path / "run" / "mine.txt").read_text() == "kept"
    (tmp_path / "run" / "config.json").write_text('{"other": 1}')
    refused = run([*other, "--force"])
    assert refused.returncode == 2
    assert "of another program" in refused.stderr


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("network_seed", "does not say what to vary"),
        ("colour=1,2", "does not say what to vary"),
        ("network_seed=1,x", "'x' is not of type int"),
        ("weight=a", "'a' is not of type float"),
        ("model=lsm,other", "model must be one of 'nalsm'"),
        ("network_seed=1,1", "network_seed is [1, 1]; give each once"),
    ],
)
def test_bad_sweeps(tmp_path: Path, vary: str, message: str) -> None:
    done = run([*NALSM, "sweep", "--data", "digits", "--out", str(tmp_path / "sweep"), "--vary", vary])
    assert done.returncode == 2, done.stdout
    assert message in done.stderr


def test_resuming_with_other_settings_names_them(finished: Path) -> None:
    done = run(command(finished, model="lsm", weight="2", readout="ridge", astrocyte_weight="0.1"))
    assert done.returncode == 2
    assert "astrocyte_weight" in done.stderr


def test_network_for_other_inputs_is_refused(tmp_path: Path) -> None:
    file = small_network().save(tmp_path / "net.npz")
    with pytest.raises(UserError, match="40 input neurons, digits has 64 channels"):
        Run(tmp_path / "run", Config(data="digits", network=str(file)))


def test_directory_is_released_when_a_run_ends_or_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = Config(data="digits", dims=(4, 4, 4), model="lsm", weight=1e-4, duration=20, train_samples=20,
                    validation_samples=10, test_samples=10, record=0)  # fmt: skip
    for _ in range(2):  # a directory that is still held would be refused the second time
        with pytest.raises(UserError, match="silent"):
            Run(tmp_path / "run", config).train()

    def fails(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("nalsm.training.pipeline.generate", fails)
        with pytest.raises(MemoryError):
            Run(tmp_path / "other", config)
    Run(tmp_path / "other", config).directory.close()


@pytest.mark.parametrize("words", [["eval", "accuracy"], ["eval", "kernel"], ["eval", "branching"], ["plot"],
                                   ["readout"], ["features"]])  # fmt: skip
def test_unfinished_and_absent_runs_are_one_sentence(tmp_path: Path, words: list[str]) -> None:
    config = Config(data="digits", dims=(4, 4, 4), initial_samples=10)
    Run(tmp_path / "begun", config).directory.close()
    for folder, message in (("absent", "no run"), ("begun", "finish the run")):
        done = run([*NALSM, *words, str(tmp_path / folder)])
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_accuracy_of_a_run_without_readout_is_one_sentence(tmp_path: Path) -> None:
    config = Config(data="digits", dims=(4, 4, 4), initial_samples=10)
    with Run(tmp_path / "begun", config) as begun:
        begun.initialise()
    for words in (["eval", "accuracy"], ["eval", "kernel"], ["readout"]):
        done = run([*NALSM, *words, str(tmp_path / "begun")])
        assert done.returncode == 2, done.stdout
        assert "finish the run" in done.stderr
