"""Whether data are those of the published set, and which scale a row may therefore state."""

from functools import lru_cache

from reprokit.data.catalog import CATALOG, DIGESTS
from reprokit.run.identity import DataIdentity

_EVENTS, _RECORDINGS = ("n-mnist", "dvs-gesture", "cifar10-dvs"), ("shd",)


def honest_scale(scale: str, dataset: str, data: DataIdentity | None, *, reduced: bool = False) -> str:
    """Return the scale that a result row may state.

    "paper" is for the published protocol on the published data: the digest of the data is that of the set which
    the row names, and no option reduced the protocol. Otherwise the row says "reduced", or "own" for other data;
    neither is judged.

        row = standard_row(config, dataset=data.name, scale=asked, data=data, reduced=config.limit is not None, ...)

    Args:
        scale: The requested scale; any but "paper" is returned as it is.
        dataset: The data set as the row names it.
        data: The whole data set as it was read; None: not identified.
        reduced: Whether an option reduced the protocol.
    """
    if scale != "paper":
        return scale
    if reduced:
        return "reduced"
    return "paper" if data is not None and is_published(data.digest, dataset) else "own"


def is_published(digest: str, name: str) -> bool:
    """Tell whether a digest is that of the published set `name`."""
    return digest == published_digest(name)


@lru_cache(maxsize=16)
def published_digest(name: str) -> str | None:
    """Return the digest of the arrays of a published set.

    Args:
        name: Its name in the catalogue and in result rows.

    Returns:
        The recorded one, otherwise that of the verified files in the data cache; None if there are none.
    """
    if name in DIGESTS or name not in CATALOG:
        return DIGESTS.get(name)
    from reprokit import load
    from reprokit.data.fetch import faults

    if faults(CATALOG[name]):
        return None
    read = (
        load.load_events
        if name in _EVENTS
        else load.load_recordings
        if name in _RECORDINGS
        else load.load_images
    )
    return DataIdentity.of(read(name)).digest
