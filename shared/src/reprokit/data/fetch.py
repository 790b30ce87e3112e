"""Data sets as verified folders: mirror, publishers in turn, resume, checksum, atomic rename, extraction.

A file gets its final name only after its checksum has been verified, so a file with that name is correct, no
matter when a process was killed. With one lock per data set, any number of processes share a single download.
"""

import errno
import itertools
import os
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from reprokit.data import manifest
from reprokit.data.archive import extract, folder_name
from reprokit.data.cache import data_folder, mirror, offline, require_space
from reprokit.data.catalog import DataFile, Dataset, find_dataset
from reprokit.data.manifest import Digests, digest_file
from reprokit.data.transfer import TransferError, download
from reprokit.errors import UserError
from reprokit.files.atomic import make_folder, sync_folder

ATTEMPTS = 5
GIVE_UP = 3  # after this many consecutive failures the remaining files are not requested
NAMES_SHOWN = 5
PAUSE_SECONDS = 0.2


def fetch(name: str) -> Path:
    """Return the folder of a data set after downloading, verifying and extracting missing or damaged files.

    Args:
        name: A name of the catalogue, see ``reprokit data list``.

    Returns:
        The folder. It contains downloaded files under their own names, and each archive's content in a folder
        named after the archive without its suffix.

    Raises:
        UserError: Unknown name, no server reachable, no file with the right checksum, network forbidden, disk
            full or no permission. Partial downloads are kept, and the next call continues them.
    """
    return fetch_dataset(find_dataset(name))


def fetch_dataset(dataset: Dataset, *, thorough: bool = False) -> Path:
    """Do what `fetch` does for a data set described by the caller.

    Args:
        dataset: Its name and files.
        thorough: Hash every existing file instead of comparing sizes and time stamps.
    """
    folder = data_folder() / dataset.name
    if not faults(dataset, thorough=thorough):
        return folder
    make_folder(folder, "data folder")
    with _locked(folder):
        _remove_stale(folder)
        entries = manifest.load(folder)
        missing = [file for file in dataset.files if not _settle(folder, file, entries, thorough)]
        if missing:
            _obtain_all(folder, missing, entries)
        for file in dataset.files:
            if file.unpack and _members_damaged(folder, file, entries, thorough):
                _unpack(folder, file, entries)
        manifest.save(folder, entries)
    return folder


def faults(dataset: Dataset, *, thorough: bool = False) -> list[str]:
    """List what is missing from a data set's folder or has changed in it; nothing is repaired.

    Args:
        dataset: The data set.
        thorough: Hash every file.

    Returns:
        Paths relative to the folder; empty if everything is correct.
    """
    folder = data_folder() / dataset.name
    entries = manifest.load(folder)
    names = {file.name for file in dataset.files} | set(entries)
    bad = set(manifest.damaged(folder, sorted(names), entries, thorough=thorough))
    for file in dataset.files:
        inside = f"{folder_name(file.name)}/"
        if file.unpack and not any(name.startswith(inside) for name in entries):
            bad.add(inside)
        entry = entries.get(file.name)
        if entry and file.sha256 and entry.sha256 != file.sha256:
            bad.add(file.name)
    return sorted(bad)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the data set's lock and turn disk failures into one sentence."""
    try:
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            yield
    except OSError as error:
        reasons = {
            errno.ENOSPC: "the disk is full; free some space and ask again",
            errno.EDQUOT: "the disk quota is used up; free some space and ask again",
            errno.EFBIG: "the file would grow beyond the allowed size; raise the limit and ask again",
        }
        reason = reasons.get(
            error.errno or 0, f"{error.strerror or error}; set REPROKIT_DATA to another folder"
        )
        raise UserError(f"cannot write the data folder {folder}: {reason}") from error


def _remove_stale(folder: Path) -> None:
    """Delete partly extracted folders and partly written files of killed processes; requires the lock."""
    for path in folder.glob("*.tmp-*"):
        shutil.rmtree(path, ignore_errors=True)
    for path in [*folder.glob(".*.tmp"), *folder.glob("*.copy.part")]:
        path.unlink(missing_ok=True)


def _settle(folder: Path, file: DataFile, entries: dict[str, manifest.Entry], thorough: bool) -> bool:
    """Tell whether a file exists and is correct; a file put there by hand is recorded."""
    path, entry = folder / file.name, entries.get(file.name)
    if entry and file.sha256 in (None, entry.sha256) and manifest.unchanged(path, entry, thorough=thorough):
        entries[file.name] = manifest.describe(path, entry.sha256)
        return True
    if not path.is_file():
        return False
    digests = digest_file(path)
    if _objection(file, digests, entry):
        return False
    entries[file.name] = manifest.describe(path, digests.sha256)
    return True


def _objection(file: DataFile, digests: Digests, entry: manifest.Entry | None = None) -> str:
    """Say why a content is not that of the published file; empty if it is."""
    if file.size is not None and digests.size != file.size:
        return f"it has {digests.size} bytes, expected {file.size}"
    if file.sha256 and digests.sha256 != file.sha256:
        return f"its SHA-256 is {digests.sha256}, expected {file.sha256}"
    if file.md5 and digests.md5 != file.md5:
        return f"its MD5 is {digests.md5}, expected {file.md5}"
    if entry and digests.sha256 != entry.sha256:
        return f"its SHA-256 is {digests.sha256}, recorded at the first download was {entry.sha256}"
    return ""


