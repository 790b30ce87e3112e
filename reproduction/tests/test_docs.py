"""The pages of the site, without building it: links, terms, tutorials, and README examples as their first cells."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
METHODS = ("denram", "sbs", "bdfa", "dalton", "nalsm")
TUTORIALS = sorted(page for page in (DOCS / "tutorials").glob("*.md") if page.name != "index.md")
WRITTEN = ("api-", "cli-", "rules-")  # pages that a build writes


def load(file: Path):
    """A module that is not on the path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


places = load(DOCS / "_ext/places.py")


def cells(page: Path) -> list[str]:
    """The code cells of a tutorial."""
    return re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)


def lines(code: str) -> list[str]:
    """The lines of a program, except empty ones."""
    return [line.rstrip() for line in code.splitlines() if line.strip()]


@pytest.mark.parametrize("package", METHODS)
def test_the_example_of_a_readme_is_how_its_tutorial_begins(package):
    readme = (ROOT / f"packages/{package}/README.md").read_text("utf-8")
    example = lines(re.search(r"^```python\n(.*?)^```$", readme, re.M | re.S)[1])
    shown = cells(DOCS / f"tutorials/{package}-first.md")
    begun = [lines("\n".join(shown[:number])) for number in range(1, len(shown))]
    assert example in begun, f"change both: the README of {package} and docs/tutorials/{package}-first.md"


def test_there_are_at_most_18_tutorials_and_all_are_listed():
    listed = re.findall(r"^([a-z][a-z0-9-]*)$", (DOCS / "tutorials/index.md").read_text("utf-8"), re.M)
    assert sorted(listed) == [page.stem for page in TUTORIALS]
    assert len(listed) <= 18


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_ends_in_a_figure_and_compiles(page):
    for number, code in enumerate(cells(page)):
        compile(re.sub(r"^:tags:.*$", "", code, flags=re.M), f"{page.stem} cell {number}", "exec")
    last = cells(page)[-1]
    assert "import matplotlib.pyplot as plt" in last, "the last cell draws"
    assert 'plt.style.use("reprokit.paper")' in last, "in the shared style"
    assert last.rstrip().endswith(";"), "and prints nothing"
    assert not re.search(r'"#[0-9A-Fa-f]{6}"', last), "colours come from reprokit.plots.colour"


def test_tutorials_in_one_folder_do_not_meet():
    used = {}
    for page in TUTORIALS:
        for name in set(re.findall(r'"(runs/[^"{]*|[^"/{]+\.(?:npz|toml))', "\n".join(cells(page)))):
            used.setdefault(name, []).append(page.stem)
    assert used.pop("runs/first") == ["sbs-answer", "sbs-first"]  # the same run
    assert len(used) >= 8
    assert {name: pages for name, pages in used.items() if len(pages) > 1} == {}


@pytest.mark.parametrize("package", METHODS)
def test_every_term_of_a_chapter_leads_to_code(package):
    found = places.terms((DOCS / f"methods/{package}.md").read_text("utf-8"))
    assert len(found) >= 5
    for _, names in found:
        assert names
        for name in names:
            places.place_of(name)


def test_a_dead_term_is_noticed():
    for name in ("bdfa.rules.fa.Gone", "bdfa.gone", "bdfa.rules.fa.FALinear.gone"):
        with pytest.raises(ValueError, match=name.rpartition(".")[0].split(".")[0]):
            places.place_of(name)


def pages() -> list[Path]:
    """Pages that are written by hand."""
    found = [page for page in DOCS.rglob("*.md") if "_build" not in page.parts]
    return sorted(page for page in found if not page.name.startswith(WRITTEN) and page.parent.name != "names")


def others() -> list[Path]:
    """What is written outside the site."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("packages/*/*.md"), *ROOT.glob("shared/*.md")]
    return sorted([*found, *ROOT.glob("benchmarks/*.md"), *ROOT.glob("reproduction/*/*.md")])


def named(page: Path) -> str:
    """The name of a page in the output of tests."""
    return page.relative_to(ROOT).with_suffix("").as_posix()


@pytest.mark.parametrize("page", [*pages(), *others()], ids=named)
def test_links_lead_to_files(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.M | re.S)
    text = re.sub(r"`[^`\n]*`", "", text)
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" in link:
            inside = re.fullmatch(r"https://github\.com/brainrules/brainrules/(?:blob|tree)/main/(.+)", link)
            assert inside is None or (ROOT / inside[1]).exists(), link
        elif not Path(link).name.startswith(WRITTEN):
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", pages(), ids=named)
def test_pictures_and_sections_of_readmes_are_there(page):
    text = page.read_text("utf-8")
    for picture in re.findall(r"^```\{(?:image|figure)\} (\S+)$", text, re.M):
        drawn = re.sub(r"figures/(\w+?)(?:-dark)?\.svg$", r"figures/\1.py", picture)
        assert (page.parent / drawn).is_file(), picture
    for study in re.findall(r"^```\{study\} (\S+)$", text, re.M):
        assert (ROOT / f"reproduction/{study}.svg").is_file(), study
    for package, heading in re.findall(r"^```\{readme\} (\w+)\n(.+)\n```$", text, re.M):
        readme = (ROOT / f"packages/{package}/README.md").read_text("utf-8")
        assert f"\n## {heading}\n" in readme, f"the README of {package} has no section {heading!r}"


def programs(page: str) -> list[str]:
    """The Python programs of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text("utf-8"), re.M | re.S)


def test_the_command_line_of_a_new_method_works(monkeypatch, capsys):
    (program,) = programs("adding-a-method.md")
    scope = {"__name__": "mine"}
    exec(program, scope)
    assert scope["main"](["train", "--epochs", "5"]) == 0
    assert capsys.readouterr().out == "5 epochs\n"


@pytest.mark.slow
@pytest.mark.parametrize("program", programs("howto.md"), ids=lambda text: text.splitlines()[0][:24])
def test_recipes_run(program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    exec(program, {})


def test_a_tutorial_becomes_a_notebook(tmp_path):
    page = DOCS / "tutorials/denram-first.md"
    made = json.loads(load(DOCS / "_ext/notebooks.py").notebook(page, ROOT))
    code = ["".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "code"]
    assert [lines(one) for one in code] == [lines(one) for one in cells(page)]
    prose = "".join("".join(cell["source"]) for cell in made["cells"] if cell["cell_type"] == "markdown")
    assert prose.startswith("# DenRAM: a first network")
    assert "[What a DenRAM network does with one recording](https://github.com/" in prose
    assert "/blob/main/docs/tutorials/denram-inside.md)" in prose
    assert made["nbformat"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("package", [*METHODS, "reprokit"])
def test_the_reference_has_every_public_name_and_command(package, monkeypatch):
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(DOCS / "_ext")
    generated = load(DOCS / "_ext/generated.py")
    page = generated.api_page(package)
    for name in places.public_names(package):
        assert re.search(rf"^(?: {{3}}|\.\. py:data:: {package}\.|- `{package}\.){name}\b", page, re.M), name
    commands = generated.commands(package)
    assert {("judge",), ("data",), ("data", "fetch"), ("completion",)} <= set(commands)
    page = generated.cli_page(package)
    for words in commands:
        assert f"{'#' * (1 + len(words))} {package} {' '.join(words)}\n" in page
    assert package == "reprokit" or "--profile" in page  # not the names of the commands alone
