"""The configurations of all packages follow one contract: frozen dataclasses, read back without guessing.

A run is named after the hash of its configuration's content, so the names and values of fields are frozen. A
field added later is left out of the content while it has its default, which stands for the old behaviour; a
correction that changes numbers raises the field `revision` (`content_of`).
"""

import dataclasses
import difflib
import hashlib
import json
import sys
import tomllib
import types
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from reprokit.errors import UserError

C = TypeVar("C")
_WORDS: dict[Any, str] = {
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    str: "a string",
    Path: "a path",
    types.NoneType: "left out",
}


def rebuild(
    cls: type[C], values: Mapping[str, Any], source: str, *, ignore: Collection[str] = (), **places: Any
) -> C:
    """Build a configuration from plain values (parsed TOML or JSON), strictly by the dataclass's annotations.

    Supported types are bool, int, float, str, Path, Literal, `X | Y`, tuples and nested dataclasses. Only
    lossless conversions are made: 3 is accepted as a float, while 3.0, "3" and True are not ints.

    Args:
        cls: The dataclass.
        values: Its fields by name, nested; absent ones get their defaults.
        source: Origin of the values, for messages.
        ignore: Keys of `values` that are not fields and are ignored.
        **places: Fields that are set to these objects, for example `out=folder`.

    Raises:
        UserError: An unknown or missing key or a wrong value, with its key path, or a refusal by the dataclass itself.
    """
    kept = {key: value for key, value in values.items() if key not in ignore and key not in places}
    return _build(cls, kept, "", source, places)


def override(config: C, values: Mapping[str, Any], source: str) -> C:
    """Return a configuration with some fields changed, each checked as `rebuild` does.

    Args:
        config: A frozen dataclass.
        values: New values by field; nested parts as tables or under dotted names ("learning.loss").
        source: Origin of the values, for messages.

    Raises:
        UserError: An unknown field, a wrong value, or a refusal by the dataclass itself.
    """
    return _changed(config, _nested(values), "", source)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into tables."""
    tables: dict[str, Any] = {}
    for name, value in values.items():
        first, dot, rest = str(name).partition(".")
        if dot:
            tables[first] = {**tables.get(first, {}), **_nested({rest: value})}
        else:
            tables[first] = value
    return tables


def _changed(config: Any, values: Mapping[str, Any], prefix: str, source: str) -> Any:
    hints, known = get_type_hints(type(config)), {f.name: f for f in dataclasses.fields(config) if f.init}
    new = {}
    for key, value in values.items():
        if key not in known:
            (best,) = (prefix + name for name in difflib.get_close_matches(key, known, n=1, cutoff=0.0))
            raise UserError(f"{source}: unknown key {prefix + key!r}; the nearest valid key is {best!r}")
        inner = getattr(config, key)
        if dataclasses.is_dataclass(inner) and isinstance(value, Mapping):
            new[key] = _changed(inner, value, f"{prefix}{key}.", source)
        else:
            new[key] = _value(hints[key], value, prefix + key, source)
    return dataclasses.replace(config, **new)


def read_config_file(cls: type[C], path: str | Path, *, ignore: Collection[str] = (), **places: Any) -> C:
    """Read a configuration from a .toml file, or from `config.json` or `options.json` of a run; see `rebuild`.

    Raises:
        UserError: The file cannot be read, or does not contain such a configuration.
    """
    path = Path(path)
    return rebuild(cls, read_values(path), str(path), ignore={"package", *ignore}, **places)


def read_values(path: Path) -> dict[str, Any]:
    """Return the table in a TOML file (named .toml) or the object in a JSON file.

    Raises:
        UserError: The file cannot be read or contains something else.
    """
    kind = "TOML" if path.suffix == ".toml" else "JSON"
    try:
        text = path.read_text("utf-8")
        values = tomllib.loads(text) if kind == "TOML" else json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as {kind} ({why}); restore it or choose another") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no {kind} object; restore it or choose another")
    return values


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return the allowed name most like `name` as a hint, " (did you mean 'x'?)", or nothing."""
    names = {item.lower(): item for item in allowed}
    found = difflib.get_close_matches(name.lower(), names, 1, 0.5)
    return f" (did you mean {names[found[0]]!r}?)" if found else ""


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return 63 bits of the SHA-256 of the run's seed and a purpose, e.g. `derived_seed(1, "order", 7)`."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def device_name(name: str, gpus: int) -> str:
    """Return "cpu" or "cuda:K" for the user's auto, cpu, cuda:K or K, on a machine with `gpus` GPUs.

    K alone falls back to the CPU with a warning if there is no such GPU, as in the original of dalton.

    Raises:
        UserError: Another name, or a named GPU that does not exist.
    """
    if name in ("auto", "cpu"):
        return "cuda:0" if gpus and name == "auto" else "cpu"
    kind, _, number = (f"cuda:{name}" if name.isdecimal() else name).partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise UserError(f"--device is {name!r}; it must be auto, cpu, cuda:K or a GPU's number.")
    if int(number or 0) < gpus:
        return f"cuda:{int(number or 0)}"
    if not name.isdecimal():
        raise UserError(f"--device is {name!r}, but there are {gpus} GPUs; use cpu or auto.")
    warnings.warn(f"there is no GPU {name}; running on the CPU", UserWarning, stacklevel=3)
    return "cpu"


