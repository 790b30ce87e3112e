"""The results page: one HTML file with every claim, its verdict, its ledger rows and the figures."""

import base64
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprokit.atomic import atomic_write, make_folder
from reprokit.claims import Verdict
from reprokit.commands import with_spread
from reprokit.errors import UserError
from reprokit.runinfo import git_commit

FIGURES = (".png", ".svg", ".jpg")

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Published and measured</title>
<style>
  body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
  table { border-collapse: collapse; margin: 1rem 0; }
  th, td { padding: .25rem .7rem; text-align: left; border-bottom: 1px solid #ddd; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; }
  .ok { color: #146c2e; } .near { color: #8a5a00; } .fail { color: #b3261e; font-weight: bold; }
  .reduced, .not-run { color: #5f6368; }
  .rows { overflow-x: auto; font-size: 13px; }
  img { max-width: 44rem; width: 100%; }
</style>
<h1>Published and measured</h1>
<p>Commit {{ commit }}.
{% for status, count in counts %}{{ count }} {{ status }}{{ ", " if not loop.last }}{% endfor %}.
Near: outside the tolerance, within twice of it. Reduced: measured on other data, at a smaller scale or
with fewer seeds than the claim asks for, and therefore not judged.</p>
{% for package, verdicts in packages %}
<h2>{{ package }}</h2>
<table>
<tr><th>claim<th>published<th>measured<th>tolerance<th>seeds<th>verdict<th>note<th>source<th>command</tr>
{% for v in verdicts %}
<tr><td><a href="#{{ v.claim.id }}">{{ v.claim.id }}</a>
<td class="number">{{ number(v.claim, v.claim.value, v.claim.spread) }} {{ v.claim.unit }}
<td class="number">{{ number(v.claim, v.measured, v.spread) }}
<td class="number">{{ number(v.claim, v.claim.tolerance, none) }}
<td class="number">{{ v.seeds | length }}
<td class="{{ v.status | replace(' ', '-') }}">{{ v.status }}
<td>{{ v.note }}<td>{{ v.claim.source }} ({{ v.claim.source_kind }})
<td><code>{{ v.claim.command }}</code></tr>
{% endfor %}
</table>
{% for name, address in figures[package] %}
<figure><img src="{{ address }}" alt="{{ name }}"><figcaption>{{ name }}</figcaption></figure>
{% endfor %}
{% for v in verdicts if v.rows %}
<h3 id="{{ v.claim.id }}">{{ v.claim.id }}</h3>
<div class="rows"><table>
<tr>{% for column in v.rows[0] if column != "config" %}<th>{{ column }}{% endfor %}</tr>
{% for row in v.rows %}
<tr>{% for column, cell in row.items() if column != "config" %}<td>{{ cell }}{% endfor %}</tr>
{% endfor %}
</table></div>
{% endfor %}
{% endfor %}
</html>
"""


def write_report(path: str | Path, verdicts: Sequence[Verdict], reproduction_dir: str | Path) -> Path:
    """Write the results page.

    Args:
        path: HTML file to write; it needs no other file.
        verdicts: From `judge`.
        reproduction_dir: Folder the claims' ledgers lie below; figures beside a ledger are shown.

    Returns:
        `path`.

    Raises:
        UserError: jinja2 is not installed, or the folder of `path` cannot be created.
    """
    try:
        from jinja2 import Environment
    except ImportError as error:
        raise UserError("the results page needs jinja2; install it with: pip install jinja2") from error
    packages = {verdict.claim.package: [] for verdict in verdicts}
    for verdict in verdicts:
        packages[verdict.claim.package].append(verdict)
    statuses = [verdict.status for verdict in verdicts]
    page = Environment(autoescape=True, trim_blocks=True).from_string(PAGE)
    text = page.render(
        commit=git_commit(),
        counts=[(status, statuses.count(status)) for status in dict.fromkeys(statuses)],
        packages=list(packages.items()),
        figures={name: _figures(group, Path(reproduction_dir)) for name, group in packages.items()},
        number=_number,
    )
    path = Path(path)
    make_folder(path.parent, "folder of the results page")
    atomic_write(path, text.encode())
    return path


def _number(claim: Any, mean: float | None, spread: float | None) -> str:
    return "-" if mean is None else with_spread(claim, mean, spread)


def _figures(verdicts: Sequence[Verdict], folder: Path) -> list[tuple[str, str]]:
    """Return the figures beside the ledgers as (path, data address); of one name the first kind counts."""
    found: dict[Path, Path] = {}
    for ledger_folder in dict.fromkeys((folder / verdict.claim.ledger).parent for verdict in verdicts):
        for kind in FIGURES:
            for figure in sorted(ledger_folder.glob(f"*{kind}")):
                found.setdefault(figure.with_suffix(""), figure)
    return [(figure.relative_to(folder).as_posix(), _inline(figure)) for figure in found.values()]


def _inline(figure: Path) -> str:
    """Return an image as a data address; an SVG in an `img` runs no scripts."""
    kind = mimetypes.guess_type(figure.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(figure.read_bytes()).decode()}"
