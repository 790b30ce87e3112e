"""Every command that a page shows is understood: by the real parsers, the Makefile, or the file it names.

The packages' own tests run the commands of their READMEs; here nothing runs, so nothing needs data or time.
"""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from reprokit.cli import App

ROOT = Path(__file__).parents[2]
METHODS = ("denram", "sbs", "bdfa", "dalton", "nalsm")
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "shared/*.md",
        "packages/*/README.md",
        "reproduction/*/*.md",
        "benchmarks/*.md",
        "docs/**/*.md",
    )
    for page in ROOT.glob(pattern)
    if not {"_build", "names", "decisions"} & set(page.parts)
    and not page.name.startswith(("api-", "cli-", "rules-", "CHANGELOG", "numbers-", "adding-"))
)
PROGRAMS = ("make", "python", "pip", "pytest", "reprokit", *METHODS)
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z0-9-]*)(?=[ a-z0-9-]*:)", MAKEFILE, re.MULTILINE))
TARGETS |= set(" ".join(re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)).split())


def commands(page: Path) -> list[str]:
    """Commands on lines of blocks, and in backticks; without comments, with names instead of placeholders."""
    text = page.read_text(encoding="utf-8")
    first = "|".join(PROGRAMS)
    found = re.findall(rf"`((?:{first}) [^`\n]+)`", text)
    for block in re.findall(r"^```[^\n]*\n(.*?)^```$|((?:^    .*\n)+)", text, re.MULTILINE | re.DOTALL):
        found += re.findall(rf"^ *((?:{first}) [^#\n]+)", "".join(block), re.MULTILINE)
    found = [re.sub(r"<[^>]*>", "folder", command).strip() for command in found]
    return list(
        dict.fromkeys(
            command for command in found if not re.search(r"\.\.\.|COMMAND|package\.module", command)
        )
    )


SHOWN = [(page, command) for page in PAGES for command in commands(page)]
BY_PROGRAM = {
    program: sorted({command for _, command in SHOWN if command.split()[0] == program})
    for program in PROGRAMS
}


def test_commands_are_found():
    assert all(BY_PROGRAM[program] for program in PROGRAMS)
    assert sum(map(len, BY_PROGRAM.values())) >= 120


@pytest.mark.parametrize("command", BY_PROGRAM["make"])
def test_make_knows_the_target_and_its_variables(command):
    for word in shlex.split(command)[1:]:
        name, is_variable, value = word.partition("=")
        if is_variable:
            assert re.search(rf"^{name} \?=|\$\({name}\)", MAKEFILE, re.MULTILINE), f"no variable {name}"
            assert name != "SCALE" or value in ("smoke", "reduced", "paper")
        elif not word.endswith("-*"):
            start = word.partition("-")[0]
            assert word in TARGETS or (
                start in ("test", "bench") and re.search(rf"^{start}-%:", MAKEFILE, re.M)
            ), word


@pytest.mark.parametrize("command", [*BY_PROGRAM["python"], *BY_PROGRAM["pytest"]])
def test_programs_exist(command):
    words = [word for word in shlex.split(command)[1:] if "/" in word and not word.startswith("-")]
    for word in words:
        assert list(ROOT.glob(word.split("::")[0].replace("folder", "*"))), word


@pytest.mark.parametrize("command", BY_PROGRAM["pip"])
def test_pip_finds_the_folder_and_the_extra(command):
    for word in shlex.split(command)[2:]:
        place, _, extra = word.rstrip("]").partition("[")
        if place.startswith(("packages/", "./", "shared")):
            project = tomllib.loads((ROOT / place / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            assert not extra or set(extra.split(",")) <= set(project["optional-dependencies"])


@pytest.fixture
def parse(monkeypatch):
    """Parses a command line and calls nothing; a configuration that is not there is the default."""
    parsed = App._parsed

    def only_parsed(app, *values):
        parsed(app, *values)
        return lambda: 0

    monkeypatch.setattr(App, "_parsed", only_parsed)

    def run(command: str) -> None:
        package, *words = shlex.split(command)
        app = importlib.import_module(f"{package}.cli").app
        if words[0].startswith("-"):
            assert words in (["--version"], ["--help"])
            return
        meant = app.rewrite(list(words)) if app.rewrite else words
        (chosen,) = (c for c in app._all().values() if meant[0] in (c.name, *c.aliases))
        if chosen.raw or "--help" in words or len(words) == 1:  # a command that the text only names
            return
        load = app.load

        def loaded(source: str, more: list[str]) -> tuple[object, list[str]]:
            if source in app.presets or package == "sbs":
                return load(source if source in app.presets else "digits-smoke", more)
            return app.config(), more  # of own files and runs, which are not there

        monkeypatch.setattr(app, "load", loaded)
        assert not app.dispatch(words)

    return run


@pytest.mark.parametrize("command", [line for package in METHODS for line in BY_PROGRAM[package]])
def test_packages_understand_their_commands(command, parse):
    pytest.importorskip(command.split()[0], reason="not installed here")
    parse(command)


def test_a_flag_that_is_gone_is_noticed(parse):
    pytest.importorskip("bdfa", reason="bdfa is not installed here")
    with pytest.raises(Exception, match="--gone"):
        parse("bdfa train smoke --gone 3")
