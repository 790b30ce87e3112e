"""Pages and tables made from the packages themselves, so that they cannot go stale.

- `reference/api-<package>.md`: the public names, read from each package's `__init__.pyi`.
- `reference/cli-<package>.md`: `--help` of every command.
- the directive `results`: rows of the judge's table for one package.
- the directive `source`: a table from a term of an equation to the function that computes it.
- the directive `readme`: a section of a package's README.
- the directive `study`: a figure of `reproduction/`, for light and dark pages.
- `tutorials/notebooks/`: the tutorials as notebooks to download.
"""

import importlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from notebooks import REPOSITORY, notebook
from places import PACKAGES, ROOT, SOURCE, place_of, terms
from places import public_names as written_names
from sphinx.application import Sphinx

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def kinds(package: str) -> dict[str, list[str]]:
    """Names of a package's `__init__.pyi` by kind."""
    module = importlib.import_module(package)
    found = {kind: [] for kind in ("Classes", "Functions", "Values", "Modules", "From the shared package")}
    for name in sorted(written_names(package), key=str.lower):
        value = getattr(module, name)
        if isinstance(value, ModuleType):
            kind = "Modules"
        elif package != "reprokit" and getattr(value, "__module__", package).startswith("reprokit"):
            kind = "From the shared package"
        else:
            kind = "Classes" if isinstance(value, type) else "Functions" if callable(value) else "Values"
        found[kind].append(name)
    return found


def rules_modules(package: str) -> list[str]:
    """Modules of the room that holds the learning rule."""
    files = sorted((SOURCE[package] / "rules").glob("*.py")) if package != "reprokit" else []
    return [f"{package}.rules.{file.stem}" for file in files if not file.stem.startswith("_")]


def write_if_new(path: Path, text: str) -> None:
    """Leave a page alone that would stay the same, so that Sphinx does not read it again."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def api_page(package: str) -> str:
    """The page of a package's public names."""
    module = importlib.import_module(package)
    lines = [f"# {package}", "", f"Public names of `{package}`.", ""]
    for kind, names in kinds(package).items():
        if not names:
            continue
        lines += [f"## {kind}", ""]
        if kind == "Modules":
            lines += [f"- `{package}.{name}`: {first_line(getattr(module, name))}" for name in names]
        elif kind == "From the shared package":
            lines += [f"- `{package}.{name}` is {{py:obj}}`reprokit.{name}`." for name in names]
        else:
            lines += ["```{eval-rst}", f".. currentmodule:: {package}", ""]
            if kind == "Values":
                for name in names:
                    lines += [f".. py:data:: {package}.{name}", *shown_value(getattr(module, name)), ""]
            else:
                lines += [".. autosummary::", "   :toctree: names", "   :nosignatures:", ""]
                lines += [f"   {name}" for name in names]
            lines += ["```"]
        lines += [""]
    return "\n".join(lines)


def first_line(module: ModuleType) -> str:
    """The first sentence of a module's docstring, in one line."""
    return " ".join((module.__doc__ or "").strip().split("\n\n")[0].split())


def shown_value(value: object) -> list[str]:
    """The option of `py:data` that shows a value, where it is short."""
    if isinstance(value, dict):
        value = tuple(value)
    text = repr(value)
    return [f"   :value: {text}"] if len(text) < 400 and " at 0x" not in text else []


def rules_page(package: str) -> str:
    """The page of the modules that hold the learning rule."""
    lines = [f"# {package}: the learning rule, module by module", ""]
    for name in rules_modules(package):
        lines += [
            f"## {name}",
            "",
            "```{eval-rst}",
            f".. automodule:: {name}",
            "   :members:",
            "   :no-index:",
            "```",
            "",
        ]
    return "\n".join(lines)


def commands(package: str) -> list[tuple[str, ...]]:
    """Names of a command line's commands and of commands below them, as their own help lists them."""
    found: list[tuple[str, ...]] = []
    for name in re.findall(r"^  ([a-z][a-z0-9-]*) {2,}\S", help_of(package), re.MULTILINE):
        below = re.findall(r"^│\s+• ([a-z][a-z0-9-]*)\s", help_of(package, name), re.MULTILINE)
        found += [(name,), *((name, word) for word in below)]
    return found


def help_of(package: str, *words: str) -> str:
    """What `package words --help` prints, without colours, 72 columns wide."""
    main = importlib.import_module(f"{package}.cli").main
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before = os.environ.copy()
    os.environ.update({"COLUMNS": "72", "NO_COLOR": "1", "TERM": "dumb", "REPROKIT_OFFLINE": "1"})
    try:
        with redirect_stdout(printed):
            code = main([*words, "--help"])
    except SystemExit as end:
        code = end.code
    finally:
        os.environ.clear()
        os.environ.update(before)
    if code:
        raise RuntimeError(f"{package} {' '.join(words)} --help failed")
    printed.seek(0)
    return ANSI.sub("", printed.read()).rstrip()


