"""What counts as the first progress of a training, and that the commands measured are understood."""

import importlib
import sys

import pytest

from benchmarks.startup import FRAMEWORKS, TRAIN, FirstLine, is_progress


@pytest.mark.parametrize(
    "line",
    [
        "initialise:   0%|          | 0/1198",
        "epoch 1/1  loss 0.12",
        "update 50: loss 0.16",
        "train error: 90.74 %",
        "Epoch | accuracy",
    ],
)
def test_lines_of_a_training_are_progress(line: str) -> None:
    assert is_progress(line)


@pytest.mark.parametrize(
    "line",
    [
        "error: Unrecognized options: --epochs, 1; see sbs train --help",
        "delays: mean 99.02 timesteps (495 ms)",
        "700 inputs x 16 delays -> 10 outputs, tau_mem 0.02 s, seed 42",
    ],
)
def test_a_refused_command_or_a_headline_is_not(line: str) -> None:
    assert not is_progress(line)


@pytest.mark.parametrize("package", FRAMEWORKS)
def test_the_programs_understand_their_commands(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    main = importlib.import_module(f"{package}.cli").main
    assert main([*TRAIN[package], "--no-such-option"]) == 2
    said = capsys.readouterr().err
    assert "--no-such-option" in said
    for option in TRAIN[package][1:]:
        assert option not in said


def test_a_program_without_progress_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="wrote no progress: error: no epoch"):
        FirstLine([sys.executable, "-c", "print('error: no epoch')"]).seconds(1)


def test_a_bar_on_a_terminal_is_progress() -> None:
    code = "from reprokit import progress; progress(total=9, description='initialise').update(1)"
    assert 0 < FirstLine([sys.executable, "-c", code]).seconds(1) < 60
