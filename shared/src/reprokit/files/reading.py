"""Opening possibly compressed files, and turning libraries' errors about them into `UserError`."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from reprokit.errors import UserError


@contextmanager
def guarded(path: Path, kind: str, remedy: str = "get it again") -> Iterator[None]:
    """Report any failure to read `path` as one `UserError` that names the file.

    Args:
        path: The file being read.
        kind: Its expected kind for the message, for example "an IDX file".
        remedy: What to do about damage.

    Raises:
        UserError: Anything failed inside; a `UserError` passes unchanged.
    """
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; check the path") from error
    except PermissionError as error:
        raise UserError(f"{path}: permission denied; make it readable") from error
    except Exception as error:  # the libraries' own exceptions have no common base
        detail = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} is damaged or not {kind} ({detail}); {remedy}") from error


def open_maybe_gzip(path: Path) -> IO[bytes]:
    """Open `path` for reading, decompressing it if it starts with gzip's magic number."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], gzip.open(path, "rb")) if compressed else path.open("rb")


def array_of(loaded: Any) -> np.ndarray:
    """Return the result of `numpy.load`, or a member of an .npz file, if it is an array.

    NumPy returns the members for a zip named like an .npy file, and plain bytes for a member that is not an .npy file.

    Raises:
        ValueError: It is something else; `guarded` turns this into a sentence.
    """
    if not isinstance(loaded, np.ndarray):
        raise ValueError(
            f"an array was expected, found {'bytes' if isinstance(loaded, bytes) else 'several files'}"
        )
    return loaded
