"""A user's own code, named ``package.module:factory``: its location, its digest, and whether it has changed.

The working folder is searched too, after everything installed, so a file next to the data needs no
installation. The digest covers only the source file of that module, not its imports.
"""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reprokit.errors import UserError

_OURS = ("bdfa", "dalton", "denram", "nalsm", "reprokit", "sbs")
_loaded: dict[str, str] = {}  # digests of the files from which modules were loaded here


def is_import_path(name: object) -> bool:
    """Tell whether a word has the form ``package.module:factory``."""
    return isinstance(name, str) and ":" in name


def source_file(path: str, option: str) -> Path:
    """Return the source file of the module in ``package.module:factory``; only its parent packages are imported.

    Args:
        path: The import path.
        option: The option it was given to, such as ``--rule``.

    Raises:
        UserError: There is no such module, or it has no source file.
    """
    module = _module_of(path, option)
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError) as error:
        raise UserError(_not_importable(option, path, error)) from error
    if spec is None:
        raise UserError(
            f"{option} {path} cannot be imported: there is no module {module!r} here or in an installed "
            "package; check the name, or run the command in the folder of the file"
        )
    if spec.origin is None or not Path(spec.origin).is_file():
        raise UserError(f"{option} {path}: module {module!r} has no source file; give one that has")
    return Path(spec.origin)


def source_digest(path: str, option: str) -> str:
    """Return the first 16 digits of the SHA-256 of `source_file`.

    Raises:
        UserError: As `source_file`.
    """
    return hashlib.sha256(source_file(path, option).read_bytes()).hexdigest()[:16]


def load_factory(path: str, option: str) -> Callable[..., Any]:
    """Import the object that ``package.module:factory`` names.

    Args:
        path: The import path.
        option: The option it was given to, such as ``--rule``.

    Raises:
        UserError: It cannot be imported, the module lacks it, or it cannot be called.
    """
    module, _, name = path.partition(":")
    digest, there = source_digest(path, option), sys.modules.get(module)
    try:
        if there is None or _loaded.get(module) == digest or module.partition(".")[0] in _OURS:
            there = importlib.import_module(module)
        else:
            there = importlib.reload(there)  # it may have been imported before the file was edited
        _loaded[module] = digest
        found = getattr(there, name, None)
    except Exception as error:  # anything that the user's module raises
        raise UserError(_not_importable(option, path, error)) from error
    if not callable(found):
        what = f"has no {name!r}" if found is None else f"has a {type(found).__name__} {name!r}"
        raise UserError(f"{option} {path}: {module} {what}; name a function or class that makes one")
    return found


def source_note(path: str, option: str, noted: str | None = None) -> str:
    """Return the record of a user's own code for a configuration: its import path and its digest.

    Args:
        path: The import path.
        option: The option it was given to.
        noted: An earlier record, which is kept as long as it has the same path.

    Raises:
        UserError: As `source_file`.
    """
    if noted is not None and noted.startswith(f"{path} "):
        return noted
    return f"{path} {source_digest(path, option)}"


def check_source(path: str, option: str, note: str | None, where: object = "") -> None:
    """Refuse a module that has changed since its digest was recorded.

    Args:
        path: The import path.
        option: The option it was given to.
        note: The earlier result of `source_note`; None: no comparison.
        where: The run that recorded it, for the message.

    Raises:
        UserError: The file has changed, and the message names it; or as `source_file`.
    """
    noted, now = note and note.rpartition(" ")[2], source_digest(path, option)
    if noted not in (None, now):
        raise UserError(
            f"the file {source_file(path, option)} of {option} {path} changed since the run{where and f' in {where}'} "
            f"began (SHA-256 {noted} there, {now} now); restore it, or start a new run in another folder"
        )


def _module_of(path: str, option: str) -> str:
    module, colon, name = path.partition(":")
    if not (colon and module and name):
        raise UserError(f"{option} is {path!r}; it must be an import path package.module:factory")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    return module


def _not_importable(option: str, path: str, error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    return f"{option} {path} cannot be imported ({type(error).__name__}: {why}); check module and name"
