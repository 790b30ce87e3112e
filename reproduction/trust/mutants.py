"""Mutation tests of the rules, the neurons and the judge: ``make mutation``.

    python reproduction/trust/mutants.py [--minutes 45] [--jobs 2] [--mutants 600] [--seed 0] [--only WORD...]
                                         [--out runs/trust]

cosmic-ray makes the mutants (one operator, number, keyword or branch changed) and keeps the session; of each file the
same share is tried, drawn with a fixed seed, with the tests of its room (`mutation.toml`): in a process forked after
everything but the mutated package is imported, the tests first that have killed mutants of that file. A mutant is
killed when a test fails, or takes several times its usual CPU time. Mutants of annotations are left out; mutants that
change nothing that could be seen are listed one by one in `equivalent.toml`. The mutants of `holes.toml`, which once
survived, are tried first. Results go to `<out>/mutation.json`, from which `run.py` writes its page.
"""

import argparse
import ast
import contextlib
import difflib
import hashlib
import importlib
import importlib.machinery
import json
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import resource
import sys
import time
import tomllib
import traceback
from collections import Counter
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
SLOWER = 4  # times its usual CPU time, after which a test counts as endless
LEAST_CPU = 20  # seconds of CPU that every run may take
PATIENCE = 600.0  # seconds by the clock, for a mutant that waits without computing
MARKS = "not slow and not network and not gpu and not cluster"
LEFT_OUT = (
    "__init__.py",
    "triton_kernels.py",
    "backward_gpu.py",
)  # GPU code is tested by the interpreter, apart
BROKEN = 70  # exit status where pytest itself ends in an exception


class Room(NamedTuple):
    """Files that the same tests look after.

    Attributes:
        files: Paths of the mutated files.
        tests: Arguments of pytest: test files, and what to choose of them.
        preload: Modules that a server imports before the first test; none of a package that is mutated.
    """

    files: tuple[str, ...]
    tests: tuple[str, ...]
    preload: tuple[str, ...]


class Trial(NamedTuple):
    """Tests to run with one file's text replaced, mutated before where `item` says how; those of `first` come first."""

    job: str
    file: str
    text: str
    tests: tuple[str, ...]
    item: WorkItem | None = None
    first: tuple[str, ...] = ()


class Outcome(NamedTuple):
    """Exit status of the tests, CPU seconds, and the test that failed; of a run that passes, what it had imported."""

    job: str
    status: int
    used: float
    killer: str
    imported: tuple[str, ...]


class Watch:
    """A plugin of pytest: some tests come first, and the first that fails is written down."""

    def __init__(self, first: Sequence[str], note: Path) -> None:
        self.first = {name: number for number, name in enumerate(first)}
        self.note = note

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Put those tests first; the others keep their order."""
        items.sort(key=lambda item: self.first.get(item.nodeid, len(self.first)))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note the first failure."""
        if report.failed and not self.note.exists():
            self.note.write_text(json.dumps({"killer": report.nodeid}))


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
        files = tuple(str(path.relative_to(ROOT)) for path in paths if path.name not in LEFT_OUT)
        found.append(Room(files, tuple(room["tests"]), tuple(room["preload"])))
    return found


def annotations(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Beginning and end, as (line, column), of a source's annotations, which do not affect what it does."""
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
    text = trial.text if trial.item is None else mutated(trial.text, trial.item)

    def get_code(loader: Any, name: str) -> Any:
        if os.path.realpath(loader.path) == path:
            return compile(text, path, "exec", dont_inherit=True)
        return plain(loader, name)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]
    import pytest

    words = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:faulthandler", "-m", MARKS]
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # plugins are imported by now
    status: int = BROKEN
    note = Path(f"{log}.json")
    try:
        status = int(pytest.main([*words, *trial.tests], plugins=[Watch(trial.first, note)]))
        if status == 0:
            note.write_text(json.dumps({"imported": _imported()}))
    except BaseException:  # outside a test, so it is not a test that fails
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _imported() -> list[str]:
    """Modules that are imported by now, but tests, what belongs to pytest and what has no file."""
    found = []
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        tests = file is not None and Path(file).is_relative_to(ROOT) and "tests" in Path(file).parts
        if (
            file
            and not tests
            and not re.search("pytest|conftest", name)
            and name == getattr(module, "__name__", "")
        ):
            found.append(name)
    return found


def _serve(preload: Sequence[str], cpu: int, log: str, pipe: Any) -> None:
    """Import everything but the mutated package once, then try the mutants, each in its own child process."""
    for name in preload:
        with contextlib.suppress(Exception):  # a module that only works inside of something
            importlib.import_module(name)
    context, note = multiprocessing.get_context("fork"), Path(f"{log}.json")
    for trial in iter(pipe.recv, None):
        note.unlink(missing_ok=True)
        begin = resource.getrusage(resource.RUSAGE_CHILDREN)
        child = context.Process(target=_run, args=(trial, cpu, log))
        child.start()
        child.join(PATIENCE)
        if child.is_alive():
            child.kill()
            child.join()
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        used = end.ru_utime + end.ru_stime - begin.ru_utime - begin.ru_stime
        noted = json.loads(note.read_text()) if note.exists() else {}
        pipe.send(
            (trial.job, child.exitcode, used, noted.get("killer", ""), tuple(noted.get("imported", ())))
        )


