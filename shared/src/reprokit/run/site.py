"""What the driver and the workers of a cluster must share, and what a worker does: prove that it does, and do a run."""

import os
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from reprokit.run.places import TellingOnce
from reprokit.run.provenance import git_commit, versions
from reprokit.run.work import Function, News, Outcome, attempt

# Variables that a worker takes over unless it sets them itself: locations of data, and threads of XLA.
CARRIED = ("REPROKIT_DATA", "REPROKIT_MIRROR", "REPROKIT_OFFLINE", "NPROC", "XLA_FLAGS")


@dataclass(frozen=True)
class Site:
    """What every worker must share with the program that hands out the runs, and must prove before its first run.

    Attributes:
        root: Folder of the results and run directories, absolute.
        token: Written into a file in `root`; a worker that can read it sees the folder.
        package: The package that does the runs.
        versions: Its version and reprokit's.
        commit: The commit of the code.
        data: Absolute paths that the runs read, with the size of each file, None for a folder.
        small: Small files below `root` that runs read, by relative path, for workers that do not see `root`.
        environment: Variables that the runs read.
        threads: CPU threads of each run.
    """

    root: Path
    token: str
    package: str
    versions: Mapping[str, str]
    commit: str
    data: Mapping[str, int | None] = field(default_factory=dict)
    small: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1

    @classmethod
    def of(
        cls, root: Path, package: str, data: Sequence[Path], small: Sequence[Path], threads: int
    ) -> "Site":
        """Describe this program's side."""
        return cls(
            root,
            uuid.uuid4().hex,
            package,
            versions((package,)),
            git_commit(),
            {str(path): _size(path) for path in data},
            {path.relative_to(root).as_posix(): path.read_bytes() for path in small},
            {name: os.environ[name] for name in CARRIED if name in os.environ},
            threads,
        )

    @property
    def topic(self) -> str:
        """Dask's topic for the workers' news."""
        return f"reprokit-{self.token}"

    @property
    def proof(self) -> Path:
        """The file whose content is the token."""
        return self.root / f".cluster-{self.token}"

    def seen(self) -> bool:
        """Tell whether the folder of the results is visible from here."""
        try:
            return self.proof.read_text() == self.token
        except OSError:
            return False

    def complaint(self, name: str, threads: int) -> str:
        """Return one sentence on why the calling worker must not take part; empty if it may.

        Args:
            name: Name of the worker.
            threads: Number of runs it would do at a time.
        """
        here = versions((self.package,))
        for package in ("reprokit", self.package):
            if here[package] != self.versions[package]:
                return (
                    f"worker {name} has {package} {here[package]} and this program has {self.versions[package]}; "
                    "install the same version there and start the worker again"
                )
        if git_commit() != self.commit:
            return (
                f"worker {name} runs commit {git_commit()} and this program runs {self.commit}; "
                "bring both to the same commit and start the worker again"
            )
        if threads != 1:
            return (
                f"worker {name} does {threads} runs at a time in one process; start it with --nthreads 1, "
                "and with --nworkers for more runs at a time"
            )
        for path, size in self.data.items():
            if not Path(path).exists() or _size(Path(path)) != size:
                return (
                    f"worker {name} does not see the data {path} as they are here; put them there under that path, "
                    "or name a path that every worker sees"
                )
        return ""


def prove(site: Site, dask_worker: Any) -> tuple[str, bool]:
    """Return the complaint of this worker, see `Site.complaint`, and whether it sees the folder of the results.

    Args:
        site: What the worker must share.
        dask_worker: The worker; Dask requires this argument name.
    """
    return site.complaint(_name(dask_worker), dask_worker.state.nthreads), site.seen()


def attempt_there(site: Site, run: str, function: Function, config: dict[str, Any], again: bool) -> Outcome:
    """Do one run in a Dask worker.

    Raises:
        distributed.Reschedule: Another process is still working in the run's folder; Dask hands out the run again.
    """
    from distributed import Reschedule, get_worker

    worker = get_worker()
    task = worker.get_current_task()
    if reason := site.complaint(_name(worker), worker.state.nthreads):
        return Outcome(None, reason, refused=True)

    def wanted() -> bool:
        state = worker.state.tasks.get(task)
        return state is not None and state.state != "cancelled"

    def tell(news: News) -> None:
        worker.log_event(site.topic, news.plain())

    if not site.seen():
        function = _privately(site, function, Path(worker.local_directory) / f"runs-{site.token}")
    with _environment(site):
        outcome = attempt(function, config, again, TellingOnce(run, tell, wanted))
    if not wanted():
        tell(News(run, "stopped"))
    elif outcome.busy:
        tell(News(run, "waits"))
        raise Reschedule
    return outcome


@contextmanager
def _environment(site: Site) -> Iterator[None]:
    """Set the variables that the runs read, unless this worker sets them itself."""
    new = {name: value for name, value in site.environment.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)


def _privately(site: Site, function: Function, folder: Path) -> Function:
    """Return the work with all paths below the folder of the results moved to a folder of this worker."""
    for name, content in site.small.items():
        if not (folder / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    if not isinstance(function, partial):
        return function
    old, new = str(site.root), str(folder)
    return partial(
        function.func,
        *(_moved(value, old, new) for value in function.args),
        **{name: _moved(value, old, new) for name, value in function.keywords.items()},
    )


def _moved(value: Any, old: str, new: str) -> Any:
    """Return plain values with the paths below one folder moved to another."""
    if isinstance(value, Mapping):
        return {key: _moved(item, old, new) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(item, old, new) for item in value)
    if isinstance(value, str | Path) and (str(value) == old or str(value).startswith(f"{old}{os.sep}")):
        return type(value)(new + str(value)[len(old) :])
    return value


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _name(worker: Any) -> str:
    name = f" ({worker.name})" if str(worker.name) != worker.address else ""
    return f"{worker.address}{name} on {socket.gethostname()}"
