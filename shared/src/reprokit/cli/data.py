"""The command ``reprokit data``: list, fetch, verify and locate data sets."""

from collections.abc import Sequence

import tyro

from reprokit.data.cache import data_folder
from reprokit.data.catalog import CATALOG, Dataset, find_dataset
from reprokit.data.fetch import faults, fetch_dataset
from reprokit.errors import UserError
from reprokit.terminal import say

EMBEDDED = {
    "digits": "scikit-learn's 8x8 digits (images)",
    "digits-events": "the same digits before a simulated event camera (events)",
    "spoken-toy": "ten classes that differ in spike timing alone (recordings)",
}


def main(arguments: Sequence[str], prog: str = "reprokit data") -> int:
    """Run ``reprokit data`` with the given arguments.

    Args:
        arguments: What follows ``reprokit data``.
        prog: What the help calls the command.

    Returns:
        The exit code: 0, or 1 when ``verify`` finds a fault.
    """
    commands = {"list": list_datasets, "fetch": fetch, "verify": verify, "where": where}
    code = tyro.extras.subcommand_cli_from_dict(
        commands,
        args=list(arguments),
        prog=prog,
        description="Data sets: fetched once, verified always.",
    )
    return code or 0


def list_datasets() -> None:
    """List every known data set, its size, licence and whether it is here."""
    say(f"cache: {data_folder()}")
    for dataset in CATALOG.values():
        size = f"{dataset.size / 1e6:.0f} MB" if dataset.size else "size not published"
        note = f"{dataset.title}; licence: {dataset.licence}"
        say(f"  {dataset.name:14} {_state(dataset):12} {size:>18}  {note}")
    say("generated, no download:")
    for name, title in EMBEDDED.items():
        say(f"  {name:14} {'here':12} {'':>18}  {title}")


def fetch(names: tyro.conf.Positional[tuple[str, ...]], /) -> None:
    """Download, verify and extract data sets; does nothing for those that are here and whole.

    Args:
        names: Data sets, see ``reprokit data list``.
    """
    for dataset in _chosen(names):
        say(f"{dataset.name}: {fetch_dataset(dataset)}")


def verify(names: tyro.conf.Positional[tuple[str, ...]], /) -> int:
    """Hash every file of data sets and report what is missing or changed; repairs nothing.

    Args:
        names: Data sets, see ``reprokit data list``.
    """
    broken = 0
    for dataset in _chosen(names):
        bad = faults(dataset, thorough=True)
        state = (
            f"missing or damaged: {', '.join(bad[:10])}{' ...' if bad[10:] else ''}" if bad else "all right"
        )
        remedy = f"; repair with: reprokit data fetch {dataset.name}" if bad else ""
        say(f"{dataset.name}: {state}{remedy}")
        broken += bool(bad)
    return int(bool(broken))


def where(name: tyro.conf.Positional[str], /) -> None:
    """Print the folder of a data set, whether it has been fetched or not.

    Args:
        name: A data set, see ``reprokit data list``.
    """
    say(str(data_folder() / _chosen((name,))[0].name))


def _chosen(names: tuple[str, ...]) -> list[Dataset]:
    """Look up data sets, explaining those that need no fetching."""
    if not names:
        raise UserError(f"name at least one data set of {', '.join(CATALOG)}")
    for name in names:
        if name in EMBEDDED:
            raise UserError(
                f"{name} is generated when it is used: there is nothing to fetch, verify or locate"
            )
    return [find_dataset(name) for name in names]


def _state(dataset: Dataset) -> str:
    """Say in a word whether a data set is here."""
    if not (data_folder() / dataset.name).is_dir():
        return "not fetched"
    return "incomplete" if faults(dataset) else "here"