def cli_page(package: str) -> str:
    """The page of a command line."""
    lines = [f"# The command `{package}`", "", "```text", help_of(package), "```", ""]
    for words in commands(package):
        title = f"{'#' * (1 + len(words))} {package} {' '.join(words)}"
        lines += [title, "", "```text", help_of(package, *words), "```", ""]
    return "\n".join(lines)


def write_figures(folder: Path) -> None:
    """Draw the figures of the chapters that are older than their scripts, as SVG for light and dark pages."""
    sys.path.insert(0, str(folder))
    from reprokit.plots import style

    for script in sorted(folder.glob("[a-z]*.py")):
        picture = script.with_suffix(".svg")
        if picture.exists() and picture.stat().st_mtime > script.stat().st_mtime:
            continue
        spec = importlib.util.spec_from_file_location(f"figure_{script.stem}", script)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        with style():
            module.draw().savefig(picture, transparent=True)
        picture.with_name(f"{script.stem}-dark.svg").write_text(darkened(picture.read_text()))


def write_studies(folder: Path) -> None:
    """Write the figures of studies as they are on dark pages."""
    for picture in sorted((ROOT / "reproduction").glob("*/*.svg")):
        dark = darkened(picture.read_text(encoding="utf-8"))
        write_if_new(folder / f"{picture.parent.name}-{picture.stem}-dark.svg", dark)


def darkened(picture: str) -> str:
    """An SVG for a dark page: greys are inverted, colours stay."""
    dark = re.sub(r"#([0-9a-f]{2})\1\1\b", lambda grey: inverted(grey[1]), picture)
    return dark.replace("<svg ", f'<svg fill="{inverted("00")}" ', 1)  # what is black has no colour set


def inverted(grey: str) -> str:
    """A grey of a light page as it is on a dark one, where the page is #14181e and text is light."""
    if grey == "ff":
        return "#14181e"
    value = round(232 - int(grey, 16) * (232 - 24) / 255)
    return f"#{value:02x}{value:02x}{value:02x}"


def write_notebooks(folder: Path) -> None:
    """Write every tutorial as a notebook to download."""
    for page in sorted(folder.glob("*.md")):
        if page.name != "index.md":
            write_if_new(folder / "notebooks" / f"{page.stem}.ipynb", notebook(page, ROOT))


