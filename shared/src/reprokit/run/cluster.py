"""The runs of a sweep on a Dask cluster: an existing one, one on this machine, or jobs of Slurm.

Dask starts and watches workers, passes a dead worker's run to another one, and transports all messages. What
it does not know is added here, how to stop a run at a checkpoint, and in `site.py`, whether a worker sees the same
files, data and code.
"""

import queue
import socket
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from reprokit.config import read_values
from reprokit.errors import UserError, library
from reprokit.run.places import POLL_SECONDS, THREADS, Promise
from reprokit.run.site import Site, attempt_there, prove
from reprokit.run.work import Job, News, Outcome, Work
from reprokit.terminal import say as print_line

LIBRARIES = "distributed dask-jobqueue"
LONELY_SECONDS = 10.0  # seconds without a worker before a message


class OnDask:
    """The runs on a Dask cluster.

    Args:
        client: Connected to the scheduler.
        site: What the workers must share.
        address: The user's name for the scheduler.
        say: Called with messages for the user.
    """

    def __init__(self, client: Any, site: Site, address: str, say: Any = print_line) -> None:
        self.client, self.site, self.address, self.say = client, site, address, say
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._news: list[News] = []
        self._runs: dict[str, Any] = {}  # the future of each run
        self._count = 0
        self._stopping = self._needs_gpu = False
        self._lonely = time.monotonic()
        self._said: set[str] = set()
        client.subscribe_topic(site.topic, self._hear)

    def submit(self, job: Job, work: Work) -> Promise:
        """See `Place`."""
        self._count += 1
        self._needs_gpu |= job.gpu
        future = self.client.submit(
            attempt_there,
            self.site,
            job.run_id,
            *work.of(job),
            key=f"{self.site.package}-{job.run_id}-{self._count}-{self.site.token[:8]}",
            pure=False,
            priority=-self._count,  # the order of preference
            **({"resources": {"GPU": 1}} if job.gpu else {}),
        )
        self._runs[job.run_id] = future
        future.add_done_callback(self._ended.put)
        return future

    def ended(self, promises: Sequence[Promise]) -> list[tuple[Promise, Outcome | None]]:
        """See `Place`.

        Raises:
            UserError: The scheduler is gone.
        """
        found: list[tuple[Promise, Outcome | None]] = []
        known = {id(promise) for promise in promises}
        with suppress(queue.Empty):
            item = self._ended.get(timeout=POLL_SECONDS)
            while True:
                self._take(item, known, found)
                item = self._ended.get_nowait()
        if not found:
            self._look_around()
        return found

    def heard(self) -> list[News]:
        """See `Place`."""
        news, self._news = self._news, []
        return news

    def stop(self, promises: Sequence[Promise]) -> bool:
        """See `Place`; a worker whose run was cancelled stops it at its next checkpoint."""
        self._stopping = True
        with suppress(Exception):  # a scheduler that is gone has nothing to cancel
            self.client.cancel(list(promises))
        return True

    def _hear(self, event: tuple[float, Any]) -> None:
        self._ended.put(News.read(event[1]))

    def _take(self, item: Any, known: set[int], found: list[tuple[Promise, Outcome | None]]) -> None:
        if isinstance(item, News):
            again = item.state == "waits" and item.run in self._said
            if item.state == "waits":
                self._said.add(item.run)
            if not again:
                self._news.append(item)
            if item.state == "stopped" and self._stopping and item.run in self._runs:
                found.append((self._runs[item.run], Outcome(None, "stopped at a checkpoint", stopped=True)))
            return
        if id(item) not in known or (self._stopping and item.status == "cancelled"):
            return
        if item.status == "cancelled":
            raise UserError(
                f"the scheduler {self.address} is gone or dropped the runs; start it again, and then the same command, "
                "which keeps what is finished"
            )
        try:
            found.append((item, item.result()))
        except Exception as error:  # the result cannot be sent, or the run's workers died repeatedly
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            found.append((item, Outcome(None, reason, traceback.format_exc())))

    def _look_around(self) -> None:
        """Say once that there is no worker to do the runs."""
        now = time.monotonic()
        if now - self._lonely < LONELY_SECONDS or self._stopping:
            return
        self._lonely = now
        if self.client.status not in ("running", "connecting"):
            raise UserError(
                f"the scheduler {self.address} is gone; start it again, and then the same command, which keeps what is "
                "finished"
            )
        workers = self.client.scheduler_info()["workers"].values()
        able = [worker for worker in workers if not self._needs_gpu or worker["resources"].get("GPU")]
        if not able and "nobody" not in self._said:
            what = "offers the resource GPU" if workers else "is connected"
            more = " --resources GPU=1" if self._needs_gpu else ""
            self.say(
                f"waiting: no worker {what}; start one with: "
                f"dask worker {self.client.scheduler.address} --nthreads 1{more}"
            )
        self._said = self._said | {"nobody"} if not able else self._said - {"nobody"}


