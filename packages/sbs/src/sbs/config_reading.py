"""A configuration from TOML files and plain values; every key and type is checked by the dataclasses' annotations."""

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reprokit import UserError

from sbs.config import TrainConfig
from sbs.config_check import check


def from_mapping(values: Mapping[str, Any], source: str = "configuration") -> TrainConfig:
    """Build a `TrainConfig` from nested plain values (a parsed TOML or config.json file).

    Raises:
        UserError: Unknown key, wrong type or impossible value, named with its full key.
    """
    config = _build(TrainConfig, values, "", source)
    check(config, source)
    return config


def read_toml(path: str | Path) -> TrainConfig:
    """Read our own configuration file; keys are the attributes of `TrainConfig` and its parts.

    Raises:
        UserError: Missing or malformed file, unknown key or impossible value.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML ({error})") from error
    return from_mapping(values, str(path))


def _build(kind: Any, values: Any, prefix: str, source: str) -> Any:
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {prefix.rstrip('.')} must be a table, not {values!r}")
    hints = get_type_hints(kind)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            raise UserError(f"{source}: unknown key {prefix + key!r}; {nearest(key, list(hints), prefix)}")
        arguments[key] = _value(hints[key], value, prefix + key, source)
    return kind(**arguments)


def nearest(key: str, valid: list[str], prefix: str = "") -> str:
    """Return half a sentence that names the valid key most like ``key``."""
    (best,) = difflib.get_close_matches(key, valid, n=1, cutoff=0.0)
    return f"the nearest valid key is {prefix + best!r}"


def _value(hint: Any, value: Any, name: str, source: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, name + ".", source)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise UserError(
                f"{source}: {name} is {value!r}; it must be one of {', '.join(map(repr, get_args(hint)))}"
            )
        return value
    if get_origin(hint) is tuple:
        inner = get_args(hint)
        if not isinstance(value, list | tuple) or (inner[-1] is not Ellipsis and len(value) != len(inner)):
            expected = "a list" if inner[-1] is Ellipsis else f"{len(inner)} numbers"
            raise UserError(f"{source}: {name} must be {expected}, not {value!r}")
        return tuple(_value(inner[0], item, f"{name}[{index}]", source) for index, item in enumerate(value))
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if hint is float and number and value == value and abs(value) != float("inf"):
        return float(value)
    if hint is int and isinstance(value, int) and number:
        return value
    if hint in (bool, str) and isinstance(value, hint):
        return value
    expected = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a string"}[hint]
    raise UserError(f"{source}: {name} must be {expected}, not {value!r}")
