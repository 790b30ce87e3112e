"""What all command lines share: output by line, one sentence per error, exit codes."""

import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from reprokit.errors import UserError

# Failures of the user's disk, folders and permissions get a sentence, not a traceback.
_REMEDIES = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again",
    errno.EDQUOT: "your disk quota is used up; free some space and run the same command again",
    errno.EFBIG: "the file would grow beyond the allowed size; raise the limit and run it again",
    errno.EACCES: "permission denied; choose a place you may read and write",
    errno.EPERM: "permission denied; choose a place you may read and write",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.ENOENT: "no such file or folder; check the path",
    errno.ENOTDIR: "a part of this path is a file, not a folder; check the path",
    errno.EISDIR: "this is a folder where a file is needed; check the path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.EIO: "the device reports an input/output error; check the disk",
}


def run(main: Callable[[], Any]) -> int:
    """Run a command and turn errors that the user can fix into one sentence and an exit code.

    Exit codes: 0 done; 2 `UserError`, wrong flags, full disk or missing permission; 130 interrupted by Ctrl-C;
    141 the reader of a pipe has gone. Any other exception is a bug and keeps its traceback, as do all
    exceptions if the environment variable REPROKIT_DEBUG is set.

    Args:
        main: The command; a returned int is the exit code, anything else means 0.

    Returns:
        The exit code, for `sys.exit`.
    """
    with _short_warnings():
        try:
            result = main()
            sys.stdout.flush()
        except SystemExit as stop:
            if stop.code is None or isinstance(stop.code, int):
                return stop.code or 0
            _complain(str(stop.code))
            return 2
        except BrokenPipeError:
            _forget_stdout()
            return 141
        except KeyboardInterrupt:
            _complain("interrupted; the same command continues where it stopped if the run keeps checkpoints")
            return 130
        except UserError as error:
            if os.environ.get("REPROKIT_DEBUG"):
                raise
            _complain(str(error))
            return 2
        except OSError as error:
            if os.environ.get("REPROKIT_DEBUG") or error.errno not in _REMEDIES:
                raise
            if error.filename is None:  # then it was standard output
                _forget_stdout()
            _complain(f"{error.filename or 'output'}: {_REMEDIES[error.errno]}")
            return 2
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _complain(sentence: str) -> None:
    """Print one line to standard error, which may itself be closed or full."""
    with suppress(OSError, ValueError):
        sys.stderr.write(f"error: {' '.join(sentence.split())}\n")
        sys.stderr.flush()


def _forget_stdout() -> None:
    """Redirect standard output to nowhere, so that the interpreter's last flush cannot fail again."""
    with suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)


@contextmanager
def _short_warnings() -> Iterator[None]:
    """Show warnings as one line without the source code that raised them."""
    before = warnings.formatwarning

    def one_line(message: Warning | str, *_: Any, **__: Any) -> str:
        return f"warning: {message}\n"

    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = before
