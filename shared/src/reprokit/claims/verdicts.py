"""Verdicts on published numbers, from ledger rows alone.

A claim is about the mean of one metric over a number of seeds. With rows of the published scale on the
claim's own data set, d = |mean - published| decides: `ok` for d <= tolerance, `near` for d <= 2 tolerance,
otherwise `fail`. Rows of another scale or data set, or of too few seeds, are reported as `reduced`, rows of a modified
working tree as `unclean`; without rows, the claim is `not run`. If a seed has several rows, the newest clean one
counts; rows of different revisions of a program are never averaged.

If a standard deviation s over seeds is published, the difference of the means is also given in units of its
standard deviation, z = (mean - published) / (s sqrt(1/n + 1/m)) for n seeds here and m there. If two of these
units exceed the tolerance, n is too small to tell whether the tolerance is met.
"""

import json
import math
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reprokit.claims.claims import Claim, seeds_needed
from reprokit.data.catalog import DIGESTS
from reprokit.errors import UserError
from reprokit.run.ledger import read_lines
from reprokit.run.provenance import MODIFIED, SCALES, run_id

STATUSES = ("ok", "near", "fail", "reduced", "unclean", "not run")
_SEED = re.compile(r"0|-?[1-9][0-9]*")


@dataclass(frozen=True)
class Verdict:
    """What the ledger says about a claim.

    Attributes:
        claim: The claim.
        status: "ok", "near", "fail", "reduced", "unclean" or "not run".
        measured: Mean over seeds in the claim's unit, or None without rows.
        spread: Standard deviation (ddof 1) over seeds, or None below two seeds.
        seeds: Seeds of the rows used.
        note: Notes for the reader: scale, data set, missing seeds; without rows, why there are none and how many
            minutes they would take.
        rows: The ledger rows used, as text.
        z: Standardised difference from the published mean; None if no spread is published or nothing is judged.
        telling: Whether n seeds are enough to detect a difference of one tolerance.
        identified: Whether every row used carries the digest of its data.
    """

    claim: Claim
    status: str
    measured: float | None = None
    spread: float | None = None
    seeds: tuple[int, ...] = ()
    note: str = ""
    rows: tuple[dict[str, str], ...] = ()
    z: float | None = None
    telling: bool = True
    identified: bool = False


@dataclass(frozen=True)
class _Row:
    """A row of a ledger whose identity has been checked."""

    line: int
    cells: dict[str, str]
    seed: int
    revision: int

    @property
    def clean(self) -> bool:
        return not self.cells.get("git_commit", "").endswith(MODIFIED)

    @property
    def digest(self) -> str:
        return self.cells.get("data_digest", "")


@dataclass(frozen=True)
class _Book:
    """A ledger as the judge reads it; both fields are empty if there is no file."""

    path: Path
    columns: tuple[str, ...] = ()
    rows: tuple[_Row, ...] = ()


def judge(claims: Iterable[Claim], reproduction_dir: str | Path) -> list[Verdict]:
    """Compare claims with the ledgers.

    Args:
        claims: From `load_claims`.
        reproduction_dir: Folder from which the claims' ledger paths start.

    Returns:
        One verdict per claim, in order.

    Raises:
        UserError: The folder does not exist; a ledger is empty or damaged, lacks a column that a claim names, or has a
            row whose run id is not that of its configuration; the message names file, line and column.
    """
    folder = Path(reproduction_dir)
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give the folder from which the ledger paths start")
    ledgers: dict[str, _Book] = {}
    verdicts: list[Verdict] = []
    for claim in claims:
        if claim.ledger not in ledgers:
            ledgers[claim.ledger] = _read(folder / claim.ledger)
        verdicts.append(_verdict(claim, ledgers[claim.ledger]))
    return verdicts


def _read(path: Path) -> _Book:
    if not path.exists():
        return _Book(path)
    columns, lines = read_lines(path)
    if not columns:
        raise UserError(f"ledger {path} line 1: there is no header, the file is empty; remove it")
    rows = tuple(_checked(path, line, cells) for line, cells in lines) if "seed" in columns else ()
    if lines and not rows:
        raise UserError(f"ledger {path} line 1: lacks the column seed; it is not a ledger of results")
    return _Book(path, tuple(columns), rows)


