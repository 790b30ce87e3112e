"""A training says how far it is, also into a pipe or a file."""

import sys
from pathlib import Path

import pytest
from nalsm.training import progress
from nalsm.training.liquid import Liquid
from nalsm_commands import command, run
from reprokit import UserError


@pytest.mark.parametrize(("model", "method", "line"), [
    ("nalsm", "initialise", "initialise: 0 of 60 presentations"),
    ("lsm", "features", "features validation: 0 of 60 samples"),
])  # fmt: skip
def test_a_line_comes_before_the_work(
    tmp_path: Path, monkeypatch, model: str, method: str, line: str
) -> None:
    seen: list[str] = []

    def stop(*_: object, **__: object) -> None:
        seen.extend(sys.stdout.getvalue().splitlines())
        raise UserError("enough.")

    monkeypatch.setattr(Liquid, method, stop)
    assert run(["", "", "", "train", model, *command(tmp_path / "run")[4:]]).returncode == 2
    assert seen[-1:] == [line]


def test_every_phase_says_its_beginning_and_its_end(tmp_path: Path) -> None:
    said = run(
        command(tmp_path / "run", model="lsm", weight="2", readout="ridge", record="0")
    ).stdout.splitlines()
    for split, count in (("validation", 60), ("test", 80), ("train", 200)):
        assert f"features {split}: 0 of {count} samples" in said
        (end,) = [line for line in said if line.startswith(f"features {split}: {count} of {count} samples, ")]
        assert end.endswith(" s")
    assert "readout ridge: 200 training samples" in said


def test_lines_between_where_a_resumed_phase_begins_and_none_after_a_failure(monkeypatch) -> None:
    monkeypatch.setattr(progress, "PAUSE", -1.0)
    said: list[str] = []
    with progress.Phase("work", 5, "steps", said.append, done=1) as phase:
        phase.update(2)
        phase.update(2)
    assert [line.split(",")[0] for line in said] == [
        "work: 1 of 5 steps",
        "work: 3 of 5 steps",
        "work: 5 of 5 steps",
    ]
    with pytest.raises(ValueError, match="broken"), progress.Phase("work", 5, "steps", said.append):
        raise ValueError("broken")
    assert said[3:] == ["work: 0 of 5 steps"]
    with progress.Phase("nothing", 0, "steps", said.append):
        pass
    assert len(said) == 4
