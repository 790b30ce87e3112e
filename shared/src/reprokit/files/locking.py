"""Locks between processes, released by the system when their owner dies."""

import os
from pathlib import Path

from filelock import FileLock, Timeout

from reprokit.errors import UserError

_held: set[tuple[int, Path]] = (
    set()
)  # (process id, lock file): a forked child does not own its parent's locks


class Lock:
    """A held lock; `release` frees it, and so does any end of the process."""

    def __init__(self, lock: FileLock, key: tuple[int, Path]) -> None:
        self._lock = lock
        self._key = key

    def release(self) -> None:
        """Free the lock; may be called more than once, and does nothing in a forked child."""
        if self._key[0] == os.getpid() and self._lock.is_locked:
            self._lock.release(force=True)
            _held.discard(self._key)

    def __del__(self) -> None:
        self.release()


def lock_beside(path: Path) -> Path:
    """Return the lock file that guards `path`: hidden, in the same folder."""
    return path.with_name(f".{path.name}.lock")


def acquire(
    lock_file: Path,
    *,
    patience: float,
    busy: str,
    wait_for_self: bool = True,
    error: type[UserError] = UserError,
) -> Lock:
    """Take the lock, waiting at most `patience` seconds.

    Args:
        lock_file: The file that represents the lock; created if absent and left in place.
        patience: Seconds to wait for another owner.
        busy: Error message if the lock stays taken.
        wait_for_self: Whether to wait for an owner in this same process, which only another thread could release.
        error: Exception raised if another owner keeps the lock.

    Raises:
        UserError: Another owner kept the lock, or the lock file cannot be created.
    """
    key = (os.getpid(), lock_file.resolve())
    if key in _held and not wait_for_self:
        raise error(busy)
    lock = FileLock(lock_file, timeout=patience, thread_local=False)
    try:
        lock.acquire(poll_interval=0.005)
    except Timeout as timeout:
        raise error(busy) from timeout
    except OSError as problem:
        raise UserError(
            f"cannot write in {lock_file.parent}: {problem.strerror}; choose a folder you may write to"
        ) from problem
    _held.add(key)
    return Lock(lock, key)