def offer_notebook(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put the link to the notebook below the title of a tutorial."""
    if name.startswith("tutorials/") and name != "tutorials/index":
        link = f"{{download}}`Download this page as a notebook <notebooks/{Path(name).name}.ipynb>`"
        source[0] = re.sub(r"^(# .+)$", rf"\1\n\n{link}", source[0], count=1, flags=re.MULTILINE)


def write_pages(app: Sphinx) -> None:
    """Write the reference before Sphinx looks for pages."""
    write_figures(Path(app.srcdir) / "figures")
    write_studies(Path(app.srcdir) / "figures" / "studies")
    write_notebooks(Path(app.srcdir) / "tutorials")
    reference = Path(app.srcdir) / "reference"
    for package in PACKAGES:
        write_if_new(reference / f"api-{package}.md", api_page(package))
        if package != "reprokit":
            write_if_new(reference / f"rules-{package}.md", rules_page(package))
        write_if_new(reference / f"cli-{package}.md", cli_page(package))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [" | ".join(heads), " | ".join("---" for _ in heads)]
    lines += [" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows]
    return [f"| {line} |" for line in lines]


def nested(directive: Directive, lines: Sequence[str]) -> list[nodes.Node]:
    """Markdown as nodes."""
    container = nodes.container()
    directive.state.nested_parse(StringList(list(lines), directive.name), 0, container)
    return container.children


class Results(Directive):
    """`{results} bdfa`: what the judge says of a package's claims, as a table."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        from reprokit import judge, load_claims

        claims = load_claims(ROOT / "reproduction/claims.toml")
        verdicts = [
            verdict
            for verdict in judge(claims, ROOT / "reproduction")
            if verdict.claim.package == self.arguments[0]
        ]
        heads = ("claim", "published", "ours", "verdict", "source")
        measured = [verdict for verdict in verdicts if verdict.measured is not None]
        lines = table(heads, [self.row(verdict) for verdict in measured])
        waiting = [verdict for verdict in verdicts if verdict.measured is None]
        return nested(self, [*lines, *self.not_run(waiting)])

    @staticmethod
    def not_run(verdicts: Sequence[Any]) -> list[str]:
        """Published numbers without a row, by the reason for it."""
        if not verdicts:
            return []
        reasons: dict[str, list[Any]] = {}
        for verdict in verdicts:
            reasons.setdefault(verdict.claim.reason or "nobody has run them yet", []).append(verdict)
        lines = ["", "Not run, with the minutes that one core needs:", ""]
        for reason, group in reasons.items():
            each = ", ".join(f"{v.claim.id} ({v.claim.minutes:g})" for v in group)
            lines.append(f"- {reason}: {each}")
        return lines

    @staticmethod
    def row(verdict: object) -> tuple[str, ...]:
        """One claim's cells."""
        claim = verdict.claim  # type: ignore[attr-defined]
        spread = f" ± {claim.spread:g}" if claim.spread else ""
        measured = verdict.measured  # type: ignore[attr-defined]
        ours = "" if measured is None else f"{measured:.2f} {claim.unit}"
        note = f" ({verdict.note})" if verdict.note else ""  # type: ignore[attr-defined]
        return (
            claim.id,
            f"{claim.value:g}{spread} {claim.unit}",
            ours,
            f"{verdict.status}{note}",  # type: ignore[attr-defined]
            claim.source_kind,
        )


class Source(Directive):
    """Lines `term | name | what` become a table whose names link to the API or to the source."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the table."""
        rows = [
            (term, ", ".join(self.link(name) for name in names))
            for term, names in terms("\n".join(["```{source}", *self.content]))
        ]
        return nested(self, table(("term", "computed by"), rows))

    @staticmethod
    def link(name: str) -> str:
        """A link to the line of the repository that defines `package.module.function`; fails where it is gone."""
        file, line = place_of(name)
        return f"[`{name}`]({REPOSITORY}/{file}{'' if line is None else f'#L{line}'})"


class Readme(Directive):
    """`{readme} bdfa`, with the heading of a section as content: that section of the package's README."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build the section."""
        folder = SOURCE[self.arguments[0]].parents[1]
        text = (folder / "README.md").read_text(encoding="utf-8")
        heading = " ".join(self.content).strip()
        found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if found is None:
            raise self.error(f"the README of {self.arguments[0]} has no section {heading!r}")
        body = re.sub(
            r"\]\((?!https?://|#)([^)\s#]+)",
            lambda link: f"]({REPOSITORY}/{Path(os.path.normpath(folder / link[1])).relative_to(ROOT)}",
            found[1].strip(),
        )
        return nested(self, body.splitlines())


class Study(Directive):
    """`{study} bdfa/angles`, with what it shows as the option `alt` and its caption as content."""

    required_arguments = 1
    option_spec: ClassVar = {"alt": str}
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Build one figure for light pages and one for dark pages."""
        name = self.arguments[0]
        source = Path(self.state.document.current_source or self.state.document["source"])
        light = ROOT / "reproduction" / f"{name}.svg"
        dark = ROOT / "docs" / "figures" / "studies" / f"{name.replace('/', '-')}-dark.svg"
        if not light.is_file():
            raise self.error(f"there is no {light.relative_to(ROOT)}")
        lines = []
        for file, place in ((light, "only-light"), (dark, "only-dark")):
            path = Path(os.path.relpath(file, source.parent)).as_posix()
            lines += [f"```{{figure}} {path}", f":figclass: {place}", f":class: {place}"]
            lines += [f":alt: {self.options['alt']}", ":width: 100%", "", *self.content, "```", ""]
        return nested(self, lines)


def as_text(_app: Sphinx, _what: str, _name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Read a docstring as plain text: |x| and *shape mean themselves, and an indented block is an equation."""
    found: list[str] = []
    inside = literal = False  # of a directive such as `.. math::`; of an indented block
    last = ""
    for line in lines:
        indented = line.startswith("    ") and bool(line.strip())
        if line.strip() and not line.startswith(" "):
            inside, literal = line.startswith(".."), False
        if (
            indented
            and not inside
            and not literal
            and found
            and not found[-1].strip()
            and last[:1] not in (":", " ", ".")
            and not last.endswith("::")
        ):
            found += ["::", ""]
            literal = True
        found.append(line if inside or literal or line.lstrip().startswith("..") else escaped(line))
        if line.strip():
            last = line
    lines[:] = found


def plain_types(
    _app: Sphinx,
    _what: str,
    _name: str,
    _value: object,
    _options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str | None, str | None]:
    """Leave out of signatures what annotations say to the command line only."""
    found = signature and re.sub(r"Annotated\[(.+?), (?:Suppress|Positional)\]", r"\1", signature)
    return found, returned


def escaped(line: str) -> str:
    """Escape bars and stars outside of code."""
    parts = re.split(r"(``[^`]*``|:\w+:`[^`]*`|`[^`]*`)", line)
    for place in range(0, len(parts), 2):
        parts[place] = re.sub(r"(?<!\\)\|", r"\\|", parts[place])
        parts[place] = re.sub(r"(?<![\w*\\])\*(?=\S)", r"\\*", parts[place])
    return "".join(parts)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the pages and directives."""
    app.add_directive("results", Results)
    app.add_directive("source", Source)
    app.add_directive("readme", Readme)
    app.add_directive("study", Study)
    app.connect("source-read", offer_notebook)
    app.connect("autodoc-process-docstring", as_text)
    app.connect("autodoc-process-signature", plain_types)
    write_pages(app)  # before Sphinx looks for pages
    return {"parallel_read_safe": True}
