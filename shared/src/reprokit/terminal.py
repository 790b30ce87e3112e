"""What a command shows: result lines, and progress bars that appear only on a terminal."""

import sys
import threading
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# tqdm's own lock is shared by forked processes: a child killed while holding it would stop all other bars.
tqdm.set_lock(threading.RLock())


def say(text: str = "") -> None:
    """Print one line of a command's result to standard output, at once, above the progress bars on a terminal."""
    with tqdm.external_write_mode():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def progress(iterable: Iterable[Any] | None = None, total: float | None = None, description: str = "") -> Any:
    """Wrap `iterable` in a progress bar on stderr; silent unless stderr is a terminal.

    Args:
        iterable: Items to loop over; None for a bar that is moved by `.update(n)`.
        total: Number of steps, if `iterable` has no length.
        description: Text before the bar.

    Returns:
        A tqdm bar: iterable, context manager, with `.update`, `.set_postfix_str` and `.close`.
    """
    return tqdm(
        iterable,
        total=total,
        desc=description or None,
        disable=not sys.stderr.isatty(),
        leave=False,
        dynamic_ncols=True,
    )