def tried(
    preload: Sequence[str],
    trials: Sequence[Trial],
    *,
    cpu: int,
    jobs: int,
    until: float,
    logs: Path,
    killers: dict[str, Counter[str]] | None = None,
) -> Iterator[Outcome]:
    """Run trials until the time is over; `killers` learns which tests kill mutants of a file, and these come first."""
    context = multiprocessing.get_context("spawn")
    queue, servers = list(reversed(trials)), {}
    known = {} if killers is None else killers
    files = {trial.job: trial.file for trial in trials}
    for number in range(min(jobs, len(trials))):
        ours, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(preload, cpu, str(logs / f"server-{number}.log"), theirs)
        )
        process.start()
        theirs.close()
        servers[ours] = process
    busy = []
    for pipe in servers:
        _give(pipe, queue, known, busy)
    while busy:
        for pipe in multiprocessing.connection.wait(busy, timeout=5):
            outcome = Outcome(*pipe.recv())  # type: ignore[union-attr]
            busy.remove(pipe)
            if outcome.killer:
                known.setdefault(files[outcome.job], Counter())[outcome.killer] += 1
            yield outcome
            if time.monotonic() < until:
                _give(pipe, queue, known, busy)
    for pipe, process in servers.items():
        pipe.send(None)
        process.join()


def _give(pipe: Any, queue: list[Trial], killers: dict[str, Counter[str]], busy: list[Any]) -> None:
    """Send a server the next trial."""
    if queue:
        trial = queue.pop()
        first = tuple(name for name, _ in killers.get(trial.file, Counter()).most_common())
        pipe.send(trial._replace(first=first))
        busy.append(pipe)


class Session:
    """What is known of a room: a database of cosmic-ray's for each file, named after its path and text."""

    def __init__(self, room: Room, folder: Path) -> None:
        self.room = room
        self.items: dict[str, list[WorkItem]] = {}
        self.sources: dict[str, str] = {}
        self.databases: dict[str, str] = {}
        self.all: dict[str, int] = {}
        self.killers: dict[str, Counter[str]] = {}
        self.tests = hashlib.sha256(b"".join((ROOT / test).read_bytes() for test in room.tests)).hexdigest()[
            :12
        ]
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
            skipped = annotations(source)
            kept = [
                item for item in items if not any(a <= item.mutations[0].start_pos < b for a, b in skipped)
            ]
            self.sources[file], self.databases[file] = source, str(name)
            self.items[file], self.all[file] = kept, len(kept)

    def sample(self, share: float, seed: int) -> None:
        """Keep a share of each file's mutants, the same ones each time; another seed draws others."""
        for file, items in self.items.items():
            drawn = sorted(items, key=_place)
            random.Random(f"{seed} {file}" if seed else file).shuffle(drawn)
            self.items[file] = drawn[: max(1, round(share * len(items)))] if items else []

    def results(self, file: str) -> dict[str, WorkResult]:
        """Results by job."""
        with use_db(self.databases[file], WorkDB.Mode.open) as database:
            return dict(database.results)

    def pending(self, words: Sequence[str] = ()) -> list[Trial]:
        """What is still to be tried of files with one of the words, in turn, so that a part of it is a fair sample."""
        found, same = [], equivalents()
        for file, items in self.items.items():
            if not _named(file, words):
                continue
            done, source = self.results(file), self.sources[file]
            for number, item in enumerate(items):
                result = done.get(item.job_id)
                # what survived is tried again with other tests, but not what no test can kill
                if result is None or not (
                    result.is_killed
                    or self.tests in (result.output or "")
                    or described(file, source, item) in same
                ):
                    trial = Trial(item.job_id, file, source, self.room.tests, item)
                    found.append((number / len(items), trial))
        return [trial for _, trial in sorted(found, key=lambda one: (one[0], one[1].job))]

    def note(self, file: str, outcome: Outcome) -> None:
        """Store what became of a mutant: 0 survived; what cannot be imported, crashes or never ends is killed, too.

        Raises:
            SystemExit: pytest was called wrongly or broke, which tells nothing of the mutant.
        """
        if outcome.status in (3, 4, 5, BROKEN):
            raise SystemExit(
                f"pytest ended with {outcome.status} for {file}, tests {' '.join(self.room.tests)}"
            )
        verdict = TestOutcome.SURVIVED if outcome.status == 0 else TestOutcome.KILLED
        words = {"status": outcome.status, "used": round(outcome.used, 2), "killer": outcome.killer}
        words["tests"] = self.tests
        result = WorkResult(WorkerOutcome.NORMAL, output=json.dumps(words), test_outcome=verdict)
        with use_db(self.databases[file], WorkDB.Mode.open) as database:
            database.set_result(outcome.job, result)

    def measure(self, jobs: int, until: float, logs: Path, only: Sequence[str]) -> None:
        """Try what is pending of files with one of the words until the time is over.

        Raises:
            SystemExit: The tests fail without a mutant.
        """
        pending = self.pending(only)
        if not pending or time.monotonic() > until:
            return
        file = pending[0].file
        usual = Trial("usual", file, self.sources[file], self.room.tests)
        options: dict[str, Any] = {"until": until, "logs": logs}
        (found,) = tried(self.room.preload, [usual], cpu=3600, jobs=1, **options)
        if found.status:
            last = (logs / "server-0.log").read_text()[-2000:]
            raise SystemExit(f"the tests of {file} fail without a mutant:\n{last}")
        cpu = round(max(LEAST_CPU, SLOWER * found.used))
        say(f"{_package(file)}: {len(pending)} mutants, {found.used:.1f} s of CPU for all tests")
        own = {{"shared": "reprokit"}.get(name, name) for name in map(_package, self.room.files)}
        preload = [*self.room.preload, *(n for n in found.imported if n.partition(".")[0] not in own)]
        files = {trial.job: trial.file for trial in pending}
        for each in self.items:  # what is known of an interrupted session
            words = [json.loads(result.output or "{}") for result in self.results(each).values()]
            self.killers[each] = Counter(one["killer"] for one in words if one.get("killer"))
        for outcome in tried(preload, pending, cpu=cpu, jobs=jobs, killers=self.killers, **options):
            self.note(files[outcome.job], outcome)


