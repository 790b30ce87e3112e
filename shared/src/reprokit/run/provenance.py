"""What a result needs to be traceable: configuration hash, versions, commit, memory, machine."""

import dataclasses
import enum
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from reprokit.errors import UserError
from reprokit.run.identity import DataIdentity
from reprokit.run.published import honest_scale

# Files that a run itself changes, or that no run reads, do not count as a change of the code.
_NO_CODE = tuple(f":(top,exclude)*.{kind}" for kind in ("csv", "md", "pdf", "png", "svg"))
SCALES = ("paper", "own", "reduced", "smoke")  # from judged to least informative
MODIFIED = "-dirty"  # suffix of the commit of a modified working tree
OURS = "brainrules-"  # prefix of this repository's packages: they are installed as prefix + import name


def plain(value: Any, where: str = "config") -> Any:
    """Turn a configuration value into plain JSON values, in the same way in every process.

    Mappings get string keys, tuples and sets become (sorted) lists, NumPy scalars and arrays become Python
    numbers and lists, paths and enum members become strings, dataclasses become mappings, and a float that is
    not finite becomes "nan", "inf" or "-inf".

    Args:
        value: Anything built from the types above.
        where: Name used in the error message.

    Returns:
        The value as dict, list, str, int, float, bool or None.

    Raises:
        TypeError: A value of another type, for example a function.
    """
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist(), where)
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted(plain(item, where) for item in value)
    raise TypeError(f"{where} holds a {type(value).__name__}; only plain values can be stored")


def canonical_json(config: Mapping[str, Any]) -> str:
    """Write `config` as JSON with sorted keys and no spaces, so equal configurations give equal text."""
    return json.dumps(plain(config), sort_keys=True, separators=(",", ":"), allow_nan=False)


def run_id(config: Mapping[str, Any]) -> str:
    """Name a run after its whole configuration: 16 hexadecimal digits of SHA-256 over the canonical JSON.

    Args:
        config: Everything that can change the result, the seed included.

    Returns:
        The same 16 digits in every process and on every machine.
    """
    return hashlib.sha256(canonical_json(config).encode()).hexdigest()[:16]


def _system_says(file: str, name: str) -> str:
    """Return the value after `name` in a file of /proc; None if there is no such file or line."""
    lines = Path(file).read_text("utf-8", "replace").splitlines() if Path(file).exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def peak_memory_mb() -> float:
    """Return the largest resident memory this process has had so far, in MB (1e6 bytes)."""
    if size := _system_says(
        "/proc/self/status", "VmHWM"
    ):  # unlike getrusage, this does not start from the parent's peak
        return int(size.split()[0]) * 1024 / 1e6
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024) / 1e6


def _git(folder: Path, *arguments: str) -> str | None:
    """Return git's output in `folder`, or None without git or a repository, or on an error."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@lru_cache(maxsize=1)
def git_commit() -> str:
    """Name the commit of the code that runs.

    Returns:
        The commit hash, with `-dirty` if tracked files other than results, figures and texts differ from it;
        "unknown" for a copy installed without its history.
    """
    here = Path(__file__).resolve()
    tracked = _git(here.parent, "ls-files", "--error-unmatch", here.name) is not None
    commit = _git(here.parent, "rev-parse", "HEAD") if tracked else None
    if commit is None:
        return _installed_commit()
    changed = _git(here.parent, "status", "--porcelain", "--untracked-files=no", "--", ":/", *_NO_CODE)
    return f"{commit}{MODIFIED}" if changed else commit


def _installed_commit() -> str:
    """Return the commit that pip recorded for an install from a git address, else "unknown"."""
    try:
        record = metadata.distribution(OURS + "reprokit").read_text("direct_url.json") or "{}"
    except metadata.PackageNotFoundError:
        return "unknown"
    return str(json.loads(record).get("vcs_info", {}).get("commit_id", "unknown"))


def versions(packages: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of Python, NumPy, reprokit and `packages`, without importing any of them.

    Args:
        packages: Names of distributions, or import names of packages of this repository.

    Returns:
        Versions by the given names; "absent" for what is not installed.
    """
    return {"python": platform.python_version()} | {
        name: _version(name) for name in ("numpy", "reprokit", *packages)
    }


