"""CIFAR's Python version, read without unpickling: nothing that a file names is ever called.

A pickle is a program for a small stack machine. `read_values` executes the instructions that build plain values
(numbers, texts, lists, tuples, dictionaries) and keeps everything that would import or call something as an
inert `Made`. From these, `array_of` recognises NumPy's arrays.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from reprokit import UserError
from reprokit.files.reading import guarded

LIMIT = 512 << 20  # bytes; CIFAR-100's training file has 155 MB
_PLAIN = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "BINUNICODE", "UNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_TEXTS = {"BINSTRING", "SHORT_BINSTRING", "STRING"}  # Python 2's strings, which held the pixels
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_MARK = object()


@dataclass
class Made:
    """The call that a pickle asks for: the name of the function, its arguments, and the state set afterwards."""

    name: str
    arguments: tuple[Any, ...] = ()
    state: list[Any] = field(default_factory=list)


def read_values(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary; its keys become texts.

    Raises:
        UserError: The file is too large, not a pickle, or a pickle of something else.
    """
    with guarded(path, "a file of CIFAR's Python version"):
        if path.stat().st_size > LIMIT:
            raise UserError(f"{path}: {path.stat().st_size} bytes are more than the {LIMIT} allowed.")
        content = path.read_bytes()
    try:
        found = _run(content)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a pickle of plain values ({error}); get it again.") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds a {type(found).__name__}, expected CIFAR's dictionary; get it again.")
    return {_text(key): value for key, value in found.items()}


def _run(content: bytes) -> Any:
    stack: list[Any] = []
    memory: dict[int, Any] = {}

    def back_to_mark() -> list[Any]:
        start = max(index for index, value in enumerate(stack) if value is _MARK)
        taken = stack[start + 1 :]
        del stack[start:]
        return taken

    for operation, argument, _ in pickletools.genops(content):
        name = operation.name
        if name in ("PROTO", "FRAME"):
            continue
        if name == "STOP":
            return stack.pop()
        if name in _PLAIN:
            stack.append(argument)
        elif name in _TEXTS:
            stack.append(argument.encode("latin-1"))  # type: ignore[union-attr]
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name == "TUPLE":
            stack.append(tuple(back_to_mark()))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "LIST":
            stack.append(back_to_mark())
        elif name == "DICT":
            stack.append(_pairs(back_to_mark()))
        elif name == "APPEND":
            value = stack.pop()
            stack[-1].append(value)
        elif name == "APPENDS":
            values = back_to_mark()
            stack[-1].extend(values)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            stack[-1][key] = value
        elif name == "SETITEMS":
            entries = _pairs(back_to_mark())
            stack[-1].update(entries)
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            memory[int(argument)] = stack[-1]  # type: ignore[arg-type]
        elif name == "MEMOIZE":
            memory[len(memory)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(memory[int(argument)])  # type: ignore[arg-type]
        elif name == "GLOBAL":
            stack.append(Made(str(argument).replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            last, module = stack.pop(), stack.pop()
            stack.append(Made(f"{module}.{last}"))
        elif name == "REDUCE":
            arguments, made = stack.pop(), stack.pop()
            if made.name == "_codecs.encode":  # bytes, as Python 3 writes them in protocol 2
                stack.append(arguments[0].encode("latin-1"))
            else:
                stack.append(Made(made.name, tuple(arguments)))
        elif name == "BUILD":
            state = stack.pop()
            stack[-1].state.append(state)
        else:
            raise ValueError(f"instruction {name}")
    raise ValueError("it has no end")


def _pairs(values: list[Any]) -> dict[Any, Any]:
    return dict(zip(values[::2], values[1::2], strict=True))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def array_of(value: Any) -> np.ndarray:
    """The bytes of a pickled NumPy array, uint8, or of a list of numbers, int64.

    Raises:
        ValueError: For anything else.
    """
    if isinstance(value, list):
        return np.array(value, np.int64)
    if not isinstance(value, Made):
        raise ValueError(f"a {type(value).__name__} where an array belongs")
    if value.name.endswith("._reconstruct") and value.state:
        _, shape, dtype, columns_first, content = value.state[-1]
    elif value.name.endswith("._frombuffer"):
        content, dtype, shape, order = value.arguments
        columns_first = order == "F"
    else:
        raise ValueError(f"{value.name} where an array belongs")
    if _text(dtype.arguments[0]) != "u1":
        raise ValueError(f"numbers of type {_text(dtype.arguments[0])} where bytes belong")
    return np.frombuffer(content, np.uint8).reshape(shape, order="F" if columns_first else "C")
