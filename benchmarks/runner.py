"""Every benchmark of the repository: both sides proven equal, timed in turn, recorded, drawn.

    python -m benchmarks.runner [PACKAGE ...] [--only WORD ...] [--isa avx2] [--list] [--try]
    make bench, make bench-dalton, make bench-guard ONLY='A1'

A case is a pair of programs that do the same work: what they compute is compared before anything is timed; then they
alternate, several times, and medians with their spread become a row of results.csv. A curve of growth measures time
and peak memory of one method against one size, each point in a separate process, as rows of growth.csv.

A run that was stopped continues where it was: what this commit has measured on this machine is not measured again.
``--try`` proves and times everything once and records nothing.

One process a package does the timing, with one thread unless a case has more, and with the libraries of the other side
limited to the same vector instructions. Libraries to compare with are installed into separate environments; one
that cannot be installed is left out with a sentence. So are cases whose data or processor are missing.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

if __name__ == "__main__" and not __package__:  # a file of this folder must not hide the package of its name
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from reprokit import UserError, bench
from reprokit.run.provenance import MODIFIED, git_commit

from benchmarks import done, goals, growth, guard, machine, table, trial
from benchmarks.cases import REGISTRY, Case, Growth, LeftOut, Settings, Unequal, Work, registered, select

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results.csv"
GROWTH = ROOT / "benchmarks" / "growth.csv"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    line = argparse.ArgumentParser(
        prog="python -m benchmarks.runner",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    line.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(REGISTRY)}; default: all"
    )
    line.add_argument(
        "--only", nargs="+", default=[], metavar="WORD", help="cases and curves that contain a word"
    )
    line.add_argument(
        "--repeats", type=int, help="timings of each side, at least 3 (default: each case's own)"
    )
    line.add_argument("--isa", choices=machine.SETS, help="limit both sides to these vector instructions")
    line.add_argument("--device", default="cpu", help="PyTorch's device where a package's cases have one")
    line.add_argument(
        "--data",
        type=lambda word: Path(word).resolve(),
        help="folder with shd_train.h5, for denram's engines",
    )
    line.add_argument(
        "--results",
        type=lambda word: Path(word).resolve(),
        default=RESULTS,
        help="rows of cases (default: %(default)s)",
    )
    line.add_argument(
        "--growth-results",
        type=lambda word: Path(word).resolve(),
        default=GROWTH,
        help="rows of growth (default: %(default)s)",
    )
    what = line.add_mutually_exclusive_group()
    what.add_argument("--cases", action="store_true", help="only the cases, no growth")
    what.add_argument("--growth", action="store_true", help="only the curves of growth")
    what.add_argument(
        "--guard", action="store_true", help="compare ratios with the committed rows instead of recording"
    )
    what.add_argument("--list", action="store_true", help="name the cases and curves, measure nothing")
    what.add_argument(
        "--draw", action="store_true", help="tables, figures and statements from the rows, measure nothing"
    )
    line.add_argument(
        "--jobs", type=int, default=1, help="growth only: points at a time (times suffer, memory does not)"
    )
    line.add_argument("--scheduler", help="growth only: address or file of a running Dask cluster")
    line.add_argument(
        "--try",
        dest="attempt",
        action="store_true",
        help="prove and time everything chosen once, record nothing, and say how long a recording takes",
    )
    line.add_argument(
        "--again", action="store_true", help="measure also what this commit measured on this machine before"
    )
    line.add_argument(
        "--minutes", type=float, help="begin nothing after so many; the same command continues there later"
    )
    line.add_argument("--until", type=float, default=math.inf, help=argparse.SUPPRESS)
    line.add_argument(
        "--here", action="store_true", help=argparse.SUPPRESS
    )  # in this process, whose limits are set
    return line


def check(options: argparse.Namespace) -> None:
    """Refuse what cannot be done, before anything is built or installed.

    Raises:
        UserError: Too few repeats, no such package, or workers for cases.
    """
    if options.repeats is not None and options.repeats < 3:
        raise UserError(f"--repeats is {options.repeats}; a median needs at least 3")
    if options.jobs < 1:
        raise UserError(f"--jobs is {options.jobs}; it must be at least 1")
    if (options.jobs > 1 or options.scheduler) and not options.growth:
        raise UserError(
            "--jobs and --scheduler measure growth alone; add --growth (cases are timed one after another)"
        )
    if (options.jobs > 1 or options.scheduler) and options.attempt:
        raise UserError("--try runs one after another; leave --jobs and --scheduler out")
    if options.minutes is not None and not options.minutes > 0:
        raise UserError(f"--minutes is {options.minutes:g}; it must be above 0")
    for package in options.packages:
        if package not in REGISTRY:
            raise UserError(f"no benchmarks for {package!r}; choose from {', '.join(REGISTRY)}")
    machine.limit(options.isa)


def each(
    cases: Iterable[Case],
    act: Callable[[Case, Work, str, float], None],
    *,
    say: Callable[[str], object],
    known: Callable[[Case, str], bool] = lambda *_: False,
    until: float = math.inf,
) -> list[str]:
    """Build and prove cases, one after another, and do something with each.

    Args:
        cases: The cases.
        act: Called with the case, its programs, how equal they are and the seconds that this took.
        say: Prints a line.
        known: Tells whether a case, under a name that other data may give it, is left as it is.
        until: Time (`time.time`) from which on no further case is begun.

    Returns:
        A sentence for each case whose sides differ or that failed.
    """
    failures, left = list[str](), 0
    for case in cases:
        if known(case, case.name):
            say(f"measured before: {case}")
            continue
        if time.time() >= until:
            left += 1
            continue
        work, begin = None, time.perf_counter()
        try:
            machine.set_threads(case.threads)
            work = case.build()
            machine.set_threads(case.threads)  # building may have loaded the framework
            if work.name and known(case, work.name):
                say(f"measured before, with other data: {case}")
                continue
            proof = work.proof()
            act(case, work, proof, time.perf_counter() - begin)
        except LeftOut as reason:
            say(f"left out: {case}: {reason}")
        except Unequal as difference:
            failures.append(f"NOT EQUAL, not timed: {case}: {difference}")
            say(failures[-1])
        except Exception as error:  # hours of other cases must not be lost with one
            failures.append(f"FAILED: {case}: {type(error).__name__}: {error}")
            say(failures[-1])
        finally:
            if work is not None:
                work.close()
    done.left(left, say)
    return failures


def measure(
    cases: Iterable[Case],
    *,
    isa: str,
    repeats: int | None = None,
    results: Path | None = RESULTS,
    again: bool = True,
    until: float = math.inf,
    say: Callable[[str], object] = print,
) -> tuple[list[bench.Comparison], list[str]]:
    """Prove and time cases, one after another.

    Args:
        cases: What is measured.
        isa: Vector instructions, for the rows.
        repeats: Timings of each side; None: as each case says.
        results: File of the rows; None records nothing.
        again: Measure also the cases that this commit measured on this machine before.
        until: Time (`time.time`) from which on no further case is begun.
        say: Prints a line.

    Returns:
        What was measured, and a sentence for each case whose sides differ or that failed.
    """
    found: list[bench.Comparison] = []
    before = {} if again or results is None else done.cases(results, isa)

    def known(case: Case, name: str) -> bool:
        return before.get((case.package, name, case.engine, case.peer, case.threads), 0) >= (
            repeats or case.repeats
        )

    def act(case: Case, work: Work, proof: str, seconds: float) -> None:
        del seconds
        speeds = machine.speeds(case.threads) if work.floor else None
        floor = speeds.seconds(work.floor) if speeds and work.floor else None
        comparison = bench.compare(
            case.package, work.name or case.name, case.engine, case.peer, work.ours, work.theirs,
            threads=case.threads, repeats=repeats or case.repeats, results=results, packages=case.packages, isa=isa,
            work=proof, floor_seconds=floor, floor=str(speeds) if speeds else "",
        )  # fmt: skip
        found.append(comparison)
        say(f"{comparison}; {proof}" + (f"; floor {floor:.4g} s" if floor else ""))

    return found, each(cases, act, say=say, known=known, until=until)


def attempt(
    cases: Iterable[Case],
    curves: Sequence[Growth],
    settings: Settings,
    *,
    repeats: int | None = None,
    until: float = math.inf,
    say: Callable[[str], object] = print,
) -> list[str]:
    """Prove cases and time each once, the ends of curves too, and record nothing.

    Returns:
        A sentence for each that differs or failed.
    """
    whole = [0.0]

    def act(case: Case, work: Work, proof: str, seconds: float) -> None:
        words, recording = trial.case(case, work, seconds, repeats)
        whole.append(recording)
        say(f"tried: {case}: {proof}; {words}")

    failures = each(cases, act, say=say, until=until)
    if curves:
        seconds, failed = trial.curves(curves, settings, repeats or 3, say, until=until)
        whole.append(seconds)
        failures += failed
    say(f"nothing was recorded; recording what was tried takes about {sum(whole) / 60:.0f} minutes")
    return failures


def in_this_process(options: argparse.Namespace) -> int:
    """Measure the cases of one package; the environment of this process has the limits already."""
    isa = os.environ["REPROKIT_ISA"]
    settings = Settings(isa=isa, device=options.device, data=options.data)
    cases, curves = registered(options.packages[0], settings)
    cases, curves = select(cases, options.only), select(curves, options.only)
    if options.list:
        print("\n".join([*map(str, cases), *map(str, curves)]))
        return 0
    chosen = [case for case in cases if case.guarded or options.only or not options.guard]
    if options.attempt:
        return 1 if attempt(
            [] if options.growth else chosen, [] if options.cases or options.guard else curves, settings,
            repeats=options.repeats, until=options.until,
        ) else 0  # fmt: skip
    if options.guard:
        return guard.run(chosen, isa, options.results, lambda some, file: measure(
            some, isa=isa, repeats=options.repeats, results=file
        ))  # fmt: skip
    limits = {"again": options.again, "until": options.until}
    failures = (
        measure(cases, isa=isa, repeats=options.repeats, results=options.results, **limits)[1]
        if not options.growth
        else []
    )
    if not options.cases and curves:
        failures += growth.measure(
            curves, settings, repeats=options.repeats or 3, results=options.growth_results, jobs=options.jobs,
            scheduler=options.scheduler, **limits,
        )  # fmt: skip
    return 1 if failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the exit status is 1 where sides differ or the guard found a loss."""
    options = parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # hours of lines must not be lost in a pipe
    check(options)
    if options.here:
        return in_this_process(options)
    status = 0
    environment = machine.limit(options.isa)
    rest = [
        "--device",
        options.device,
        "--results",
        str(options.results),
        "--growth-results",
        str(options.growth_results),
    ]
    rest += [*(["--only", *options.only] if options.only else []), "--jobs", str(options.jobs)]
    for name in ("repeats", "data", "scheduler"):
        if (value := getattr(options, name)) is not None:
            rest += [f"--{name}", str(value)]
    rest += [f"--{name}" for name in ("again", "cases", "growth", "guard", "list") if getattr(options, name)]
    rest += ["--try"] if options.attempt else []
    if options.minutes is not None:
        rest += ["--until", str(time.time() + 60 * options.minutes)]
    recording = not (options.attempt or options.guard or options.list or options.draw)
    if recording and not options.again and git_commit().endswith(MODIFIED):
        print("the working tree is modified: everything is measured anew, whatever was measured before")
    for package in [] if options.draw else options.packages or REGISTRY:
        command = [sys.executable, "-m", "benchmarks.runner", package, "--here", *rest]
        ended = subprocess.run(command, cwd=ROOT, env=environment).returncode
        if ended < 0:
            print(
                f"FAILED: {package}: its process ended by {signal.Signals(-ended).name}; see what it did last"
            )
        status = max(status, abs(ended))
    if not (options.list or options.guard or options.attempt):
        grown = options.growth_results
        for file in [*table.draw(options.results), *growth.draw(grown), *goals.draw(options.results, grown)]:
            print(f"written: {file}")
    return status


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except UserError as error:
        raise SystemExit(f"error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