def _checked(path: Path, line: int, cells: dict[str, str]) -> _Row:
    """Check the seed of a row, and that its run id is the digest of its configuration."""

    def bad(column: str, what: str) -> UserError:
        return UserError(
            f"ledger {path} line {line}, column {column}: {cells[column]!r} {what}; repair or remove the row"
        )

    if not _SEED.fullmatch(cells["seed"]):
        raise bad("seed", "is not a seed, which is a whole number without leading zeros")
    config: Any = {}
    if cells.get("config"):
        try:
            config = json.loads(cells["config"])
        except (ValueError, RecursionError):
            config = None
        if not isinstance(config, dict):
            raise UserError(
                f"ledger {path} line {line}, column config: holds no JSON object; repair or remove the row"
            )
        if "run_id" in cells and run_id(config) != cells["run_id"]:
            raise bad("run_id", f"is not that of the row's configuration, {run_id(config)}")
    revision = config.get("revision", 1)
    if type(revision) is not int:
        raise UserError(
            f"ledger {path} line {line}, column config: revision is {revision!r}, no whole number; repair or remove "
            "the row"
        )
    return _Row(line, cells, int(cells["seed"]), revision)


def _verdict(claim: Claim, book: _Book) -> Verdict:
    """Judge one claim."""
    if not book.rows:
        return _not_run(claim)
    needed = ["package", "dataset", "scale", "seed", claim.metric, *claim.where]
    lacking = [name for name in needed if name not in book.columns]
    if lacking:
        raise UserError(
            f"ledger {claim.ledger} lacks the column {', '.join(lacking)} that claim {claim.id} needs"
        )
    matching = [row for row in book.rows if _matches(claim, row)]
    if not matching:
        return _not_run(claim)
    full = [row for row in matching if _is_full(claim, row)]
    used, notes = _of_one_revision(full or _best_substitute(claim, matching))
    used, more = _one_of_each_seed(used)
    values = [_number(book, row, claim.metric) * claim.factor for row in used]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else None
    seeds = tuple(row.seed for row in used)
    identified = all(row.digest for row in used)
    z, telling = None, True
    if full:
        status, found = _status(claim, mean, used)
        z, telling = _standardised(claim, mean, len(used))
        found += [] if telling else ["n too small to tell"]
        found += [] if identified else ["data not identified"]
    else:
        status, found = "reduced", [_substitute_note(claim, used[0])]
    found += [claim.reason] if claim.reason and status != "ok" else []
    return Verdict(
        claim,
        status,
        mean,
        spread,
        seeds,
        "; ".join([*found, *notes, *more]),
        tuple(row.cells for row in used),
        z,
        telling,
        identified,
    )


def _not_run(claim: Claim) -> Verdict:
    minutes = [] if claim.minutes is None else [f"{claim.minutes:g} minutes on one core"]
    return Verdict(claim, "not run", note="; ".join([claim.reason] * bool(claim.reason) + minutes))


def _is_full(claim: Claim, row: _Row) -> bool:
    """Tell whether a row is of the published scale and data; a known digest must agree."""
    known = DIGESTS.get(claim.dataset)
    same = known is None or row.digest in ("", known)
    return row.cells["scale"] == "paper" and row.cells["dataset"] == claim.dataset and same


def _substitute_note(claim: Claim, row: _Row) -> str:
    note = "data {dataset}, scale {scale}".format(**row.cells)
    published = (row.cells["scale"], row.cells["dataset"]) == ("paper", claim.dataset)
    return f"{note}, but another digest than the published set's" if published else note


def _status(claim: Claim, mean: float, rows: Sequence[_Row]) -> tuple[str, list[str]]:
    """Judge a mean measured at the published scale on the published data."""
    seeds = [row.seed for row in rows]
    if isinstance(claim.seeds, list):
        missing = [str(seed) for seed in claim.seeds if seed not in seeds]
        if missing:
            return "reduced", [f"seed {', '.join(missing)} missing"]
    elif len(seeds) < claim.seeds:
        return "reduced", [f"{len(seeds)} of {claim.seeds} seeds"]
    modified = [str(row.seed) for row in rows if not row.clean]
    if modified:
        return "unclean", [f"seed {', '.join(modified)} from a modified working tree"]
    if not math.isfinite(mean):
        return "fail", ["the metric is not finite"]
    distance = abs(mean - claim.value)
    slack = 1e-9 * max(abs(mean), abs(claim.value), claim.tolerance)  # 0.015 is not exact in binary
    if distance <= claim.tolerance + slack:
        return "ok", []
    return ("near" if distance <= 2 * claim.tolerance + slack else "fail"), []