@contextmanager
def on_cluster(
    scheduler: str,
    site: Site,
    *,
    jobs: int = 1,
    config: Path | None = None,
    say: Any = print_line,
) -> Iterator[OnDask]:
    """Connect to a scheduler, or start a cluster, and check its workers against `site`.

    Args:
        scheduler: The address of a running scheduler or its scheduler file, dask (processes of this machine) or slurm.
        site: What the workers must share.
        jobs: Number of workers of a cluster started here.
        config: YAML file of options in the form of Dask's own configuration files.
        say: Called with messages for the user.

    Raises:
        UserError: Dask is missing, the scheduler does not answer, or a worker must not take part.
    """
    distributed = library("distributed", f"--scheduler {scheduler} needs Dask", LIBRARIES)
    own = scheduler in ("dask", "slurm")
    if not own and jobs > 1:
        raise UserError(
            f"--jobs {jobs} is about workers that this program starts and --scheduler {scheduler} has its own; "
            "leave out --jobs"
        )
    with ExitStack() as stack:
        stack.enter_context(_configured(config))
        if scheduler == "dask":
            cluster = _local(distributed, jobs, site.threads)
        elif scheduler == "slurm":
            cluster = _slurm(jobs, site.threads)
        else:
            cluster = None
        if cluster is not None:
            stack.callback(cluster.close)
            say(f"dashboard: {cluster.dashboard_link}")
        target = cluster if cluster is not None else _address(scheduler)
        client = stack.enter_context(_client(distributed, target, scheduler))
        site.proof.write_text(site.token)
        stack.callback(site.proof.unlink, missing_ok=True)
        _check(client, site, scheduler, say)
        yield OnDask(client, site, scheduler, say)


def _check(client: Any, site: Site, scheduler: str, say: Any) -> None:
    """Wait for the first worker and refuse, or report, workers that differ from this side."""
    if not client.scheduler_info()["workers"]:
        say(f"waiting for the first worker of {scheduler}")
        while not client.scheduler_info()["workers"]:
            time.sleep(POLL_SECONDS)
    private = []
    for address, proved in client.run(prove, site, on_error="return").items():
        if isinstance(proved, BaseException):
            text = " ".join(f"{type(proved).__name__}: {proved}".split())
            raise UserError(
                f"worker {address} cannot do runs of {site.package} ({text}); install the same version there"
            )
        complaint, seen = proved
        if complaint:
            raise UserError(complaint)
        private += [] if seen else [address]
    if private:
        say(
            f"{', '.join(private)} does not see {site.root}: its runs are kept in its own folder, and an "
            "interrupted one starts again there"
        )


def _client(distributed: Any, target: Any, scheduler: str) -> Any:
    """Return a client of a scheduler."""
    try:
        return distributed.Client(target, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        why = " ".join(f"{error or type(error).__name__}".split())
        raise UserError(
            f"--scheduler {scheduler} does not answer ({why}); start it with: dask scheduler"
        ) from error


def _address(scheduler: str) -> str:
    """Return the given address, or the one in a scheduler file."""
    if "://" in scheduler:
        return scheduler
    if Path(scheduler).is_file():
        address = read_values(Path(scheduler).absolute()).get("address")
        if isinstance(address, str):
            return address
        raise UserError(
            f"--scheduler {scheduler} is not a scheduler file; give the one that was named to: dask scheduler "
            "--scheduler-file"
        )
    raise UserError(
        f"--scheduler is {scheduler!r}; give an address such as tcp://HOST:8786, a scheduler file that is there, "
        "dask or slurm"
    )


def _local(distributed: Any, jobs: int, threads: int) -> Any:
    """Start workers on this machine; the dashboard uses another port if its usual one is taken."""
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", 8787)) == 0
    return distributed.LocalCluster(
        n_workers=jobs,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=f"127.0.0.1:{0 if taken else 8787}",
        env={name: str(threads) for name in THREADS},
    )


def _slurm(jobs: int, threads: int) -> Any:
    """Start a scheduler here whose workers are Slurm jobs; lost ones are replaced."""
    jobqueue = library("dask_jobqueue", "--scheduler slurm needs dask-jobqueue", LIBRARIES)
    dask = library("dask", "--scheduler slurm needs Dask", LIBRARIES)

    def option(name: str, default: Any) -> Any:
        return dask.config.get(f"jobqueue.slurm.{name}", None) or default

    pins = [f"export {name}={threads}" for name in THREADS]
    try:
        cluster = jobqueue.SLURMCluster(
            cores=option("cores", threads),
            processes=option("processes", 1),
            worker_extra_args=[*option("worker-extra-args", []), "--nthreads", "1"],
            job_script_prologue=[*pins, *option("job-script-prologue", [])],
        )
    except ValueError as error:
        raise UserError(
            f"--scheduler slurm cannot be used: {error}; name it under jobqueue: slurm: in a file for "
            "--scheduler-config or in Dask's own configuration"
        ) from error
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    return cluster


@contextmanager
def _configured(file: Path | None) -> Iterator[None]:
    """Add the options of a YAML file to Dask's own."""
    if file is None:
        yield
        return
    dask = library("dask", "--scheduler-config needs Dask", LIBRARIES)
    yaml = library("yaml", "--scheduler-config needs PyYAML", LIBRARIES)
    try:
        values = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise UserError(
            f"--scheduler-config {file} cannot be read as YAML ({why}); give another file"
        ) from error
    if not isinstance(values, dict):
        raise UserError(
            f"--scheduler-config {file} holds no options; see Dask's jobqueue.yaml for their form"
        )
    with dask.config.set(dask.config.merge(dask.config.config, values)):
        yield
