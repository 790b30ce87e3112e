"""Published numbers as data, judged by ledger rows alone.

A claim asks for the mean of one metric over a number of seeds. With rows of the published scale on the
claim's own data set, d = |mean - published| decides: `ok` for d <= tolerance, `near` for d <= 2 tolerance,
else `fail`. Rows of another scale or data set, or of too few seeds, are reported as `reduced`; without any
it is `not run`.
"""

import difflib
import math
import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from reprokit.errors import UserError
from reprokit.ledger import read_ledger

STATUSES = ("ok", "near", "fail", "reduced", "not run")
SOURCE_KINDS = ("paper", "code repository", "our study")


@dataclass(frozen=True)
class Claim:
    """One published number and how to measure it.

    Attributes:
        id: Unique name.
        package: Package that measures it.
        command: The command that does, from the repository's root.
        metric: Ledger column.
        ledger: CSV file, relative to the reproduction folder.
        dataset: Data set the number was published for, as ledger rows name it.
        value: Published mean, in `unit`.
        tolerance: Largest |measured - published| that counts as reproduced, in `unit`.
        source: Where the number is stated.
        source_kind: "paper", "code repository" or "our study".
        seeds: Number of seeds needed, or the very seeds.
        where: Ledger columns and the values that select the rows.
        spread: Published standard deviation (ddof 1) over seeds, in `unit`, where stated.
        unit: Unit of value, spread and tolerance.
        factor: Ledger metric times this is in `unit`.
        minutes: About how long the command takes.
    """

    id: str
    package: str
    command: str
    metric: str
    ledger: str
    dataset: str
    value: float
    tolerance: float
    source: str
    source_kind: str
    seeds: int | list[int] = 1
    where: dict[str, Any] = field(default_factory=dict)
    spread: float | None = None
    unit: str = ""
    factor: float = 1.0
    minutes: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What the ledger says about a claim.

    Attributes:
        claim: The claim.
        status: "ok", "near", "fail", "reduced" or "not run".
        measured: Mean over seeds in the claim's unit, or None without rows.
        spread: Standard deviation (ddof 1) over seeds, or None below two seeds.
        seeds: Seeds of the rows used.
        note: What the reader must know: scale, data set, missing seeds.
        rows: The ledger rows used, as text.
    """

    claim: Claim
    status: str
    measured: float | None = None
    spread: float | None = None
    seeds: tuple[int, ...] = ()
    note: str = ""
    rows: tuple[dict[str, str], ...] = ()


_TEXTS = ("id", "package", "command", "metric", "ledger", "dataset", "source", "source_kind", "unit")
_NUMBERS = ("value", "tolerance", "spread", "factor", "minutes")
_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(_NUMBERS, (int, float)),
    "seeds": (int, list),
    "where": (dict,),
}
_REQUIRED = tuple(f.name for f in fields(Claim) if f.default is MISSING and f.default_factory is MISSING)


def load_claims(path: str | Path) -> list[Claim]:
    """Read a claims file: TOML with one `[[claim]]` table for each published number.

    Args:
        path: The file; `Claim` lists the keys.

    Returns:
        The claims in file order.

    Raises:
        UserError: The file cannot be read, or a claim has unknown, missing, doubtful or duplicate entries.
    """
    path = Path(path)
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"claims file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"claims file {path} is no valid TOML: {error}") from error
    entries = tables.get("claim", [])
    listed = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    if set(tables) - {"claim"} or not listed:
        raise UserError(f"claims file {path} may hold [[claim]] tables only")
    claims: list[Claim] = []
    for number, entry in enumerate(entries, start=1):
        claim = _claim(f"claims file {path}, claim {entry.get('id', number)!r}", entry)
        if claim.id in {other.id for other in claims}:
            raise UserError(f"claims file {path} has two claims with the id {claim.id!r}; rename one")
        claims.append(claim)
    return claims


def _claim(where: str, entry: Mapping[str, Any]) -> Claim:
    """Check one table and return it as a claim."""
    known = [f.name for f in fields(Claim)]
    for key, value in entry.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed are {', '.join(known)}"
            raise UserError(f"{where}: unknown key {key!r}; {hint}")
        if not isinstance(value, _KINDS[key]) or isinstance(value, bool):
            allowed = " or ".join(kind.__name__ for kind in _KINDS[key])
            raise UserError(f"{where}: {key} is {value!r}; it must be of type {allowed}")
    missing = [key for key in _REQUIRED if key not in entry]
    if missing:
        raise UserError(f"{where}: lacks {', '.join(missing)}")
    claim = Claim(**entry)
    if claim.source_kind not in SOURCE_KINDS:
        allowed = ", ".join(SOURCE_KINDS)
        raise UserError(f"{where}: source_kind is {claim.source_kind!r}; allowed are {allowed}")
    if not (claim.tolerance > 0 and math.isfinite(claim.tolerance) and math.isfinite(claim.value)):
        raise UserError(f"{where}: value must be finite, tolerance finite and above 0")
    if not _seeds_valid(claim.seeds):
        raise UserError(f"{where}: seeds is {claim.seeds!r}; it must be a number above 0 or a list of seeds")
    return claim


def _seeds_valid(seeds: int | list[int]) -> bool:
    if isinstance(seeds, list):
        return bool(seeds) and all(type(seed) is int for seed in seeds)
    return seeds > 0


def judge(claims: Iterable[Claim], reproduction_dir: str | Path) -> list[Verdict]:
    """Compare claims with what the ledgers hold.

    Args:
        claims: From `load_claims`.
        reproduction_dir: Folder that the claims' ledger paths start from.

    Returns:
        One verdict a claim, in order.

    Raises:
        UserError: A ledger is damaged, or lacks a column a claim names.
    """
    folder = Path(reproduction_dir)
    ledgers: dict[str, tuple[list[str], list[dict[str, str]]]] = {}
    verdicts: list[Verdict] = []
    for claim in claims:
        if claim.ledger not in ledgers:
            path = folder / claim.ledger
            ledgers[claim.ledger] = read_ledger(path) if path.exists() else ([], [])
        verdicts.append(_verdict(claim, *ledgers[claim.ledger]))
    return verdicts


def _verdict(claim: Claim, columns: Sequence[str], rows: Sequence[dict[str, str]]) -> Verdict:
    """Judge one claim."""
    if not rows:
        return Verdict(claim, "not run")
    needed = ["package", "dataset", "scale", "seed", claim.metric, *claim.where]
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise UserError(
            f"ledger {claim.ledger} lacks the column {', '.join(lacking)} that claim {claim.id} needs"
        )
    matching = [row for row in rows if _matches(claim, row)]
    if not matching:
        return Verdict(claim, "not run")
    full = [row for row in matching if row["scale"] == "paper" and row["dataset"] == claim.dataset]
    used = full or _best_substitute(claim, matching)
    used, doubled = _newest_of_each_seed(used)
    values = [float(row[claim.metric] or "nan") * claim.factor for row in used]
    mean = statistics.fmean(values)
    spread = statistics.stdev(values) if len(values) > 1 and math.isfinite(mean) else None
    seeds = tuple(int(row["seed"]) for row in used)
    status, notes = _status(claim, mean, seeds) if full else ("reduced", [_label(used[0])])
    notes += [f"several rows of seed {', '.join(doubled)}, the newest used"] if doubled else []
    return Verdict(claim, status, mean, spread, seeds, "; ".join(notes), tuple(used))


def _status(claim: Claim, mean: float, seeds: Sequence[int]) -> tuple[str, list[str]]:
    """Judge a mean measured at the published scale on the published data."""
    if isinstance(claim.seeds, list):
        missing = [str(seed) for seed in claim.seeds if seed not in seeds]
        if missing:
            return "reduced", [f"seed {', '.join(missing)} missing"]
    elif len(seeds) < claim.seeds:
        return "reduced", [f"{len(seeds)} of {claim.seeds} seeds"]
    if not math.isfinite(mean):
        return "fail", ["the metric is not finite"]
    distance = abs(mean - claim.value)
    slack = 1e-9 * max(abs(mean), abs(claim.value), claim.tolerance)  # 0.015 is not exact in binary
    if distance <= claim.tolerance + slack:
        return "ok", []
    return ("near" if distance <= 2 * claim.tolerance + slack else "fail"), []


def _matches(claim: Claim, row: Mapping[str, str]) -> bool:
    """Tell whether a ledger row belongs to the claim, whatever its scale and data set."""
    if row["package"] != claim.package or not all(_same(row[k], wanted) for k, wanted in claim.where.items()):
        return False
    return not isinstance(claim.seeds, list) or int(row["seed"] or -1) in claim.seeds


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


def _best_substitute(claim: Claim, rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Of rows that cannot be judged, return the group closest to the claim: one data set, one scale."""
    scales = ("paper", "reduced", "smoke")

    def distance(row: Mapping[str, str]) -> tuple[int, int]:
        scale = row["scale"]
        return (scales.index(scale) if scale in scales else len(scales), int(row["dataset"] != claim.dataset))

    best = min(rows, key=distance)
    return [row for row in rows if (row["scale"], row["dataset"]) == (best["scale"], best["dataset"])]


def _label(row: Mapping[str, str]) -> str:
    return f"data {row['dataset']}, scale {row['scale']}"


def _newest_of_each_seed(rows: Sequence[dict[str, str]]) -> tuple[list[dict[str, str]], list[str]]:
    """Keep the last row of each seed; also return the seeds that had several."""
    newest = {row["seed"]: row for row in rows}
    doubled = [seed for seed in newest if sum(row["seed"] == seed for row in rows) > 1]
    return list(newest.values()), doubled
