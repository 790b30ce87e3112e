"""Published numbers as data: the file `reproduction/claims.toml`.

Each `[[claim]]` table is one published number; each `[[paper]]` table says what a package reproduces, for the
results page.
"""

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any

from reprokit.errors import UserError

CLAIMS = Path("reproduction/claims.toml")
SOURCE_KINDS = ("paper", "code repository", "recording", "bound")
PUBLISHED = SOURCE_KINDS[:2]


@dataclass(frozen=True)
class Claim:
    """One published number and how to measure it.

    Attributes:
        id: Unique name.
        package: Package that measures it.
        command: The command that measures it, from the repository's root.
        metric: Ledger column.
        ledger: CSV file, relative to the reproduction folder.
        dataset: Data set for which the number was published, as ledger rows name it.
        value: Published mean, in `unit`.
        tolerance: Largest |measured - published| that counts as reproduced, in `unit`.
        source: Where the number is stated.
        source_kind: "paper" or "code repository" for a published number; "recording" for one that was measured
            here with the original program or a prototype, "bound" for one that follows from published ones. Only
            the first two count as published.
        seeds: Number of seeds needed, or the list of seeds.
        where: Ledger columns and the values that select the rows.
        spread: Published standard deviation (ddof 1) over seeds, in `unit`, if stated.
        unit: Unit of value, spread and tolerance.
        factor: Factor that converts the ledger metric to `unit`.
        minutes: About how long the runs of all seeds take, one after the other, on one CPU core.
        minutes_gpu: About how long they take on a GPU.
        reason: Why the ledger has no row at the published scale, or which one setting explains a miss; the judge adds
            it to every verdict but "ok".
        headline: Its name in the README's table; empty: it is not shown there.
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
    minutes_gpu: float | None = None
    reason: str = ""
    headline: str = ""


@dataclass(frozen=True)
class Paper:
    """What a package reproduces: `title` has authors, year and subject in one line, `url` is an https address."""

    package: str
    title: str
    url: str


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys([f.name for f in fields(Claim)], (str,)),
    **dict.fromkeys(("value", "tolerance", "spread", "factor", "minutes", "minutes_gpu"), (int, float)),
    "seeds": (int, list),
    "where": (dict,),
}
_REQUIRED = tuple(f.name for f in fields(Claim) if f.default is MISSING and f.default_factory is MISSING)


def find_claims() -> Path:
    """Return the claims file of the clone that contains the working folder.

    Raises:
        UserError: There is none.
    """
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / CLAIMS).is_file():
            return CLAIMS if folder == here else folder / CLAIMS
    raise UserError(
        f"no {CLAIMS} in {here} or above it; run this inside a clone, or give the path of the claims file"
    )


def load_claims(path: str | Path) -> list[Claim]:
    """Read a claims file: TOML with one `[[claim]]` table for each published number.

    Args:
        path: The file; `Claim` lists the keys.

    Returns:
        The claims in file order.

    Raises:
        UserError: The file cannot be read, or a claim has unknown, missing, implausible or duplicate entries.
    """
    path = Path(path)
    claims: list[Claim] = []
    for number, entry in enumerate(_tables(path)["claim"], start=1):
        claim = _claim(f"claims file {path}, claim {entry.get('id', number)!r}", entry)
        if claim.id in {other.id for other in claims}:
            raise UserError(f"claims file {path} has two claims with the id {claim.id!r}; rename one")
        claims.append(claim)
    return claims


def load_papers(path: str | Path) -> dict[str, Paper]:
    """Read the `[[paper]]` tables of a claims file: package -> what it reproduces.

    Raises:
        UserError: The file cannot be read, or an entry is incomplete, has extra keys, or lacks an https address.
    """
    papers: dict[str, Paper] = {}
    for entry in _tables(Path(path))["paper"]:
        where = f"claims file {path}, paper {entry.get('package', '?')!r}"
        if set(entry) != {"package", "title", "url"} or not all(isinstance(v, str) for v in entry.values()):
            raise UserError(f"{where}: needs the texts package, title, url and nothing else")
        paper = Paper(**entry)
        if not paper.url.startswith("https://"):
            raise UserError(f"{where}: url is {paper.url!r}; it must start with https://")
        papers[paper.package] = paper
    return papers


def _tables(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the tables of a claims file by kind, their entries unchecked."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"claims file {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"claims file {path} is not valid TOML: {error}") from error
    kinds = {kind: tables.pop(kind, []) for kind in ("claim", "paper")}
    listed = all(isinstance(e, list) and all(isinstance(t, dict) for t in e) for e in kinds.values())
    if tables or not listed:
        raise UserError(f"claims file {path} may hold [[claim]] and [[paper]] tables only")
    return kinds


def seeds_needed(claim: Claim) -> int:
    """Number of seeds that a claim needs."""
    return len(claim.seeds) if isinstance(claim.seeds, list) else claim.seeds


def _claim(where: str, entry: Mapping[str, Any]) -> Claim:
    """Check one table and return it as a claim."""
    for key, value in entry.items():
        if key not in _KINDS:
            near = difflib.get_close_matches(key, _KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(_KINDS)}"
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
        raise UserError(f"{where}: source_kind is {claim.source_kind!r}; allowed: {allowed}")
    if not (claim.tolerance > 0 and math.isfinite(claim.tolerance) and math.isfinite(claim.value)):
        raise UserError(f"{where}: value must be finite, tolerance finite and above 0")
    if not _seeds_valid(claim.seeds):
        raise UserError(f"{where}: seeds is {claim.seeds!r}; it must be a number above 0 or a list of seeds")
    return claim


def _seeds_valid(seeds: int | list[int]) -> bool:
    if isinstance(seeds, list):
        return bool(seeds) and all(type(seed) is int for seed in seeds)
    return seeds > 0
