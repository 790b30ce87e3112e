"""The one exception that users of any package should read, and common checks that raise it."""

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class UserError(ValueError):
    """A mistake that the user can fix: a wrong argument or file, or an unwritable place.

    The message is a complete sentence that names the argument or file, its value, what is allowed and the
    remedy; `reprokit.cli.run` prints it alone and ends with exit code 2.
    """


def library(module: str, why: str, install: str) -> Any:
    """Import a library that only some users need; `why` begins the message for those who lack it.

    Raises:
        UserError: It is missing, for example "reading PNG files needs Pillow; install it with: pip install pillow".
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(f"{why}; install it with: pip install {install}") from error


def ask_core(question: Callable[[], str]) -> str:
    """Return a compiled core's answer, such as the instruction set it uses (`shared/cpp/isa.hpp`).

    Raises:
        UserError: The core refused with a ValueError, whose message is a sentence for the user: `REPROKIT_ISA`
            names instructions that this processor or build lacks.
    """
    try:
        return question()
    except ValueError as error:
        raise UserError(str(error)) from None


def refuse(wrong: "NDArray[np.bool_]", sentence: Callable[[int], str]) -> None:
    """Raise `UserError` with the sentence about the first wrong entry, if there is one."""
    if wrong.any():
        raise UserError(sentence(int(wrong.argmax())))
