"""Grid files, which define the runs of a sweep: TOML that every package reads in the same way.

config = "digits-smoke"            # a preset, a .toml file or a run; optional
seeds = [1, 2, 3]                  # optional; each seed does the whole grid

[base]                             # fields of the configuration that all runs share
epochs = 5

[axes]                             # every combination of these values, the last one fastest
lr = [1e-3, 1e-4]
"network.number_of_spikes" = [100, 200]

[[zip]]                            # values that belong together, first with first
n_in = [256, 700]
tau_mem = [15e-3, 20e-3]

[[exclude]]                        # combinations that are left out
lr = 1e-3
n_in = 700
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from reprokit.config import nearest, override, read_values
from reprokit.errors import UserError

C = TypeVar("C")
KEYS = ("config", "seeds", "base", "axes", "zip", "exclude")


@dataclass(frozen=True)
class Grid:
    """Values of configuration fields, and which combinations of them are wanted.

    Attributes:
        axes: Values of each field; every combination is a run, the last field changes fastest.
        zipped: Groups of fields whose values vary together.
        seeds: Seeds, each for the whole grid; none: the configuration's own.
        exclude: Combinations that are left out.
        base: Values that all runs share.
        config: Preset, file or run that supplies the other fields; empty: the defaults.
        source: Its name in messages.

    Raises:
        UserError: No values, a value given twice, groups of unequal length, a field in two places, or an
            exclusion of a field that does not vary.
    """

    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    zipped: Sequence[Mapping[str, Sequence[Any]]] = ()
    seeds: Sequence[int] = ()
    exclude: Sequence[Mapping[str, Any]] = ()
    base: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""
    source: str = "the grid"

    def __post_init__(self) -> None:
        for name, values in self._lists():
            if isinstance(values, str | Mapping) or not isinstance(values, Sequence) or not values:
                raise UserError(
                    f"{self.source}: {name} is {values!r}; give a list of at least one value, each once"
                )
        for name, values in (*self.axes.items(), ("seeds", self.seeds)):
            texts = [_text(value) for value in values]
            if len(set(texts)) < len(texts):
                raise UserError(f"{self.source}: {name} is {list(values)}; give each once")
        for group in self.zipped:
            lengths = {name: len(values) for name, values in group.items()}
            if len(set(lengths.values())) > 1:
                shown = ", ".join(f"{name} has {length}" for name, length in lengths.items())
                raise UserError(f"{self.source}: zipped lists must have one length, and {shown} values")
        names = [name for name, _ in self._lists() if name != "seeds"]
        twice = sorted({name for name in names if names.count(name) > 1} | set(names) & set(self.base))
        if twice:
            raise UserError(f"{self.source}: {', '.join(twice)} is given in two places; keep one")
        for point in self.exclude:
            for name in point:
                if name not in names:
                    raise UserError(
                        f"{self.source}: exclude names {name}, which does not vary{nearest(name, names)}"
                    )

    def _lists(self) -> Iterator[tuple[str, Sequence[Any]]]:
        yield from self.axes.items()
        for group in self.zipped:
            yield from group.items()
        if self.seeds:
            yield "seeds", self.seeds

    def points(self) -> list[dict[str, Any]]:
        """Return what differs in each run, axes first, without seeds."""
        choices = [[{name: value} for value in values] for name, values in self.axes.items()]
        choices += [
            [dict(zip(group, values, strict=True)) for values in zip(*group.values(), strict=True)]
            for group in self.zipped
        ]
        merged = [
            {name: value for part in parts for name, value in part.items()} for parts in product(*choices)
        ]
        left_out = [{name: _text(value) for name, value in point.items()} for point in self.exclude]
        return [point for point in merged if not any(_fits(point, out) for out in left_out)]

    def configs(self, start: C, *, seed: str = "seed") -> list[tuple[str, C]]:
        """Return the label and configuration of each run.

        Args:
            start: The configuration that the grid changes.
            seed: The field for `seeds`.

        Raises:
            UserError: An unknown field, a value of a wrong type or one that the configuration refuses, or no runs.
        """
        base = override(start, self.base, f"{self.source}: base")
        found: dict[str, C] = {}
        for chosen in self.seeds or (None,):
            for point in self.points():
                values = point if chosen is None else {**point, seed: chosen}
                label = ", ".join(f"{name} {_shown(value)}" for name, value in values.items())
                found[label or "base"] = override(base, values, self.source)
        if not found:
            raise UserError(f"{self.source} leaves no run; exclude fewer combinations")
        return list(found.items())


def read_grid(path: str | Path) -> Grid:
    """Read a grid file.

    Raises:
        UserError: It cannot be read, or a key is unknown or of the wrong type.
    """
    path = Path(path)
    if path.suffix != ".toml":
        raise UserError(f"GRID is {str(path)!r}; give a .toml file with axes, zip, seeds, exclude and base")
    values = read_values(path)
    for key, value in values.items():
        if key not in KEYS:
            raise UserError(f"{path}: unknown key {key!r}{nearest(key, KEYS)}; a grid has {', '.join(KEYS)}")
        wanted = {"config": str, "seeds": list, "base": dict, "axes": dict, "zip": list, "exclude": list}[key]
        tables = key not in ("zip", "exclude") or all(isinstance(item, dict) for item in value)
        if not isinstance(value, wanted) or not tables:
            form = {"config": 'a string, config = "..."', "seeds": "a list, seeds = [1, 2]"}
            bracket = f"[[{key}]]" if wanted is list else f"[{key}]"
            raise UserError(f"{path}: {key} must be {form.get(key, f'a table, {bracket}')}")
    for number in values.get("seeds", ()):
        if type(number) is not int:
            raise UserError(f"{path}: seeds holds {number!r}; give whole numbers")
    return Grid(
        axes=values.get("axes", {}),
        zipped=values.get("zip", []),
        seeds=values.get("seeds", []),
        exclude=values.get("exclude", []),
        base=values.get("base", {}),
        config=values.get("config", ""),
        source=str(path),
    )


def is_grid(path: str | Path) -> bool:
    """Tell whether a file is a grid rather than a configuration."""
    path = Path(path)
    if path.suffix != ".toml" or not path.is_file():
        return False
    return bool(set(read_values(path)) & {"axes", "zip", "seeds", "exclude", "base"})


def _fits(point: Mapping[str, Any], out: Mapping[str, str]) -> bool:
    return all(_text(point[name]) == value for name, value in out.items())


def _text(value: Any) -> str:
    """Return a text that is the same for equal values, 1 and 1.0 included."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    return json.dumps(value, sort_keys=True, default=str)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "x".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
