"""Checks of arguments: every mistake is one sentence that names the argument, its value and what is allowed."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, Self, TypeVar, overload

import numpy as np
import torch
from reprokit import UserError
from torch import Tensor, nn

Value = TypeVar("Value")


def whole(name: str, value: Any, least: int) -> int:
    """Return ``value`` as an int of at least ``least``; one-element tensors and arrays count as numbers."""
    number = _number(value)
    if number is None or number != number or number % 1:
        raise UserError(f"{name} is {value!r}; it must be a whole number of at least {least}")
    if number < least:
        raise UserError(f"{name} is {value!r}; it must be at least {least}")
    return int(number)


def real(name: str, value: Any, *, above: float | None = None, least: float | None = None) -> float:
    """Return ``value`` as a finite float greater than ``above`` or of at least ``least``."""
    number = _number(value)
    if number is None or not math.isfinite(number):
        raise UserError(f"{name} is {value!r}; it must be a finite number")
    if above is not None and not number > above:
        raise UserError(f"{name} is {value!r}; it must be greater than {above:g}")
    if least is not None and not number >= least:
        raise UserError(f"{name} is {value!r}; it must be at least {least:g}")
    return float(number)


def pair(name: str, value: Any, least: int) -> tuple[int, int]:
    """Return ``value`` as two ints of at least ``least``; one int applies to both axes."""
    if _number(value) is not None:
        value = (value, value)
    items = value.tolist() if isinstance(value, Tensor | np.ndarray) else value
    if not isinstance(items, Sequence) or isinstance(items, str) or len(items) != 2:
        raise UserError(f"{name} is {value!r}; it must be two whole numbers, [rows, columns]")
    return whole(f"{name}[0]", items[0], least), whole(f"{name}[1]", items[1], least)


def choice(name: str, value: Any, allowed: Sequence[str]) -> str:
    """Return ``value`` if it is one of ``allowed``."""
    if value not in allowed:
        raise UserError(f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}")
    return value


def non_negative(name: str, value: Any, shapes: Sequence[tuple[int, ...]]) -> Tensor:
    """Return ``value`` as a detached float32 tensor of one of ``shapes`` with finite entries of 0 or more."""
    try:
        tensor = torch.as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{name} must be an array of numbers ({error})") from error
    if tuple(tensor.shape) not in shapes:
        allowed = " or ".join(map(str, shapes))
        raise UserError(f"{name} has shape {tuple(tensor.shape)}; it must be {allowed}")
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise UserError(f"{name} has dtype {tensor.dtype}; it must be real numbers")
    tensor = tensor.to(torch.float32)
    if not bool((tensor.isfinite() & (tensor >= 0)).all()):
        raise UserError(
            f"{name} holds a negative, infinite or missing (NaN) value; it must be finite and at least 0"
        )
    return tensor


def _number(value: Any) -> int | float | None:
    """Convert a number of Python, NumPy or torch to a Python number; None for anything else, including a bool."""
    if isinstance(value, Tensor | np.ndarray | np.generic) and math.prod(value.shape) == 1:
        value = value.item()
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


class Checked(Generic[Value]):
    """A setting of a layer that is checked whenever it is set.

    Args:
        check: Receives the setting's name and the given value, returns the value to store.
        text: Description of the setting.
    """

    def __init__(self, check: Callable[[str, Any], Value], text: str) -> None:
        self._check = check
        self.__doc__ = text

    def __set_name__(self, _: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, layer: None, _: type) -> Self: ...
    @overload
    def __get__(self, layer: nn.Module, _: type) -> Value: ...
    def __get__(self, layer: nn.Module | None, _: type) -> Self | Value:
        return self if layer is None else layer.__dict__["_" + self._name]

    def __set__(self, layer: nn.Module, value: Any) -> None:
        layer.__dict__["_" + self._name] = self._check(self._name, value)
