"""A user's own code: found next to the data, named by its source, refused in one sentence."""

import sys
from pathlib import Path

import pytest
from reprokit import UserError
from reprokit.own_code import (
    check_source,
    is_import_path,
    load_factory,
    source_digest,
    source_file,
    source_note,
)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])


def test_a_file_in_the_working_folder_is_found_and_named_by_its_content(tmp_path: Path) -> None:
    file = tmp_path / "own_code_example.py"
    file.write_text("def made(value):\n    return 2 * value\n")
    path = "own_code_example:made"
    assert is_import_path(path)
    assert not is_import_path("dfa")
    assert source_file(path, "--rule") == file
    before = source_digest(path, "--rule")
    assert "own_code_example" not in sys.modules  # the digest is taken without running the file
    assert load_factory(path, "--rule")(3) == 6
    note = source_note(path, "--rule")
    assert note == f"{path} {before}"
    check_source(path, "--rule", note)
    file.write_text("def made(value):\n    return 3 * value\n")
    assert source_digest(path, "--rule") != before
    assert source_note(path, "--rule", note) == note  # what a stored configuration says stays
    assert source_note(path, "--rule", "other:made 0123") != note
    with pytest.raises(
        UserError, match=f"the file {file} of --rule {path} changed since the run in here began"
    ):
        check_source(path, "--rule", note, "here")
    assert load_factory(path, "--rule")(3) == 9  # the code that runs is that of the digest
    del sys.modules["own_code_example"]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("own_code_absent:made", "there is no module 'own_code_absent'"),
        ("own_code_absent.inner:made", "cannot be imported"),
        ("reprokit.own_code:absent", "has no 'absent'"),
        ("reprokit.run.prediction:SAMPLES", "has a str 'SAMPLES'"),
        ("sys:exit", "has no source file"),
        (":made", "must be an import path"),
        ("own_code_absent:", "must be an import path"),
    ],
)
def test_what_cannot_be_used_is_refused(path: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load_factory(path, "--rule")


def test_a_module_that_fails_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "own_code_broken.py").write_text("raise RuntimeError('two\\nlines')\n")
    with pytest.raises(UserError, match=r"RuntimeError: two lines"):
        load_factory("own_code_broken:made", "--rule")
