"""Checks of the arguments of public functions: one sentence names the argument, its value and what is allowed.

NumPy's numbers count as numbers and become Python's; booleans and texts do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

from reprokit import UserError


def whole(name: str, value: Any, least: int = 0, most: int | None = None) -> int:
    """Return a whole number of at least `least`, at most `most`.

    Raises:
        UserError: For anything else.
    """
    fits = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    if not fits or (most is not None and int(value) > most):
        up_to = "" if most is None else f" and at most {most}"
        raise UserError(f"{name}={value!r} is not allowed; give a whole number of at least {least}{up_to}.")
    return int(value)


def real(name: str, value: Any, *, least: float | None = None, above: float | None = None) -> float:
    """Return a finite number of at least `least`, greater than `above`.

    Raises:
        UserError: For anything else.
    """
    fits = isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (least is not None and value < least) or (above is not None and value <= above):
        bound = f" ≥ {least:g}" if least is not None else f" > {above:g}" if above is not None else ", finite"
        raise UserError(f"{name}={value!r} is not allowed; give a number{bound}.")
    return float(value)


def wholes(name: str, values: Any, least: int = 1, count: int | None = None) -> tuple[int, ...]:
    """Return a sequence of whole numbers of at least `least`.

    Raises:
        UserError: For anything else, or when their number is not `count`.
    """
    if not isinstance(values, Iterable) or isinstance(values, str | bytes):
        raise UserError(f"{name}={values!r} is not allowed; give several whole numbers, as in ({values!r},).")
    found = tuple(values)
    if count is not None and len(found) != count:
        raise UserError(f"{name}={found} has {len(found)} numbers; give {count}.")
    return tuple(whole(f"{name}[{index}]", value, least) for index, value in enumerate(found))


def choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return `value` if it is one of the allowed words.

    Raises:
        UserError: For any other word.
    """
    if not isinstance(value, str) or value not in allowed:
        raise UserError(f"{name}={value!r} is unknown; choose one of {', '.join(map(repr, allowed))}.")
    return value
