"""How much of own data was kept: always reported in one line; a large loss is refused."""

import warnings

from reprokit.errors import UserError

MOST_LOST = 0.05  # share of own data that may be lost without the user's consent


def kept_line(
    name: str, what: str, kept: int, total: int, *, cause: str, remedy: str, allow_loss: bool = False
) -> str:
    """Return one line on how much of own data was kept, for the caller to print; refuse a loss above 5 %.

        line = kept_line(path, "events", kept, total, cause="come after the window of 300 ms",
                         remedy="give a longer --duration or --start first-event", allow_loss=config.allow_loss)
        say(line)                                     # own.npz: 990 of 1000 events kept; 10 come after the window ...

    Args:
        name: The file or data set.
        what: What is counted, in the plural: "spikes", "events", "samples".
        kept: How many were kept.
        total: How many there were.
        cause: Why they were lost, as a predicate: "come after the window of 300 ms".
        remedy: How to keep them, as an imperative.
        allow_loss: Warn of a loss above 5 % instead of refusing it.

    Raises:
        UserError: More than 5 % were lost and this is not allowed.
    """
    lost = total - kept
    if lost > MOST_LOST * total and not allow_loss:
        raise UserError(
            f"{name}: {lost} of {total} {what} {cause}; {remedy}, or --allow-loss to use the rest"
        )
    if lost > MOST_LOST * total:
        warnings.warn(f"{name}: {lost} of {total} {what} {cause}; {remedy}", stacklevel=2)
    return f"{name}: {kept} of {total} {what} kept" + (f"; {lost} {cause}" if lost else "")
