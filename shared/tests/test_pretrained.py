"""Trained models inside a package: found by name, read whole or refused with one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest
from reprokit import UserError, run_id
from reprokit.run.pretrained import (
    Packed,
    find_pretrained,
    pretrained_lines,
    pretrained_names,
    read_pretrained,
    smallest,
    write_pretrained,
)

CONFIG = {"package": "toy", "seed": 1}
ROW = {"run_id": run_id(CONFIG), "test_accuracy": 0.985, "test_samples": 10_000}
PACKED = Packed(CONFIG, {"weights": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"largest": 255.0})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("toy", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('it is not imported')")
    write_pretrained(tmp_path / "toy" / "pretrained" / "mnist", PACKED, ROW)
    (tmp_path / "toy" / "pretrained" / "__pycache__").mkdir()
    return tmp_path / "toy" / "pretrained" / "mnist"


def test_a_model_is_found_by_its_name(package: Path) -> None:
    assert pretrained_names("toy") == ("mnist",)
    found = find_pretrained("toy", "mnist")
    assert (found.path, found.config, found.row, found.state) == (package, CONFIG, ROW, PACKED.state)
    assert np.array_equal(found.arrays["weights"], PACKED.arrays["weights"])
    assert pretrained_lines("toy") == ["pretrained: mnist, 98.50 % of 10000 test samples"]


@pytest.mark.usefixtures("package")
def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UserError, match=r"'minst' is unknown \(did you mean 'mnist'\?\); choose one of mnist"
    ):
        find_pretrained("toy", "minst")
    assert pretrained_names("other") == ()
    with pytest.raises(UserError, match="'mnist' is unknown; other has none"):
        find_pretrained("other", "mnist")


def test_damage_is_refused(package: Path) -> None:
    weights = package / "weights.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(UserError, match=r"weights\.safetensors is damaged.*; install toy again"):
        find_pretrained("toy", "mnist")
    weights.write_bytes(whole)
    (package / "config.json").write_text(json.dumps(CONFIG | {"seed": 2}))
    with pytest.raises(UserError, match=r"row\.json is of another run than config\.json"):
        read_pretrained(package)


def test_a_row_of_another_run_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the row of .* is of run 0"):
        write_pretrained(tmp_path / "mnist", PACKED, ROW | {"run_id": "0"})
    assert not (tmp_path / "mnist").exists()


def test_whole_numbers_take_few_bytes() -> None:
    assert smallest(np.array([0.0, 200.0], np.float32)).dtype == np.uint8
    assert smallest(np.array([0, 300])).dtype == np.uint16
    assert smallest(np.zeros(0)).dtype == np.uint8
    for wrong in ([0.5], [-1]):
        with pytest.raises(ValueError, match="whole numbers"):
            smallest(np.array(wrong))
