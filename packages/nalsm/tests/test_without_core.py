"""Without the compiled core everything works, slower, and says so once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from nalsm_commands import ENVIRONMENT, command

HIDE = "import sys; sys.modules['nalsm._kernel'] = None; sys.argv = ['nalsm', *{words}]\n"
MAIN = "from nalsm.cli import main\nsys.exit(main())"
ESTIMATOR = """
import nalsm
assert not nalsm.kernel_available()
network = nalsm.generate(nalsm.NetworkSpec((3, 3, 3), 20, 1))
for _ in range(2):
    assert nalsm.Simulator(network).engine == "torch"
"""


def without_core(program: str, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(words=words) + program],
        capture_output=True, text=True, check=False, env=ENVIRONMENT,
    )  # fmt: skip


def small(out: Path, *more: str) -> list[str]:
    changes = {"dims": ("3", "3", "3"), "duration": "60", "initial_samples": "4", "train_samples": "20"}
    rest = {"validation_samples": "10", "test_samples": "10", "record": "2", "readout": "ridge"}
    return [*command(out, **changes | rest)[3:], *more]  # pyright: ignore[reportArgumentType]


def test_a_run_trains_on_the_reference_engine_with_one_warning(tmp_path: Path) -> None:
    done = without_core(MAIN, small(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout
    assert done.stderr.count("the compiled liquid engine is missing") == 1


def test_the_compiled_engine_asked_for_is_one_sentence(tmp_path: Path) -> None:
    done = without_core(MAIN, small(tmp_path / "run", "--engine", "events"))
    assert done.returncode == 2
    assert "engine 'events' was not built; reinstall with g++ or clang++ present" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_library_imports_and_warns_once() -> None:
    done = without_core(ESTIMATOR, [])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
