"""The command ``data`` of every program: list, fetch, verify and locate data sets."""

from collections.abc import Sequence
from typing import Annotated

import tyro

from reprokit.data.cache import data_folder
from reprokit.data.catalog import CATALOG, Dataset, find_dataset
from reprokit.data.fetch import faults, fetch_dataset
from reprokit.errors import UserError
from reprokit.terminal import say

EMBEDDED = {
    "digits": "scikit-learn's 8x8 digits (images)",
    "digits-events": "the same digits seen by a simulated event camera (events)",
    "spoken-toy": "ten classes that differ only in spike timing (recordings)",
}
_KNOWN = (tyro.conf.Positional, tyro.conf.arg(help="Name in ``reprokit data list``."))
Names = Annotated[tuple[str, ...], *_KNOWN]


def main(arguments: Sequence[str], prog: str = "reprokit data") -> int:
    """Run the command with the words after it; the exit code is 1 when ``verify`` finds a fault."""
    commands = {"list": list_datasets, "fetch": fetch, "verify": verify, "where": where}
    about = "Data sets: fetched once, verified always."
    code = tyro.extras.subcommand_cli_from_dict(commands, args=list(arguments), prog=prog, description=about)
    return code or 0


def list_datasets() -> None:
    """List every known data set, its size, its licence and whether it is in the cache."""
    say(f"cache: {data_folder()}")
    for dataset in CATALOG.values():
        size = f"{dataset.size / 1e6:.0f} MB" if dataset.size else "size not published"
        note = f"{dataset.title}; licence: {dataset.licence}"
        say(f"  {dataset.name:14} {_state(dataset):12} {size:>18}  {note}")
    say("generated, no download:")
    for name, title in EMBEDDED.items():
        say(f"  {name:14} {'here':12} {'':>18}  {title}")


def fetch(names: Names, /) -> None:
    """Download, verify and extract data sets; those already complete are skipped."""
    for dataset in _chosen(names):
        say(f"{dataset.name}: {fetch_dataset(dataset)}")


def verify(names: Names, /) -> int:
    """Hash every file of data sets and report what is missing or changed; repairs nothing."""
    broken = False
    for dataset in _chosen(names):
        bad, state = faults(dataset, thorough=True), "all right"
        if bad:
            listed = f"{', '.join(bad[:10])}{' ...' if bad[10:] else ''}"
            state = f"missing or damaged: {listed}; repair with: reprokit data fetch {dataset.name}"
        say(f"{dataset.name}: {state}")
        broken |= bool(bad)
    return int(broken)


def where(name: Annotated[str, *_KNOWN], /) -> None:
    """Print the folder of a data set, whether it has been fetched or not."""
    say(str(data_folder() / _chosen((name,))[0].name))


def _chosen(names: tuple[str, ...]) -> list[Dataset]:
    """Look up data sets; explain those that need no fetching."""
    if not names:
        raise UserError(f"name at least one data set of {', '.join(CATALOG)}")
    for name in names:
        if name in EMBEDDED:
            raise UserError(
                f"{name} is generated when it is used: there is nothing to fetch, verify or locate"
            )
    return [find_dataset(name) for name in names]


def _state(dataset: Dataset) -> str:
    """Say in one word whether a data set is in the cache."""
    if not (data_folder() / dataset.name).is_dir():
        return "not fetched"
    return "incomplete" if faults(dataset) else "here"
