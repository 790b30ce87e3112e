"""Mutation tests of the rules, the neurons and the judge: ``make mutation``.

    python reproduction/trust/mutants.py [--minutes 45] [--jobs 2] [--share 0.25] [--only WORD...] [--out runs/trust]

cosmic-ray makes the mutants (one operator, number, keyword or branch changed) and keeps the session; each is tried with
the tests of its room (`mutation.toml`) in a process forked after the frameworks are imported. A mutant is killed when
a test fails, or takes ten times its usual CPU time. Mutants of annotations are left out; mutants that change
nothing that could be seen are listed one by one in `equivalent.toml`. The mutants of `holes.toml`, which once survived,
are tried first. Results go to `<out>/mutation.json`, from which `run.py` writes its page.
"""

import argparse
import ast
import difflib
import hashlib
import importlib
import importlib.machinery
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import resource
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cosmic_ray.plugins
from cosmic_ray.commands import init
from cosmic_ray.mutating import mutate_code
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkItem, WorkResult
from reprokit.files.atomic import write_file
from reprokit.run.provenance import git_commit
from reprokit.terminal import say

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
SLOWER = 10  # times its usual CPU time, after which a test counts as endless
LEAST_CPU = 60  # seconds of CPU that every run may take
PATIENCE = 1800.0  # seconds by the clock, for a mutant that waits without computing
BROKEN = 70  # exit status where pytest itself ends in an exception
CHUNK = 8  # mutants that a server tries before another one takes its place


class Room(NamedTuple):
    """Files that the same tests look after.

    Attributes:
        files: Paths of the mutated files.
        tests: Arguments of pytest: test files, and what to choose of them.
        preload: Modules that a server imports before it forks; none of a package that is mutated.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    preload: tuple[str, ...]


class Trial(NamedTuple):
    """Tests to run with one file's text replaced."""

    job: str
    file: str
    text: str
    tests: tuple[str, ...]


class Mutant(NamedTuple):
    """One change: where it is, what the lines were and what they become."""

    file: str
    within: str
    was: str
    becomes: str


def rooms() -> list[Room]:
    """The table of `mutation.toml`."""
    found = []
    for room in tomllib.loads((HERE / "mutation.toml").read_text("utf-8"))["room"]:
        paths = [path for pattern in room["files"] for path in sorted(ROOT.glob(pattern))]
        files = tuple(str(path.relative_to(ROOT)) for path in paths if path.name != "__init__.py")
        found.append(Room(files, tuple(room["tests"]), tuple(room["preload"])))
    return found


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Beginning and end, as (line, column), of a source's annotations, which are no part of what it does."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            if each is not None:
                found.append(((each.lineno, each.col_offset), (each.end_lineno, each.end_col_offset)))
    return found


def mutated(source: str, item: WorkItem) -> str:
    """Return the source with the mutation of a work item."""
    (mutation,) = item.mutations
    operator = cosmic_ray.plugins.get_operator(mutation.operator_name)(**mutation.operator_args)
    return mutate_code(source, operator, mutation.occurrence) or source


def described(file: str, source: str, item: WorkItem) -> Mutant:
    """Say what a mutation is by the lines it changes, which edits elsewhere in the file do not touch."""
    old, new = source.splitlines(), mutated(source, item).splitlines()
    was, becomes = [], []
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            was += [line.strip() for line in old[i1:i2]]
            becomes += [line.strip() for line in new[j1:j2]]
    return Mutant(file, item.mutations[0].definition_name or "", " ".join(was), " ".join(becomes))


def _place(item: WorkItem) -> tuple[Any, ...]:
    (mutation,) = item.mutations
    return (*mutation.start_pos, mutation.operator_name, mutation.occurrence)


