"""Times of the original programs that were written down when they ran, as rows marked ``recorded``.

They are in recorded.toml with the conditions. Such a row has the other program's time alone: it was not measured in one
run with ours, perhaps not on one machine, and its ratio is only drawn, in grey.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reprokit import UserError
from reprokit.bench import BENCH_COLUMNS
from reprokit.run.ledger import Ledger

FILE = Path(__file__).with_name("recorded.toml")
FIELDS = {"package", "case", "engine", "peer", "threads", "seconds", "cpu", "conditions"}


def read(file: Path = FILE) -> list[dict[str, Any]]:
    """Return the entries of the file.

    Raises:
        UserError: An entry lacks a field or has an unknown one.
    """
    entries = tomllib.loads(file.read_text(encoding="utf-8")).get("time", [])
    for entry in entries:
        if wrong := FIELDS ^ set(entry):
            fields = ", ".join(sorted(FIELDS))
            raise UserError(
                f"{file}: an entry lacks, or has besides, {', '.join(sorted(wrong))}; it must have {fields}"
            )
    return entries


def row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry as a row of the benchmark ledger."""
    empty = {name: "" if kind is str else None for name, kind in BENCH_COLUMNS.items()}
    same = {name: entry[name] for name in ("package", "case", "engine", "peer", "threads", "cpu")}
    return (
        empty
        | same
        | {"peer_seconds": float(entry["seconds"]), "kind": "recorded", "work": entry["conditions"]}
    )


def enter(ledger: Ledger, file: Path = FILE) -> int:
    """Append the entries that the ledger does not have yet; returns how many."""
    known = {(r["package"], r["case"], r["engine"], r["peer"], r["peer_seconds"]) for r in ledger.rows()}
    new = [row(entry) for entry in read(file)]
    new = [
        r for r in new if (r["package"], r["case"], r["engine"], r["peer"], r["peer_seconds"]) not in known
    ]
    for found in new:
        ledger.append(found)
    return len(new)
