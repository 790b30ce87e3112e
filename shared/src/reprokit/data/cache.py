"""Location of the data, creation of complete folders, and settings from the environment.

``REPROKIT_DATA``     folder of the cache (default: the platform's cache folder)
``REPROKIT_MIRROR``   folder or URL with the files by name, tried before the publishers
``REPROKIT_OFFLINE``  1 forbids the network
``REPROKIT_SLOWEST``  bytes per second; a slower server is dropped and asked again (default: 1000)
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from reprokit.errors import UserError
from reprokit.files.atomic import sync_folder

_SPARE = 64 << 20  # bytes to leave free on the disk


def data_folder() -> Path:
    """Return the cache folder, which need not exist yet.

    Raises:
        UserError: There is no home folder to put it in.
    """
    chosen = os.environ.get("REPROKIT_DATA")
    try:
        return Path(chosen).expanduser().resolve() if chosen else user_cache_path("reprokit") / "data"
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"no home folder for the data cache ({error}); set REPROKIT_DATA to a folder"
        ) from error


def mirror() -> str | Path | None:
    """Return the mirror: a URL as text, a folder as a path, None when there is none.

    Raises:
        UserError: REPROKIT_MIRROR is neither an http(s) URL nor a folder that exists.
    """
    chosen = os.environ.get("REPROKIT_MIRROR")
    if not chosen:
        return None
    if urlsplit(chosen).scheme in ("http", "https"):
        return chosen.rstrip("/")
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise UserError(f"REPROKIT_MIRROR={chosen} is neither an http(s) address nor a folder that exists")
    return folder


def offline() -> bool:
    """Tell whether REPROKIT_OFFLINE forbids the network.

    Raises:
        UserError: The variable is neither 0 nor 1.
    """
    chosen = os.environ.get("REPROKIT_OFFLINE", "").strip().lower()
    if chosen in ("", "0", "false", "no"):
        return False
    if chosen in ("1", "true", "yes"):
        return True
    raise UserError(f"REPROKIT_OFFLINE={chosen} must be 1 (no network) or 0")


def slowest() -> float:
    """Return the minimum speed of a server in bytes per second.

    Raises:
        UserError: The variable is not a number of 0 or more.
    """
    chosen = os.environ.get("REPROKIT_SLOWEST") or "1000"
    try:
        rate = float(chosen)
    except ValueError:
        rate = -1.0
    if not 0 <= rate < float("inf"):
        raise UserError(f"REPROKIT_SLOWEST={chosen} must be a number of bytes per second, 0 or more")
    return rate


def require_space(folder: Path, needed: int) -> None:
    """Check that `needed` bytes fit on the disk of `folder` with a little to spare.

    Raises:
        UserError: They do not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise UserError(
            f"{folder}: {needed / 1e6:.0f} MB are needed (and {_SPARE / 1e6:.0f} MB to spare) but only "
            f"{free / 1e6:.0f} MB are free; free some space or point REPROKIT_DATA to another disk"
        )


@contextmanager
def staged_store(store: Path) -> Iterator[Path]:
    """Provide a new folder to fill; it replaces `store` when the block ends, and is deleted if the block fails.

    The caller must have the lock of `store`, because leftovers of killed writers are deleted first.
    """
    for leftover in store.parent.glob(f"{store.name}.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = store.with_name(f"{store.name}.tmp-{os.getpid()}")
    try:
        staging.mkdir()
        yield staging
        shutil.rmtree(store, ignore_errors=True)
        staging.replace(store)
        sync_folder(store.parent)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
