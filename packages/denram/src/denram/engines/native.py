"""The compiled library of the event engine: finding, checking and naming it, without loading JAX."""

import ctypes
from functools import lru_cache
from pathlib import Path

from reprokit.errors import UserError

LIBRARY = Path(__file__).parents[1] / "native.so"  # the build puts it at the root of the package
ABI = 3


class Python(ctypes.Structure):
    """The parts of Python's C interface that let the library handle signals while it computes (engine.hpp)."""

    _fields_ = tuple((name, ctypes.c_void_p) for name in ("save", "restore", "check_signals"))


@lru_cache
def python() -> Python:
    """The functions of this interpreter."""
    names = ("PyEval_SaveThread", "PyEval_RestoreThread", "PyErr_CheckSignals")
    return Python(*(ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in names))


@lru_cache
def _library() -> ctypes.CDLL | None:
    if not LIBRARY.is_file():
        return None
    try:
        library = ctypes.PyDLL(str(LIBRARY))  # it releases the lock itself
    except OSError:
        return None
    library.denram_abi.restype = ctypes.c_int
    if library.denram_abi() != ABI:
        return None
    library.denram_isa.argtypes = [ctypes.POINTER(ctypes.c_char_p)]
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    library.denram_forward.argtypes = [pointer, ctypes.c_int, whole, *[pointer] * 5]
    library.denram_backward.argtypes = [pointer, pointer, pointer, whole, pointer, pointer]
    return library


def available() -> bool:
    """Whether the compiled library exists and fits this version."""
    return _library() is not None


def variant() -> str:
    """The library's instruction set: the best of this processor, or the one that `REPROKIT_ISA` names.

    Raises:
        UserError: the library is missing, or the variable names an unavailable set.
    """
    return _instructions(require_library())


@lru_cache
def _instructions(library: ctypes.CDLL) -> str:
    text = ctypes.c_char_p()
    refused = library.denram_isa(ctypes.byref(text))
    answer = (text.value or b"").decode()
    if refused:
        raise UserError(answer)
    return answer


@lru_cache
def operations() -> dict[str, object] | None:
    """The library's operations for XLA by name, as capsules; None if it was built without them.

    Raises:
        UserError: the library is missing.
    """
    library = require_library()
    try:
        found = {name: getattr(library, f"denram_xla_{name}") for name in ("forward", "backward")}
    except AttributeError:
        return None
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    return {name: capsule(ctypes.cast(f, ctypes.c_void_p), None, None) for name, f in found.items()}


def missing_message() -> str:
    """Message for users whose installation lacks the compiled library."""
    return (
        "denram's compiled event engine is missing or of another version: the slower `fft` engine works; "
        "install a C++ compiler (g++ or clang++) and reinstall denram to get it."
    )


def require_library() -> ctypes.CDLL:
    """The library.

    Raises:
        UserError: it is missing, or `REPROKIT_ISA` names unavailable instructions.
    """
    library = _library()
    if library is None:
        raise UserError(
            "engine is 'events', but denram's compiled event engine is missing or of another version; "
            "install a C++ compiler (g++ or clang++) and reinstall denram, or choose engine 'fft'."
        )
    _instructions(library)
    return library