def _obtain_all(folder: Path, missing: list[DataFile], entries: dict[str, manifest.Entry]) -> None:
    """Get every missing file from the mirror or its publishers."""
    source, forbidden = mirror(), offline()
    require_space(folder, sum((file.size or 0) * (3 if file.unpack else 1) for file in missing))
    failures: dict[str, list[str]] = {}
    in_vain = 0
    for file in missing:
        notes: list[str] = []
        done = isinstance(source, Path) and _from_folder(folder, file, source, entries, notes)
        if not done and not forbidden and in_vain < GIVE_UP:
            done = _from_network(folder, file, source, entries, notes)
            in_vain = 0 if done else in_vain + 1
        if not done:
            failures[file.name] = notes
    if failures:
        raise UserError(
            _report(folder, [file for file in missing if file.name in failures], failures, forbidden)
        )


def _from_folder(
    folder: Path, file: DataFile, source: Path, entries: dict[str, manifest.Entry], notes: list[str]
) -> bool:
    """Copy a file from a mirror folder; a subfolder named after the data set is preferred."""
    for candidate in _candidates(source, folder.name, file.name):
        if file.size is not None and candidate.stat().st_size != file.size:
            notes.append(f"{candidate}: it has {candidate.stat().st_size} bytes, expected {file.size}")
            continue
        require_space(folder, candidate.stat().st_size)
        copy = folder / f"{file.name}.copy.part"
        shutil.copyfile(candidate, copy)
        objection = _accept(copy, folder / file.name, file, entries)
        if not objection:
            return True
        notes.append(f"{candidate}: {objection}")
    return False


def _candidates(source: Path, dataset: str, name: str) -> list[Path]:
    """List the files called `name` in a mirror folder and two levels below it, the most likely first."""
    found = [source / dataset / name, source / name]
    for spelling in (name, name.capitalize()):  # N-MNIST's Train.zip is also known as train.zip
        for pattern in (spelling, f"*/{spelling}", f"*/*/{spelling}"):
            found += sorted(source.glob(pattern))
    return [path for path in dict.fromkeys(found) if path.is_file()]


def _from_network(
    folder: Path,
    file: DataFile,
    source: str | Path | None,
    entries: dict[str, manifest.Entry],
    notes: list[str],
) -> bool:
    """Download a file from a mirror's address or its publishers, each tried several times."""
    urls, part = [*file.urls], folder / f"{file.name}.part"
    if isinstance(source, str):
        urls = [f"{source}/{folder.name}/{file.name}", f"{source}/{file.name}", *urls]
    for url in urls:
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                download(url, part, file.size)
                problem = _accept(part, folder / file.name, file, entries)
                retry = attempt == 0
            except TransferError as error:
                problem, retry = str(error), error.retry
            if not problem:
                return True
            if not retry:
                break
        notes.append(problem if problem.startswith(url) else f"{url}: {problem}")
    return False


def _accept(part: Path, path: Path, file: DataFile, entries: dict[str, manifest.Entry]) -> str:
    """Give a complete ``.part`` file its name if its content is correct, otherwise delete it and say why."""
    digests = digest_file(part)
    objection = _objection(file, digests, entries.get(file.name))
    if objection:
        part.unlink()
        return objection
    with part.open("rb") as handle:
        os.fsync(handle.fileno())
    if path.exists() and file.name not in entries:
        _keep_aside(path)
    part.replace(path)
    sync_folder(path.parent)
    entries[file.name] = manifest.describe(path, digests.sha256)
    manifest.save(path.parent, entries)
    return ""


def _keep_aside(path: Path) -> None:
    """Rename a file that somebody put there if it is not the published one, because it may be the only copy."""
    aside = next(
        name for n in itertools.count(1) if not (name := path.with_name(f"{path.name}.kept-{n}")).exists()
    )
    path.rename(aside)
    warnings.warn(f"{path} was not the published file; it is kept as {aside.name}", stacklevel=2)


def _members_damaged(
    folder: Path, file: DataFile, entries: dict[str, manifest.Entry], thorough: bool
) -> bool:
    """Tell whether an archive's content is missing, incomplete or changed."""
    inside = f"{folder_name(file.name)}/"
    names = [name for name in entries if name.startswith(inside)]
    return not names or bool(manifest.damaged(folder, names, entries, thorough=thorough))


def _unpack(folder: Path, file: DataFile, entries: dict[str, manifest.Entry]) -> None:
    """Extract an archive again and record its members."""
    target = folder / folder_name(file.name)
    for name in [name for name in entries if name.startswith(f"{target.name}/")]:
        del entries[name]
    shutil.rmtree(target, ignore_errors=True)
    extract(folder / file.name, target)
    for path in sorted(target.rglob("*")):
        if path.is_file():
            entries[path.relative_to(folder).as_posix()] = manifest.describe(path)


def _report(folder: Path, files: list[DataFile], failures: dict[str, list[str]], forbidden: bool) -> str:
    """Compose the sentence that says what is missing and where to put it."""
    names = ", ".join(file.name for file in files[:NAMES_SHOWN])
    rest = f" and {len(files) - NAMES_SHOWN} more" if files[NAMES_SHOWN:] else ""
    reasons = "; ".join(note for notes in list(failures.values())[:NAMES_SHOWN] for note in notes)
    why = "REPROKIT_OFFLINE=1 forbids downloading" if forbidden else "could not get"
    sources = ", ".join(file.urls[0] for file in files[:NAMES_SHOWN])
    return (
        f"{why} {names}{rest}; put {'it' if len(files) == 1 else 'them'} into {folder} or into a folder named by "
        f"REPROKIT_MIRROR (published at {sources})" + (f"; tried: {reasons}" if reasons else "")
    )