def content_of(config: Any, *, since_0_1: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the hashed fields: all except later ones that still have their defaults (the old behaviour).

    Args:
        config: A dataclass, or its fields by name.
        since_0_1: Defaults of fields added after version 0.1, nested ones as "part.field"; `revision: 1` is implied.
    """
    later = {"revision": 1, **(since_0_1 or {})}

    def kept(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        return {
            name: kept(value, f"{prefix}{name}.") if isinstance(value, Mapping) else value
            for name, value in values.items()
            if prefix + name not in later or value != later[prefix + name]
        }

    return kept(dataclasses.asdict(config) if dataclasses.is_dataclass(config) else config)  # type: ignore[arg-type]


def _build(cls: Any, values: Any, prefix: str, source: str, places: Mapping[str, Any]) -> Any:
    """Build one dataclass, checking every key and value; `places` are set as they are."""
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.')} must be a table, not {values!r}")
    hints = get_type_hints(cls)
    known = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for key in (*values, *places):
        if key not in known:
            (best,) = (prefix + name for name in difflib.get_close_matches(str(key), known, n=1, cutoff=0.0))
            raise UserError(f"{source}: unknown key {prefix + str(key)!r}; the nearest valid key is {best!r}")
    for name, field in known.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values and name not in places:
            raise UserError(f"{source}: key {prefix + name!r} is missing; it must be {_allowed(hints[name])}")
    given = {key: _value(hints[key], value, prefix + key, source) for key, value in values.items()}
    return cls(**given, **places)


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    """Return `value` in the annotated type."""
    origin, inner = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name + ".", source, {})
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if (kind is types.NoneType) == (value is None)]
        for kind in kinds:
            try:
                return _value(kind, value, name, source)
            except UserError:
                if len(kinds) == 1:
                    raise
    if origin is Literal and any(value == word and type(value) is type(word) for word in inner):
        return value
    if origin is tuple and isinstance(value, list | tuple):
        kinds = inner[:1] * len(value) if inner[-1] is Ellipsis else inner
        if len(kinds) == len(value):
            pairs = zip(kinds, value, strict=True)
            return tuple(_value(kind, item, f"{name}[{i}]", source) for i, (kind, item) in enumerate(pairs))
    if hint is float and isinstance(value, int | float) and _finite(value):
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if hint in (bool, int, str, types.NoneType) and type(value) is hint:
        return value
    words = [word for kind in (hint, *inner) for word in get_args(kind) if isinstance(word, str)]
    guess = nearest(value, words) if isinstance(value, str) else ""
    raise UserError(f"{source}: {name} must be {_allowed(hint)}, not {value!r}{guess}")


def _finite(value: float) -> bool:
    return not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _allowed(hint: Any) -> str:
    """Describe what an annotation allows."""
    inner = get_args(hint)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if get_origin(hint) is tuple:
        return f"a list{'' if inner[-1] is Ellipsis else f' of {len(inner)}'}, each {_allowed(inner[0])}"
    return " or ".join(map(_allowed, inner)) if inner else _WORDS.get(hint, "a table")
