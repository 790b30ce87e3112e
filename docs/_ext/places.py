"""Where a name of a package is defined: links from chapters, and the test that none of them is dead."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("denram", "sbs", "bdfa", "dalton", "nalsm", "reprokit")
SOURCE = {name: ROOT / "packages" / name / "src" / name for name in PACKAGES} | {
    "reprokit": ROOT / "shared/src/reprokit"
}


def place_of(name: str) -> tuple[Path, int | None]:
    """Return the file that defines `package.module.function`, below the repository, and the line; None: the module.

    Raises:
        ValueError: There is no such module, or nothing of that name in it.
    """
    parts = name.split(".")
    for cut in range(len(parts), 1, -1):
        file = SOURCE[parts[0]].joinpath(*parts[1:cut]).with_suffix(".py")
        if file.is_file():
            break
    else:
        raise ValueError(f"{name}: no such module")
    line, body = None, ast.parse(file.read_text(encoding="utf-8")).body
    for part in parts[cut:]:
        found = [
            node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == part
        ]
        if not found:
            raise ValueError(f"{name}: {file.name} defines no {part}")
        line, body = found[0].lineno, found[0].body
    return file.relative_to(ROOT), line


def terms(page: str) -> list[tuple[str, list[str]]]:
    """Return the terms and names of the `{source}` tables of a page: lines `term | name, name`."""
    found, inside = [], False
    for line in page.splitlines():
        if line.startswith("```"):
            inside = line == "```{source}"
        elif inside and line.strip():
            term, _, names = line.rpartition("|")
            found.append((term.strip(), [name.strip() for name in names.split(",") if name.strip()]))
    return found


def public_names(package: str) -> list[str]:
    """Return the names that a package's `__init__.pyi` makes public."""
    tree = ast.parse((SOURCE[package] / "__init__.pyi").read_text(encoding="utf-8"))
    return [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