def _standardised(claim: Claim, mean: float, count: int) -> tuple[float | None, bool]:
    """Return z, and whether `count` seeds are enough; None and True if no spread is published."""
    if not claim.spread or not math.isfinite(mean):
        return None, True
    unit = claim.spread * math.sqrt(1 / count + 1 / seeds_needed(claim))
    return (mean - claim.value) / unit, 2 * unit <= claim.tolerance


def _number(book: _Book, row: _Row, column: str) -> float:
    """Return a cell as a number; an empty one is not a number."""
    cell = row.cells[column]
    try:
        if set(cell) & set("_ \t"):
            raise ValueError(cell)  # Python would read 1_0 as 10
        return float(cell or "nan")
    except ValueError:
        raise UserError(
            f"ledger {book.path} line {row.line}, column {column}: {cell!r} is not a number; repair or remove the row"
        ) from None


def _matches(claim: Claim, row: _Row) -> bool:
    """Tell whether a ledger row belongs to the claim, whatever its scale and data set."""
    cells = row.cells
    if cells["package"] != claim.package or not all(_same(cells[k], v) for k, v in claim.where.items()):
        return False
    return not isinstance(claim.seeds, list) or row.seed in claim.seeds


def _same(cell: str, wanted: Any) -> bool:
    """Compare a cell with a TOML value, numbers as numbers."""
    if isinstance(wanted, bool):
        return cell == str(wanted).lower()
    if isinstance(wanted, int | float):
        try:
            return math.isclose(float(cell), wanted, rel_tol=1e-9, abs_tol=1e-12)
        except ValueError:
            return False
    return cell == str(wanted)


def _best_substitute(claim: Claim, rows: Sequence[_Row]) -> list[_Row]:
    """Return the group of unjudged rows closest to the claim: one data set, one scale."""
    place = {scale: number for number, scale in enumerate(SCALES)}

    def group(row: _Row) -> tuple[str, str]:
        return row.cells["scale"], row.cells["dataset"]

    best = min(rows, key=lambda row: (place.get(group(row)[0], len(place)), group(row)[1] != claim.dataset))
    return [row for row in rows if group(row) == group(best)]


def _of_one_revision(rows: Sequence[_Row]) -> tuple[list[_Row], list[str]]:
    """Keep the rows of the newest revision, and say so if others are left out."""
    newest = max(row.revision for row in rows)
    kept = [row for row in rows if row.revision == newest]
    left = len(rows) - len(kept)
    return kept, [f"revision {newest}, {left} rows of an older one left out"] if left else []


def _one_of_each_seed(rows: Sequence[_Row]) -> tuple[list[_Row], list[str]]:
    """Keep the newest clean row of each seed, or the newest if none is clean; say which seeds had several."""
    of_seed: dict[int, list[_Row]] = {}
    for row in rows:
        of_seed.setdefault(row.seed, []).append(row)
    kept = [([row for row in group if row.clean] or group)[-1] for group in of_seed.values()]
    doubled = [group for group in of_seed.values() if len(group) > 1]
    if not doubled:
        return kept, []
    which = "newest" if all(group[-1] in kept for group in doubled) else "newest clean"
    return kept, [
        f"several rows of seed {', '.join(str(group[0].seed) for group in doubled)}, the {which} used"
    ]


def with_spread(claim: Claim, mean: float, spread: float | None) -> str:
    """Write a mean with its standard deviation, for example `86.66 ± 0.76`."""
    digits = decimals(claim)
    return f"{mean:.{digits}f}" if spread is None else f"{mean:.{digits}f} ± {spread:.{digits}f}"


def decimals(claim: Claim) -> int:
    """Return how many decimals show a tenth of the tolerance's leading digit, at least two."""
    return max(2, 1 - math.floor(math.log10(claim.tolerance)))
