"""The command ``reprokit data``."""

import subprocess
import sys

import pytest
from reprokit import cli
from reprokit.cli import data as datacli
from reprokit.data import catalog


@pytest.fixture
def known(server, monkeypatch):
    """A catalogue of one small data set."""
    dataset = server.dataset("set", data__bin=b"content" * 1000)
    monkeypatch.setattr(catalog, "CATALOG", {"set": dataset})
    monkeypatch.setattr(datacli, "CATALOG", {"set": dataset})
    return dataset


def run(*arguments: str) -> int:
    return cli.run(lambda: datacli.main(arguments))


def test_fetch_verify_list_where(known, cache, capsys):
    assert run("list") == 0
    assert "set            not fetched" in capsys.readouterr().out
    assert run("fetch", "set") == 0
    assert capsys.readouterr().out == f"set: {cache / 'set'}\n"
    assert run("verify", "set") == 0
    assert capsys.readouterr().out == "set: all right\n"
    assert run("where", "set") == 0
    assert capsys.readouterr().out == f"{cache / 'set'}\n"
    assert run("list") == 0
    assert "set            here" in capsys.readouterr().out


def test_verify_reports_and_fetch_repairs(known, cache, capsys):
    run("fetch", "set")
    (cache / "set" / "data.bin").write_bytes(b"changed")
    capsys.readouterr()
    assert run("verify", "set") == 1
    out = capsys.readouterr().out
    assert out == "set: missing or damaged: data.bin; repair with: reprokit data fetch set\n"
    assert run("list") == 0
    assert "incomplete" in capsys.readouterr().out
    assert run("fetch", "set") == 0
    assert run("verify", "set") == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fetch", "nope"), "unknown data set 'nope'; known are set"),
        (("fetch",), "name at least one data set of set"),
        (("verify", "spoken-toy"), "spoken-toy is generated when it is used"),
    ],
)
def test_mistakes_are_one_sentence_and_exit_code_2(known, capsys, arguments, words):
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_mounted_in_the_command_line():
    result = subprocess.run(
        [sys.executable, "-c", "import sys; from reprokit.cli import main; sys.exit(main())", "data", "list"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "Spiking Heidelberg Digits" in result.stdout
    assert "spoken-toy" in result.stdout