def _version(name: str) -> str:
    for distribution in (OURS + name, name):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "absent"


def installed_twice(import_name: str) -> list[str]:
    """Name the distributions that provide the same package, if there is more than one.

    Version 0.1 of this repository's packages was installed under the import name, and an unrelated distribution
    may provide a package of that name too. It is then arbitrary which one is imported, so all but ours must be
    removed with ``pip uninstall NAME``.

    Args:
        import_name: For example "sbs".

    Returns:
        The sorted names of the distributions; empty if at most one has files or commands of the package.
    """
    owners = set(metadata.packages_distributions().get(import_name, ()))
    for distribution in metadata.distributions():  # editable installs list no files, but their commands
        commands = (point.module.partition(".")[0] for point in distribution.entry_points)
        if import_name in commands:
            owners.add(distribution.name)
    return sorted(owners) if len(owners) > 1 else []


def cpu_model() -> str:
    """Return the processor's name if the system knows it, otherwise its architecture."""
    return _system_says("/proc/cpuinfo", "model name") or platform.processor() or platform.machine()


def environment(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describe the machine and software of a run.

    Args:
        packages: Distribution names whose versions matter, for example `("torch",)`.

    Returns:
        system, machine, cpu, cores, versions, git_commit.
    """
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "versions": versions(packages),
        "git_commit": git_commit(),
    }


def standard_row(
    config: Mapping[str, Any],
    *,
    package: str,
    claim: str,
    dataset: str,
    scale: str,
    seed: int,
    seconds: float,
    threads: int,
    device: str = "cpu",
    packages: Iterable[str] = ("torch",),
    data: DataIdentity | None = None,
    reduced: bool = False,
) -> dict[str, Any]:
    """Fill the columns every result ledger has; the caller adds its metrics.

    Args:
        config: The run's full configuration; its hash is the row's `run_id`.
        package: Package that ran, for example "denram".
        claim: Name of the experiment the row belongs to, for example "fig4d".
        dataset: The data REALLY used, as the loader names them.
        scale: "paper" (the published protocol), "own", "reduced" or "smoke", as requested; `honest_scale`
            decides what the row says.
        seed: The run's seed.
        seconds: Wall time of the run in seconds, summed over all resumed parts.
        threads: CPU threads the run used.
        device: Where it ran: "cpu", or the accelerator's name.
        packages: Distributions whose versions are recorded.
        data: The whole data set as it was read, for example the run's `StoredRun.identity()`.
        reduced: Whether an option reduced the published protocol: samples, epochs, steps.

    Returns:
        A row for `Ledger.append`, lacking only the metrics.

    Raises:
        UserError: `scale` is not in `SCALES`.
    """
    if scale not in SCALES:
        raise UserError(f"scale is {scale!r}; it must be one of {', '.join(SCALES)}")
    code = data.code if data else ()  # a run that involved a modified working tree is not clean
    started = datetime.now(UTC) - timedelta(seconds=float(seconds))
    return {
        "run_id": run_id(config),
        "package": package,
        "claim": claim,
        "dataset": dataset,
        "scale": honest_scale(scale, dataset, data, reduced=reduced),
        "seed": int(seed),
        "seconds": float(seconds),
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "device": device,
        "threads": int(threads),
        "versions": versions(packages),
        "git_commit": next((commit for commit in code if commit.endswith(MODIFIED)), git_commit()),
        "started": started.isoformat(timespec="seconds"),
        "config": plain(config),
        "data_digest": data.digest if data else "",
        "data_samples": dict(data.samples) if data else None,
        "data_classes": data.classes if data else None,
    }
