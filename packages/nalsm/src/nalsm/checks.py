"""Checks of arguments: every mistake gets one sentence that names the argument, its value and what is allowed."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from reprokit import UserError


def whole(name: str, value: Any, least: int, *, unit: str = "") -> int:
    """Return a number as int, which must be possible without loss; NumPy's numbers and 3.0 are accepted.

    Args:
        name: the argument, for the message.
        value: the given value.
        least: smallest value allowed.
        unit: unit of the value for the message, such as " ms".

    Raises:
        UserError: where it is not a whole number of `least` or more.
    """
    number = _index(value)
    if number is None:
        raise UserError(f"{name} is {value!r}; it must be a whole number of {least} or more.")
    if number < least:
        raise UserError(f"{name} is {number}{unit}; it must be {least} or more.")
    return number


def _index(value: Any) -> int | None:
    if isinstance(value, bool | np.bool_):
        return None
    if isinstance(value, float | np.floating):
        return int(value) if math.isfinite(value) and value == int(value) else None
    try:
        return operator.index(value)
    except TypeError:
        return None


def real(name: str, value: Any, *, above: float | None = None, least: float | None = None, most: float | None = None,
         unit: str = "") -> float:  # fmt: skip
    """Return a number as float.

    Args:
        name: the argument, for the message.
        value: the given value; NumPy's numbers are accepted.
        above: it must be above this, if given.
        least: it must be this or more, if given.
        most: it must be this or less, if given.
        unit: unit of the value for the message, such as " ms".

    Raises:
        UserError: where it is not a finite number in that range.
    """
    number = None
    if not isinstance(value, bool | np.bool_ | str | bytes) and np.ndim(value) == 0:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = None
    if number is None or not math.isfinite(number):
        raise UserError(f"{name} is {value!r}; it must be a finite number.")
    low = f"above {above:g}" if above is not None else f"{least:g} or more" if least is not None else ""
    high = f"at most {most:g}" if most is not None else ""
    inside = (above is None or number > above) and (least is None or number >= least)
    if not inside or (most is not None and number > most):
        allowed = " and ".join(part for part in (low, high) if part)
        raise UserError(f"{name} is {number:g}{unit}; it must be {allowed}.")
    return number


def numbers(name: str, values: Any, dimensions: int, *, whole: bool = False) -> np.ndarray:
    """Return values as an array of `dimensions` axes.

    Args:
        name: the argument, for the message.
        values: an array, or anything that NumPy can convert to one.
        dimensions: number of axes.
        whole: whether they must be integers already, because others would be truncated.

    Raises:
        UserError: if they are not numbers, or have a different number of axes.
    """
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is not an array ({error}); give numbers.") from error
    kinds = "iu" if whole else "biuf"
    if array.dtype.kind not in kinds and not (whole and array.size == 0):
        raise UserError(
            f"{name} is {array.dtype} {array.shape}; give {'whole' if whole else 'real'} numbers."
        )
    if array.ndim != dimensions:
        raise UserError(f"{name} has shape {array.shape}; give {dimensions} axes.")
    return array
