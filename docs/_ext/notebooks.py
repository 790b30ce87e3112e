"""Tutorials as notebooks to download: the same cells, with links that work outside of the site."""

import json
import os
import re
from pathlib import Path

REPOSITORY = "https://github.com/brainrules/brainrules/blob/main"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$\n?", re.MULTILINE | re.DOTALL)


def notebook(page: Path, root: Path) -> str:
    """Return a tutorial as the text of an .ipynb file without outputs.

    Args:
        page: A page in the text format of MyST-NB.
        root: The repository.
    """
    text = re.sub(r"\A---\n.*?^---\n", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    cells, begin = [], 0
    for found in CELL.finditer(text):
        cells += prose(text[begin : found.start()], page, root)
        code = re.sub(r"\A:tags:.*\n\s*", "", found[1])
        cells.append(cell("code", code) | {"execution_count": None, "outputs": []})
        begin = found.end()
    cells += prose(text[begin:], page, root)
    for number, entry in enumerate(cells):
        entry["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def cell(kind: str, text: str) -> dict:
    """A cell of a notebook."""
    return {"cell_type": kind, "metadata": {}, "source": text.strip("\n").splitlines(keepends=True)}


def prose(text: str, page: Path, root: Path) -> list[dict]:
    """Text between two code cells, as at most one cell."""
    text = re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", lambda link: moved(link[1], link[2], page, root), text)
    text = re.sub(r"\{py:\w+\}(`[^`]+`)", r"\1", text)
    return [cell("markdown", text)] if text.strip() else []


def moved(words: str, target: str, page: Path, root: Path) -> str:
    """A link to another page as one to the repository, with the page's title if the link has no text."""
    if "://" in target or target.startswith("#"):
        return f"[{words}]({target})"
    file, _, part = target.partition("#")
    place = Path(os.path.normpath(page.parent / file))
    if not words and place.is_file():
        words = re.search(r"^# (.+)$", place.read_text(encoding="utf-8"), re.MULTILINE)[1]
    return f"[{words}]({REPOSITORY}/{place.relative_to(root)}{'#' + part if part else ''})"
