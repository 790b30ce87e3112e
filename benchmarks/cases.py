"""What is measured: cases against a peer, curves of growth, and the registry that lists them by package.

Each file ``benchmarks/<package>.py`` of `REGISTRY` has a function ``cases(settings)``, some have ``growth(settings)``.
Both are cheap: packages, frameworks and data are imported by the functions that the entries carry, once an entry is
chosen (``programs/``).
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from reprokit import UserError

Call = Callable[[], object]
Entry = TypeVar("Entry", "Case", "Growth")
HERE = Path(__file__).parent
REGISTRY = ("bdfa", "dalton", "denram", "nalsm", "sbs", "reprokit", "startup")


class LeftOut(Exception):
    """This case cannot run here: a library, a processor's instructions or data are missing."""


class Unequal(Exception):
    """Both sides of a case compute different things, so that their times would mean nothing."""


@dataclass(frozen=True)
class Settings:
    """What the command line says to all cases.

    Attributes:
        isa: Vector instructions that the compiled cores use.
        device: PyTorch's device.
        data: Folder with shd_train.h5, whose recordings denram's engines then compute; None: generated spikes. MNIST
            comes from a mirror or cache, as in all commands.
    """

    isa: str = "portable"
    device: str = "cpu"
    data: Path | None = None


@dataclass(frozen=True)
class Floor:
    """The work that cannot be avoided, for the time that the machine alone would need.

    Attributes:
        flops: Floating-point operations, 2 for a multiply-add.
        bytes: Bytes that must go through memory; 0 where all fits into caches.
    """

    flops: float = 0.0
    bytes: float = 0.0


@dataclass
class Work:
    """Both sides of a case, ready to run.

    Attributes:
        ours: One call of our program.
        theirs: One call of the other; it may have a method ``seconds(calls)`` (see `reprokit.bench.compare`).
        proof: Compares what both compute and says how equal it is, or in what it differs where it cannot be equal.
        floor: The work that cannot be avoided; None where nobody counted it.
        close: Called at the end.
        name: Name of the case if other data had to stand in; "" if it is the case's.
    """

    ours: Call
    theirs: Call
    proof: Callable[[], str]
    floor: Floor | None = None
    close: Call = field(default=lambda: None)
    name: str = ""


@dataclass(frozen=True)
class Case:
    """One pair of programs.

    Attributes:
        package: Package measured, the first column of a row.
        name: What is computed, sizes included.
        engine: Name of our program.
        peer: Name and version of the other.
        build: Imports and prepares both sides; raises `LeftOut` with a sentence where that is impossible.
        threads: Threads that both use.
        repeats: Timings of each side, at least 3.
        packages: Distributions whose versions are recorded.
        guarded: Whether `make bench-guard` measures it: a minute at most.
    """

    package: str
    name: str
    engine: str
    peer: str
    build: Callable[[], Work]
    threads: int = 1
    repeats: int = 7
    packages: tuple[str, ...] = ()
    guarded: bool = False

    @property
    def key(self) -> tuple[str, str, str, str, int]:
        """What identifies the case in a ledger."""
        return (self.package, self.name, self.engine, self.peer, self.threads)

    def __str__(self) -> str:
        threads = "" if self.threads == 1 else f" ({self.threads} threads)"
        return f"{self.package}: {self.name} | {self.engine} | {self.peer}{threads}"


@dataclass(frozen=True)
class Growth:
    """One method whose time and memory are measured against one size.

    Attributes:
        package: Package measured.
        method: What runs, all other sizes included.
        parameter: The size that varies: time-steps, spikes, neurons, delays, depth, batch, threads, seeds.
        values: Its values, at least 3 for a fit.
        build: Prepares one call with that size.
        packages: Distributions whose versions are recorded.
    """

    package: str
    method: str
    parameter: str
    values: tuple[int, ...]
    build: Callable[[int], Call]
    packages: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.package}: {self.method} | {self.parameter} {', '.join(map(str, self.values))}"


def curves(
    package: str,
    packages: tuple[str, ...],
    made: Callable[..., Call],
    *rows: tuple[str, str, tuple[int, ...], dict[str, object]],
) -> list[Growth]:
    """Return one curve a row: method, name of the size, its values, and the other arguments of `made`.

    `made` takes the size as a keyword, by its name with _ instead of - and blanks: ``time_steps``.
    """

    def curve(method: str, size: str, values: tuple[int, ...], other: dict[str, object]) -> Growth:
        keyword = size.replace("-", "_").replace(" ", "_")
        return Growth(package, method, size, values, lambda n: made(**{keyword: n}, **other), packages)

    return [curve(*row) for row in rows]


def registered(package: str, settings: Settings) -> tuple[list[Case], list[Growth]]:
    """Return the cases and the growth curves of one file of the registry.

    Raises:
        UserError: There is no such file.
    """
    if package not in REGISTRY:
        raise UserError(f"no benchmarks for {package!r}; choose from {', '.join(REGISTRY)}")
    module = importlib.import_module(f"benchmarks.{package}")
    curves = module.growth(settings) if hasattr(module, "growth") else []
    return module.cases(settings), curves


def select(entries: Iterable[Entry], only: Iterable[str]) -> list[Entry]:
    """Return the entries whose text contains, or as a shell pattern matches, one of the words; all without words."""
    words = [word.lower() for word in only]

    def chosen(text: str) -> bool:
        return any(word in text or fnmatch.fnmatch(text, word) for word in words)

    return [entry for entry in entries if not words or chosen(str(entry).lower())]