def _run(trial: Trial, cpu: int, log: str) -> None:
    """Replace the text of one module and run tests in this process; it ends with pytest's status."""
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    path, plain = str(ROOT / trial.file), importlib.machinery.SourceFileLoader.get_code

    def get_code(loader: Any, name: str) -> Any:
        if os.path.realpath(loader.path) == path:
            return compile(trial.text, path, "exec", dont_inherit=True)
        return plain(loader, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    import pytest

    words = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:faulthandler"]
    status: int = BROKEN
    try:
        status = int(pytest.main([*words, *trial.tests]))
    finally:  # an exception outside a test is not a test that fails
        sys.stdout.flush()
        os._exit(status)


def _serve(preload: Sequence[str], trials: Sequence[Trial], cpu: int, log: str, pipe: Any) -> None:
    """Import the frameworks once, then try one mutant after the other in a child; sends (job, status, CPU seconds)."""
    for name in preload:
        importlib.import_module(name)
    context = multiprocessing.get_context("fork")
    for trial in trials:
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = context.Process(target=_run, args=(trial, cpu, log))
        child.start()
        child.join(PATIENCE)
        if child.is_alive():
            child.kill()
            child.join()
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        pipe.send((trial.job, child.exitcode, used))
    pipe.close()


def tried(
    preload: Sequence[str], trials: Sequence[Trial], *, cpu: int, jobs: int, until: float, logs: Path
) -> Iterator[tuple[str, int, float]]:
    """Run trials until the time is over; gives job, exit status of the tests and CPU seconds."""
    context = multiprocessing.get_context("spawn")
    queue = [trials[start : start + CHUNK] for start in range(0, len(trials), CHUNK)]
    running: dict[Any, Any] = {}
    while running or (queue and time.monotonic() < until):
        while queue and len(running) < jobs and time.monotonic() < until:
            receive, send = context.Pipe(duplex=False)
            log = str(logs / f"{queue[0][0].job}.log")
            server = context.Process(target=_serve, args=(preload, queue.pop(0), cpu, log, send))
            server.start()
            send.close()
            running[receive] = server
        for receive in multiprocessing.connection.wait(list(running), timeout=5):
            try:
                yield receive.recv()  # type: ignore[union-attr]
            except EOFError:
                running.pop(receive).join()


class Session:
    """What is known of a room: a database of cosmic-ray's for each file, named after its path and text."""

    def __init__(self, room: Room, folder: Path, share: float) -> None:
        self.room = room
        self.items: dict[str, list[WorkItem]] = {}
        self.sources: dict[str, str] = {}
        self.databases: dict[str, str] = {}
        self.all: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for file in room.files:
            source = (ROOT / file).read_text("utf-8")
            digest = hashlib.sha256(source.encode()).hexdigest()[:12]
            name = folder / f"{file.replace('/', '-').removesuffix('.py')}-{digest}.sqlite"
            fresh = not name.exists()
            with use_db(str(name), WorkDB.Mode.create) as database:
                if fresh:
                    init([ROOT / file], database, {})
                items = list(database.work_items)
            self.sources[file], self.databases[file], self.all[file] = source, str(name), len(items)
            self.items[file] = self._sample(file, items, share)

    def _sample(self, file: str, items: list[WorkItem], share: float) -> list[WorkItem]:
        """Take a share of a file's mutants, the same ones each time, and none of its annotations."""
        skipped = annotations(self.sources[file])
        kept = [
            item
            for item in sorted(items, key=_place)
            if not any(start <= item.mutations[0].start_pos < end for start, end in skipped)
        ]
        random.Random(file).shuffle(kept)
        return kept[: max(1, round(share * len(kept)))]

    def results(self, file: str) -> dict[str, WorkResult]:
        """Results by job."""
        with use_db(self.databases[file], WorkDB.Mode.open) as database:
            return dict(database.results)

    def pending(self) -> list[Trial]:
        """What is still to be tried, files in turn, so that a part of it is a fair sample."""
        found = []
        for file, items in self.items.items():
            done, source = self.results(file), self.sources[file]
            for number, item in enumerate(items):
                if item.job_id not in done:
                    trial = Trial(item.job_id, file, mutated(source, item), self.room.tests)
                    found.append((number / len(items), trial))
        return [trial for _, trial in sorted(found)]

    def note(self, trial: Trial, status: int) -> None:
        """Store what became of a mutant: 0 survived; what cannot be imported, crashes or never ends is killed, too.

        Raises:
            SystemExit: pytest was called wrongly or broke, which tells nothing of the mutant.
        """
        if status in (3, 4, 5, BROKEN):
            raise SystemExit(f"pytest ended with {status} for {trial.file}, tests {' '.join(trial.tests)}")
        outcome = TestOutcome.SURVIVED if status == 0 else TestOutcome.KILLED
        result = WorkResult(WorkerOutcome.NORMAL, output=f"exit status {status}", test_outcome=outcome)
        with use_db(self.databases[trial.file], WorkDB.Mode.open) as database:
            database.set_result(trial.job, result)

    def measure(self, jobs: int, until: float, logs: Path) -> None:
        """Try what is pending until the time is over.

        Raises:
            SystemExit: The tests fail without a mutant.
        """
        pending = self.pending()
        if not pending or time.monotonic() > until:
            return
        file = self.room.files[0]
        usual = Trial("usual", file, self.sources[file], self.room.tests)
        options: dict[str, Any] = {"until": until, "logs": logs}
        ((_, status, used),) = tried(self.room.preload, [usual], cpu=3600, jobs=1, **options)
        if status:
            last = (logs / "usual.log").read_text()[-2000:]
            raise SystemExit(f"the tests of {file} fail without a mutant:\n{last}")
        cpu = round(max(LEAST_CPU, SLOWER * used))
        say(
            f"{file} and {len(self.items) - 1} more: {len(pending)} mutants, {used:.1f} s of CPU for all tests"
        )
        trials = {trial.job: trial for trial in pending}
        for job, status, _ in tried(self.room.preload, pending, cpu=cpu, jobs=jobs, **options):
            self.note(trials[job], status)


def equivalents() -> set[Mutant]:
    """Mutants that change nothing that could be seen; why is in the file."""
    table = tomllib.loads((HERE / "equivalent.toml").read_text("utf-8"))
    return {Mutant(*(entry[name] for name in Mutant._fields)) for entry in table.get("mutant", [])}


def summary(sessions: Sequence[Session]) -> dict[str, Any]:
    """Counts of every file, and the survivors."""
    known, files, survivors = equivalents(), {}, []
    for session in sessions:
        for file, items in session.items.items():
            done, source = session.results(file), session.sources[file]
            of_all = [item for item in items if item.job_id in done]
            alive = [item for item in of_all if not done[item.job_id].is_killed]
            left = [(item, described(file, source, item)) for item in alive]
            survivors += [
                mutant._asdict() | {"line": item.mutations[0].start_pos[0]}
                for item, mutant in left
                if mutant not in known
            ]
            files[file] = {
                "all": session.all[file],
                "mutants": len(items),
                "tried": len(of_all),
                "killed": len(of_all) - len(alive),
                "equivalent": sum(mutant in known for _, mutant in left),
            }
    return {"files": files, "survivors": survivors}


def holes(preload: dict[str, tuple[str, ...]], jobs: int, logs: Path) -> list[dict[str, Any]]:
    """Try the mutants that once survived; which test files killed them, or that they live."""
    table = tomllib.loads((HERE / "holes.toml").read_text("utf-8"))["hole"]
    found = []
    for place in dict.fromkeys(_package(hole["file"]) for hole in table):
        own = [hole for hole in table if _package(hole["file"]) == place]
        trials = []
        for number, hole in enumerate(own):
            source = (ROOT / hole["file"]).read_text("utf-8")
            if source.count(hole["was"]) != 1:
                raise SystemExit(
                    f"holes.toml, {hole['about']}: {hole['was']!r} is not once in {hole['file']}"
                )
            text, tests = source.replace(hole["was"], hole["becomes"]), tuple(hole["tests"])
            if tests not in [trial.tests for trial in trials]:  # which must pass without the mutant
                trials.append(Trial(f"usual-{place}-{number}", hole["file"], source, tests))
            trials.append(Trial(f"hole-{place}-{number}", hole["file"], text, tests))
        ends = {}
        options: dict[str, Any] = {"cpu": 600, "jobs": jobs, "until": float("inf"), "logs": logs}
        for job, status, _ in tried(preload[place], trials, **options):
            kind, _, number = job.split("-")
            hole = own[int(number)]
            if kind == "usual" and status:
                raise SystemExit(f"{' '.join(hole['tests'])} ends with {status} without a mutant")
            if kind == "hole":
                ends[job] = {"about": hole["about"], "tests": " ".join(hole["tests"]), "killed": status == 1}
                say(f"{'killed' if status == 1 else f'ALIVE ({status})'}: {hole['about']}")
        found += [ends[trial.job] for trial in trials if trial.job in ends]
    return found


def _package(file: str) -> str:
    parts = Path(file).parts
    return parts[1] if parts[0] == "packages" else parts[0]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=45, help="no mutant is tried after that time")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--share", type=float, default=0.25, help="of each file's mutants, always the same ones"
    )
    parser.add_argument("--only", nargs="+", default=[], help="words that a file's path holds")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/trust")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.chdir(ROOT)
    begin, sessions = time.monotonic(), []
    logs = options.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    table = rooms()
    preload = {_package(room.files[0]): room.preload for room in table}
    found: dict[str, Any] = {"commit": git_commit(), "share": options.share}
    found["holes"] = holes(preload, options.jobs, logs) if not options.only else []
    chosen = [
        room._replace(
            files=tuple(file for file in room.files if not options.only or _named(file, options.only))
        )
        for room in table
    ]
    chosen = [room for room in chosen if room.files]
    for number, room in enumerate(chosen):
        now, end = time.monotonic(), begin + options.minutes * 60
        sessions.append(Session(room, options.out / "mutants", options.share))
        sessions[-1].measure(options.jobs, now + max(0.0, end - now) / (len(chosen) - number), logs)
    found |= summary(sessions)
    write_file(options.out / "mutation.json", json.dumps(found, indent=1) + "\n")
    for survivor in found["survivors"]:
        say(f"{survivor['file']}:{survivor['line']}  {survivor['was']}  ->  {survivor['becomes']}")
    tried_, killed, same = (
        sum(c[k] for c in found["files"].values()) for k in ("tried", "killed", "equivalent")
    )
    say(f"{killed} of {tried_ - same} killed ({same} more are equivalent)")
    return int(any(not hole["killed"] for hole in found["holes"]))


def _named(file: str, words: Sequence[str]) -> bool:
    return any(word in file for word in words)


if __name__ == "__main__":
    raise SystemExit(main())