def equivalents() -> set[Mutant]:
    """Mutants that change nothing that could be seen; why is in the file."""
    table = tomllib.loads((HERE / "equivalent.toml").read_text("utf-8"))
    return {Mutant(*(entry[name] for name in Mutant._fields)) for entry in table.get("mutant", [])}


def summary(sessions: Sequence[Session]) -> dict[str, Any]:
    """Counts of every file, and the survivors."""
    known, files, survivors, used = equivalents(), {}, [], 0.0
    for session in sessions:
        for file, items in session.items.items():
            done, source = session.results(file), session.sources[file]
            of_all = [item for item in items if item.job_id in done]
            used += sum(json.loads(done[item.job_id].output or "{}").get("used", 0.0) for item in of_all)
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
    return {"files": files, "survivors": survivors, "CPU seconds": round(used)}


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
        for job, status, *_ in tried(preload[place], trials, **options):
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
        "--mutants", type=int, default=600, help="about how many, the same share of each file"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="draws another sample, which no test has been written for"
    )
    parser.add_argument("--only", nargs="+", default=[], help="words that a file's path holds; holes")
    parser.add_argument("--out", type=Path, default=ROOT / "runs/trust")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    os.chdir(ROOT)
    begin = time.monotonic()
    logs = options.out / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    table = rooms()
    preload = {_package(room.files[0]): room.preload for room in table}
    sessions = [Session(room, options.out / "mutants") for room in table]
    share = min(1.0, options.mutants / sum(sum(session.all.values()) for session in sessions))
    for session in sessions:
        session.sample(share, options.seed)
    found: dict[str, Any] = {"commit": git_commit(), "share": share, "seed": options.seed}
    found["load"] = round(os.getloadavg()[0], 1)
    page = options.out / (f"mutation-{options.seed}.json" if options.seed else "mutation.json")
    known = json.loads(page.read_text())["holes"] if page.exists() else []
    found["holes"] = holes(preload, options.jobs, logs) if _named("holes", options.only) else known
    end = begin + options.minutes * 60
    waiting = [len(session.pending(options.only)) for session in sessions]
    for number, session in enumerate(sessions):
        now, left = time.monotonic(), sum(waiting[number:])
        until = now + max(0.0, end - now) * waiting[number] / max(1, left)
        session.measure(options.jobs, until, logs, options.only)
    found |= summary(sessions)
    write_file(page, json.dumps(found, indent=1) + "\n")
    for survivor in found["survivors"]:
        say(f"{survivor['file']}:{survivor['line']}  {survivor['was']}  ->  {survivor['becomes']}")
    tried_, killed, same = (
        sum(c[k] for c in found["files"].values()) for k in ("tried", "killed", "equivalent")
    )
    say(f"{killed} of {tried_ - same} killed ({same} more are equivalent)")
    return int(any(not hole["killed"] for hole in found["holes"]))


def _named(file: str, words: Sequence[str]) -> bool:
    """Whether a path holds one of the words; all do where there are none."""
    return not words or any(word in file for word in words)


if __name__ == "__main__":
    raise SystemExit(main())
