"""Real Dask clusters: a scheduler with three worker processes, and a Slurm of one node; `make test-cluster`.

Nothing waits for a time to pass: workers and drivers are killed when a run has reached a checkpoint, and states
are polled until they are reached.
"""

import csv
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from slurm_node import SlurmNode, missing

pytest.importorskip("distributed")
pytestmark = pytest.mark.cluster
PATIENCE = 600.0  # seconds until a test gives up
MEASURED = ("seconds", "peak_memory_mb", "started")  # cells that no two runs have alike
SBS = """
config = "digits-smoke"
seeds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
[base]
checkpoint_every = 2
test_during_learning = false
"learning.updates" = 12
"network.number_of_spikes" = 40
"network.cooldown_after" = 30
"data.limit_test" = 60
"""
RUNS = {"denram": 24, "bdfa": 12, "dalton": 12, "nalsm": 12, "sbs": 12}
WORDS = {
    "denram": "reproduce --seeds 42 50 9 1",
    "bdfa": "reproduce --skip beyond?dfa*",
    "dalton": "reproduce --seeds 0 1 2 --skip *surrgd*",
    "nalsm": "reproduce --seeds 1 2 3",
    "sbs": "sweep GRID",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("cluster")
    (path / "sbs.toml").write_text(SBS)
    return path


@pytest.fixture(scope="module")
def serial(folder, request):
    """The rows of each package's runs, made one after the other in one process before their test."""

    def rows(package):
        out = folder / f"serial-{package}"
        with (folder / f"serial-{package}.log").open("wb") as log:
            done = subprocess.run(command(package, folder, out), stdout=log, stderr=log, env=environment())
        assert done.returncode == 0, (folder / f"serial-{package}.log").read_text()
        return rows_of(out)

    names = " ".join(item.name for item in request.session.items)
    with ThreadPoolExecutor(1) as pool:
        futures = {
            package: pool.submit(rows, package)
            for package in RUNS
            if f"[{package}]" in names or (package == "denram" and "slurm" in names)
        }
        yield {package: future.result for package, future in futures.items()}
        for future in futures.values():
            future.cancel()


def command(package, folder, out, *more):
    words = [word.replace("GRID", str(folder / "sbs.toml")) for word in WORDS[package].split()]
    return [sys.executable, "-m", f"{package}.cli", *words, "--out", str(out), *more]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def rows_of(out):
    """The rows of a ledger by run id, without what is measured of a run."""
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    counts = Counter((row["run_id"], row["git_commit"]) for row in rows)
    assert set(counts.values()) == {1}
    return {row["run_id"]: {k: v for k, v in row.items() if k not in MEASURED} for row in rows}


class Cluster:
    """A scheduler and workers as processes of this machine, on ports that the system chooses."""

    def __init__(self, folder):
        self.folder, self.workers, self.logs = folder, [], []
        self.file = folder / "scheduler.json"

    def __enter__(self):
        words = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard"]
        self.scheduler = self.start("dask_scheduler", *words)
        until(self.file.exists, "there is no scheduler file")
        for _ in range(3):
            self.add()
        return self

    def __exit__(self, *_):
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()

    def start(self, program, *words):
        self.logs.append(self.folder / f"{program}-{len(self.logs)}.log")
        with self.logs[-1].open("wb") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"distributed.cli.{program}", *words],
                stdout=log, stderr=log, env=environment(), cwd=self.folder, start_new_session=True,
            )  # fmt: skip

    def add(self):
        """Start a worker."""
        words = ["--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        self.workers.append(self.start("dask_worker", *words, "--memory-limit", "0"))

    def kill_at_a_checkpoint(self, out, done):
        """Kill the worker of a run that has a checkpoint and is not finished; returns its run directory.

        Args:
            out: Folder of the study.
            done: Tells whether the driver has ended, so that no run will come.
        """
        while True:
            for run in underway(out):
                worker = next((each for each in self.workers if holds(each.pid, run / ".run.lock")), None)
                if worker is not None and not (run / "summary.json").exists():
                    worker.kill()
                    worker.wait()
                    self.workers.remove(worker)
                    return run
            assert not done(), "the study ended before a run was seen at a checkpoint"


def underway(out):
    """Run directories with a checkpoint that are not finished."""
    return [
        run
        for run in (out / "runs").glob("*")
        if (run / "config.json").exists()
        and not (run / "summary.json").exists()
        and any(
            file.name[0] != "." for file in (run / "checkpoints").rglob("*.*")
        )  # whole, not being written
    ]


def holds(pid, file):
    """Tell whether a process has a file open."""
    try:
        return any(each.resolve() == file for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def until(state, complaint):
    deadline = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)


@contextmanager
def driver(words, log):
    """A driver in its own session."""
    with log.open("ab") as file:
        process = subprocess.Popen(words, stdout=file, stderr=file, env=environment(), start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def dask(folder):
    with Cluster(folder) as cluster:
        yield cluster


@pytest.mark.parametrize("package", RUNS)
def test_killed_workers_and_a_killed_driver_cost_no_row(package, folder, serial, dask):
    out, log = folder / f"cluster-{package}", folder / f"cluster-{package}.log"
    words = command(package, folder, out, "--scheduler", str(dask.file))
    with driver(words, log) as process:
        killed = {}
        for _ in range(2):
            run = dask.kill_at_a_checkpoint(out, lambda: process.poll() is not None)
            log_file = run / "metrics.jsonl"
            records = log_file.read_text().splitlines() if log_file.exists() else []
            killed[run] = (
                records[:1] if len(records) > 1 else []
            )  # a second one: the first is behind a checkpoint
            dask.add()
        until(lambda: underway(out) or process.poll() is not None, "no run is seen at a checkpoint")
        process.kill()
    again = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert again.returncode == 0, again.stdout + again.stderr + log.read_text()
    assert "0 failed" in again.stdout
    assert rows_of(out) == serial[package]()
    tasks = [
        line
        for line in (out.parent / f"serial-{package}.log").read_text().splitlines()
        if "sweep finished" in line
    ]
    assert tasks == [f"sweep finished: {RUNS[package]} done, 0 skipped, 0 failed"]
    for (
        run,
        first,
    ) in (
        killed.items()
    ):  # it holds a measured time in some packages: the run went on, and did not start again
        assert not first or (run / "metrics.jsonl").read_text().splitlines()[:1] == first


def test_the_command_again_does_nothing_and_a_second_driver_is_refused(folder, serial, dask):
    out = folder / "cluster-nalsm"
    words = command("nalsm", folder, out, "--scheduler", str(dask.file))
    again = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert again.returncode == 0
    assert "12 of 12 runs are finished already and skipped" in again.stdout
    out = folder / "two-drivers"  # denram: its runs take long enough to be interrupted
    with driver(
        command("denram", folder, out, "--scheduler", str(dask.file)), folder / "two-drivers.log"
    ) as first:
        until(
            lambda: list(out.glob(".cluster-*")) or first.poll() is not None, "the first driver has not begun"
        )
        words = command("denram", folder, out, "--scheduler", str(dask.file))
        second = subprocess.run(words, capture_output=True, text=True, env=environment())
        assert second.returncode == 2
        assert f"another program does runs into {out}" in second.stderr
        first.send_signal(signal.SIGINT)
        first.wait(PATIENCE)
    assert first.returncode == 130


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_slurm_with_a_cancelled_job(folder, serial):
    """Six runs of denram as jobs of Slurm, one of which is cancelled when its run has a checkpoint."""
    out, log = folder / "slurm-out", folder / "slurm-driver.log"
    config = folder / "slurm.yaml"
    config.write_text(
        "jobqueue:\n  slurm:\n    memory: 2GB\n    walltime: '00:20:00'\n    interface: lo\n"
        f"    log-directory: {folder}/slurm-logs\n    local-directory: {folder}/slurm-local\n"
    )
    with ExitStack() as stack:
        node = stack.enter_context(SlurmNode(folder / "slurm"))
        words = [sys.executable, "-m", "denram.cli", "reproduce", "--only", "D2", "--out", str(out)]
        words += ["--scheduler", "slurm", "--jobs", "2", "--scheduler-config", str(config)]
        with log.open("wb") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, env={**environment(), **node.environment, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.kill)
        until(lambda: underway(out) or process.poll() is not None, "no run is seen at a checkpoint")
        job = node.ask("squeue", "-h", "-t", "R", "-o", "%i").split()[0]
        node.ask("scancel", job)
        until(lambda: process.poll() is not None, "the driver does not end")
        assert process.returncode == 0, log.read_text()
        until(lambda: not node.ask("squeue", "-h"), "jobs are left")
    found = rows_of(out)
    assert len(found) == 6
    assert found == {run: serial["denram"]()[run] for run in found}


PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"


def block(language, word):
    """The code block of the page that contains a word."""
    blocks = PAGE.read_text("utf-8").split("```")[1::2]
    (found,) = [text for text in blocks if text.startswith(f"{language}\n") and word in text]
    return found.removeprefix(f"{language}\n")


def test_the_grid_of_the_page(folder):
    grid = folder / "page.toml"
    grid.write_text(block("toml", "[[exclude]]"))
    words = [sys.executable, "-m", "sbs.cli", "sweep", str(grid), "--dry-run", "--out", str(folder / "page")]
    done = subprocess.run(words, capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert "18 runs, 18 to do" in done.stdout


def test_the_recipe_of_several_processes(folder):
    script = folder / "two.py"
    script.write_text(block("python", "init_process_group"))
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "--master-addr",
        "127.0.0.1",
    ]
    words += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", str(script)]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**environment(), "GLOO_SOCKET_IFNAME": "lo"}, cwd=folder
    )
    assert done.returncode == 0, done.stderr
