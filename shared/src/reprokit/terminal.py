"""What a command shows: result lines, and progress bars that appear on a terminal and nowhere else."""

import sys
import threading
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm

# tqdm's own lock is one for all forked processes: a child killed while it holds it would stop every bar of the rest.
tqdm.set_lock(threading.RLock())


def say(text: str = "") -> None:
    """Print one line of a command's result to standard output, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def progress(iterable: Iterable[Any] | None = None, total: float | None = None, description: str = "") -> Any:
    """Wrap `iterable` in a progress bar on stderr; silent unless stderr is a terminal.

    Args:
        iterable: What to loop over; None for a bar that is moved by `.update(n)`.
        total: Number of steps, where `iterable` cannot tell.
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
