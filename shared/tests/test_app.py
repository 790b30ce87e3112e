"""One kind of command line for all packages."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from reprokit import UserError
from reprokit.cli import App
from reprokit.cli.app import join_repeated
from tyro.conf import Positional


@dataclass(frozen=True)
class Layer:
    """Part of a configuration."""

    width: int = 10
    """Neurons."""


@dataclass(frozen=True)
class Config:
    """A configuration with a check."""

    rule: Literal["bp", "dfa"] = "bp"
    """Learning rule."""
    epochs: int = 3
    """Passes over the data."""
    sizes: tuple[int, ...] = (4, 2)
    """Widths."""
    layer: Layer = field(default_factory=Layer)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; it must be at least 1")


@dataclass(frozen=True)
class Where:
    """The directory of a run."""

    out: Path | None = None
    """Run directory."""
    resume: bool = True
    """Whether to continue."""


@pytest.fixture
def calls():
    return []


@pytest.fixture
def app(calls):
    app = App("prog", summary="A program.", config=Config, presets={"long": Config(epochs=90)})

    @app.command
    def train(config: Config, where: Where) -> None:
        """Train a network.

        The same command continues an interrupted run.
        """
        calls.append((config, where))

    @app.command(aliases=("test",))
    def evaluate(runs: Positional[tuple[Path, ...]], only: tuple[str, ...] = (), threads: int = 1) -> int:
        """Measure the accuracy of runs.

        Args:
            runs: Run directories.
            only: What to measure.
            threads: CPU threads.
        """
        calls.append((runs, only, threads))
        return 1

    @app.command(raw=True)
    def th(words: list[str]) -> None:
        """Take the original's words."""
        calls.append(words)

    return app


def test_fields_are_flags_and_checks_run_after_parsing(app, calls, capsys):
    assert app.main(["train", "--epochs", "5", "--out", "x", "--no-resume", "--layer.width", "3"]) == 0
    assert calls == [(Config(epochs=5, layer=Layer(3)), Where(Path("x"), resume=False))]
    assert type(calls[0][0]) is Config
    assert app.main(["train", "--epochs", "0"]) == 2
    assert capsys.readouterr().err == "error: epochs is 0; it must be at least 1\n"


def test_a_preset_gives_defaults_that_flags_override(app, calls, capsys):
    assert app.main(["train", "long", "--rule", "dfa"]) == 0
    assert calls[0][0] == Config(rule="dfa", epochs=90)
    assert app.main(["train", "lon"]) == 2
    err = capsys.readouterr().err
    assert "CONFIG is 'lon'" in err
    assert "'long'" in err
    assert err.count("\n") == 1


def test_a_configuration_is_read_from_a_file(app, calls, tmp_path, capsys):
    file = tmp_path / "own.toml"
    file.write_text("epochs = 7\n[layer]\nwidth = 2\n")
    assert app.main(["train", str(file)]) == 0
    assert calls[0][0] == Config(epochs=7, layer=Layer(2))
    file.write_text("epocs = 7\n")
    assert app.main(["train", str(file)]) == 2
    assert "epochs" in capsys.readouterr().err


def test_repeated_list_flags_add_up(app, calls):
    assert app.main(["evaluate", "a", "b", "--only", "x", "--threads", "2", "--only", "y", "z"]) == 1
    assert calls == [((Path("a"), Path("b")), ("x", "y", "z"), 2)]
    calls.clear()
    app.main(["train", "--sizes", "5", "--epochs", "1", "--sizes=6", "--epochs", "2"])
    assert calls[0][0] == Config(epochs=2, sizes=(5, 6))


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("--only a --jobs 2 --only b", "--only a b --jobs 2"),
        ("run --only=a --only=b", "run --only a b"),
        ("--x -1 --x -2 --jobs 1 --jobs 2", "--x -1 -2 --jobs 1 --jobs 2"),
        ("--no_x 1", "--no_x 1"),
    ],
)
def test_joining(words, joined):
    assert join_repeated(words.split(), {"--only", "--x"}) == joined.split()


def test_synonyms_and_raw_words(app, calls):
    assert app.main(["test", "a"]) == 1
    assert app.main(["th", "-LR", "1e-4"]) == 0
    assert calls == [((Path("a"),), (), 1), ["-LR", "1e-4"]]


def test_help_lists_every_command(app, capsys):
    assert app.main(["--help"]) == 0
    out = capsys.readouterr().out
    for line in (
        "train       Train a network.",
        "evaluate    Measure the accuracy of runs.",
        "judge ",
        "data ",
    ):
        assert f"  {line}" in out
    assert app.main([]) == 2
    capsys.readouterr()
    assert app.main(["train", "--help"]) == 0
    out = capsys.readouterr().out
    for words in ("--layer.width", "Passes over the data", "CONFIG", "long", "--no-resume"):
        assert words in out
    assert app.main(["evaluate", "--help"]) == 0
    assert "What to measure." in capsys.readouterr().out


def test_a_mistyped_command_gets_a_hint(app, capsys):
    assert app.main(["trian"]) == 2
    err = capsys.readouterr().err
    assert "'trian' is not a command of prog" in err
    assert "'train'" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--epoch", "3"], "unrecognized options: --epoch, 3 (did you mean --epochs?)"),
        (["train", "--rule", "xy"], "invalid choice 'xy' for argument '--rule'. expected one of"),
        (["train", "--epochs", "x"], "error parsing --epochs: invalid literal"),
        (
            ["completion", "fish"],
            "invalid choice 'fish' for argument 'shell'. expected one of ('bash', 'zsh')",
        ),
    ],
)
def test_wrong_flags_are_one_sentence_and_2(app, calls, capsys, words, sentence):
    assert app.main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said.lower()
    assert said.count("\n") == 1
    assert said.endswith(f"see prog {words[0]} --help\n")
    assert calls == []


def test_a_command_writes_to_stderr_itself(capsys):
    app = App("prog", summary="A program.")

    @app.command
    def warn() -> int:
        """Warn."""
        print("said at once", file=sys.stderr)
        return 3

    assert app.main(["warn"]) == 3
    assert capsys.readouterr().err == "said at once\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion(app, shell, capsys):
    assert app.main(["completion", shell]) == 0
    out = capsys.readouterr().out
    assert "evaluate" in out
    assert "--epochs" in out
    assert app.main(["completion", "--help"]) == 0
    assert "prog completion bash" in capsys.readouterr().out


def test_rewriting_gives_the_originals_words_their_names(calls):
    app = App("prog", summary="", config=Config, rewrite=lambda w: [x.replace("--ep", "--epochs") for x in w])

    @app.command
    def train(config: Config) -> None:
        """Train."""
        calls.append(config.epochs)

    assert app.main(["train", "--ep", "8"]) == 0
    assert calls == [8]


def test_judge_outside_a_clone(app, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert app.main(["judge"]) == 2
    assert "run this inside a clone" in capsys.readouterr().err


def test_the_version_names_what_runs(capsys):
    app = App("reprokit", summary="", core=lambda: "portable")
    assert app.main(["--version"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("reprokit ")
    assert "core: portable" in out
    assert "commit: " in out


def test_help_loads_no_framework():
    code = "import sys; from reprokit.cli import main; main(['--help']); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
