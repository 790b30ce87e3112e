"""The tools of `make trust` and `make mutation`: decoders that notice a wrong reader, verdicts, mutants."""

import argparse
import dataclasses
import json
import os
import random
import signal
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from reprokit import UserError

HERE = Path(__file__).parents[1] / "trust"
pytest.importorskip("h5py")
sys.path.insert(0, str(HERE))
import fuzz  # noqa: E402
import hostile  # noqa: E402
import kills  # noqa: E402
import run  # noqa: E402

# in one process with tests that load JAX, which warns of every fork; the children here only read files
pytestmark = pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")


@pytest.mark.parametrize("kind", fuzz.FORMATS)
def test_good_and_damaged_files_are_judged(tmp_path, kind):
    file, read = fuzz.written(tmp_path, kind)
    content, chance = file.read_bytes(), random.Random(1)
    assert fuzz.mistaken(kind, content, read(file)) == ""
    for number in range(10):
        data = (fuzz.damaged_inside if number % 2 else fuzz.damaged)(content, chance)
        file.write_bytes(data)
        try:
            assert fuzz.mistaken(kind, data, read(file)) == ""
        except UserError:
            continue


@pytest.mark.parametrize("kind", ["idx", "cifar.bin", "nmnist.bin", "aedat", "aedat2", "h5", "npz"])
def test_plain_decoders_notice_what_a_reader_changes(tmp_path, kind):
    file, read = fuzz.written(tmp_path, kind)
    content, found = file.read_bytes(), read(file)
    assert fuzz.PLAIN[kind](content, found)
    for wrong in spoilt(found):
        assert not fuzz.PLAIN[kind](content, wrong)


def spoilt(found):
    """Answers in which one value differs or is missing."""
    if isinstance(found, tuple):
        yield tuple(column[:-1] for column in found)
        for place in range(len(found)):
            yield tuple(column + (k == place) for k, column in enumerate(found))
    elif isinstance(found, np.ndarray):
        yield found + 1
        yield found[:-1]
    elif hasattr(found, "times"):
        yield dataclasses.replace(found, times=np.nextafter(found.times, np.float32(9)))
        yield dataclasses.replace(found, labels=9 - found.labels)
    elif hasattr(found, "train"):
        for part in ("train", "test"):
            for wrong in spoilt(getattr(found, part)):
                yield dataclasses.replace(found, **{part: wrong})
    else:
        yield dataclasses.replace(found, images=255 - found.images)
        yield dataclasses.replace(found, labels=9 - found.labels)


def test_damage_inside_keeps_the_checksums(tmp_path):
    for kind in ("idx.gz", "nmnist.zip"):
        file, _ = fuzz.written(tmp_path, kind)
        data = fuzz.damaged_inside(file.read_bytes(), random.Random(0))
        assert data[:2] == file.read_bytes()[:2]
        assert data != file.read_bytes()
        if kind == "idx.gz":
            assert len(fuzz.gzip.decompress(data)) > 0
        else:
            assert fuzz.zipfile.ZipFile(fuzz.io.BytesIO(data)).testzip() is None


def test_an_interrupted_count_is_taken_up(monkeypatch):
    monkeypatch.setattr(fuzz, "BLOCK", 10)
    whole = fuzz.fuzz("cifar.bin", inputs=30)
    begun = fuzz.fuzz("cifar.bin", inputs=10)
    assert begun["inputs"] == 10
    assert fuzz.fuzz("cifar.bin", inputs=30, before=begun) | {"MB at most": 0} == whole | {"MB at most": 0}
    assert whole["read"] + whole["refused"] == whole["inputs"] == 30
    assert fuzz.fuzz("cifar.bin", inputs=30, until=0.0)["inputs"] == 0


@pytest.mark.parametrize(
    ("harm", "count", "words"),
    [
        (lambda: os._exit(3), "crashes", "seed 1, input 0: ended with 3"),
        (lambda: os.kill(os.getpid(), signal.SIGXCPU), "hangs", "seed 1, input 0: ended with -24"),
        (lambda: "another picture", "wrong", "seed 1, input 0: another picture"),
    ],
)
def test_crashes_hangs_and_wrong_answers_are_counted_with_their_input(monkeypatch, harm, count, words):
    def good(folder, kind):
        (folder / "file").write_bytes(b"good")
        return folder / "file", Path.read_bytes

    monkeypatch.setattr(fuzz, "BLOCK", 1)
    monkeypatch.setattr(fuzz, "damaged", lambda content, chance: b"bad")
    monkeypatch.setattr(fuzz, "written", good)
    monkeypatch.setattr(fuzz, "mistaken", lambda kind, data, found: harm() if found == b"bad" else "")
    monkeypatch.setattr(fuzz.faulthandler, "enable", lambda **_: None)
    found = fuzz.fuzz("idx", inputs=3, before={"inputs": 1, "read": 1})  # the block of seed 0
    assert (found["inputs"], found["read"], found[count]) == (3, 1, 2)
    assert found["which"][0] == words


def test_a_result_stays_while_only_words_change():
    def code(text):
        return run._without_words(text.encode())

    assert code("def f():\n    'words'\n    return 1\n") == code(
        "def f():\n    'other'\n    return 1  # why\n"
    )
    assert code("def f():\n    'words'\n    return 1\n") != code("def f():\n    'words'\n    return 2\n")
    assert code("def f():\n    return 'words'\n") != code("def f():\n    return 'other'\n")
    part = run.Part(lambda *_: {}, ("shared/tests/data/made_files.py",), 5)
    found = {"inputs": 5, "commit": "a" * 40, "code": run.digests(part.code)}
    assert run.complete(part, found)
    for other in ({"inputs": 4}, {"commit": f"{'a' * 40}-dirty"}, {"code": {}}):
        assert not run.complete(part, found | other)


def test_parts_are_measured_in_processes(tmp_path):
    part = "damaged files, gestures.csv"
    options = run.argparse.Namespace(kills=1, inputs=500, out=tmp_path, jobs=2)
    run.measure_all([part], options, until=float("inf"))
    found = run.stored(tmp_path, part)
    assert (found["inputs"], found["crashes"], found["wrong"]) == (500, 0, 0)
    assert {"seconds", "CPU seconds", "load", "commit", "code"} < found.keys()
    run.measure_all([part], options, until=0.0)
    assert run.stored(tmp_path, part) == found


def test_ends_are_compared_bit_by_bit_without_the_clock():
    one = {"log": [{"epoch": 1, "loss": 0.5}], "w": np.array([0.0, 1.0], np.float32)}
    assert kills.without_clock({"a": [{"seconds": 3, "loss": 1}], "git_commit": "x"}) == {"a": [{"loss": 1}]}
    assert kills.differences(one, dict(one)) == []
    assert kills.differences(one, one | {"w": np.array([-0.0, 1.0], np.float32)}) == ["w"]
    assert kills.differences(one, one | {"w": np.array([0.0, 1.0])}) == ["w"]
    assert kills.differences(one, {"log": [{"epoch": 1, "loss": 0.25}]}) == ["log", "w"]


def test_rows_of_a_study_are_compared_whatever_their_columns(tmp_path):
    assert kills._rows(tmp_path) == {}
    lines = ["run_id,seed,network,seconds,git_commit", "a,1,v1,3.5,x", "b,2,v1,4.5,y", "b,2,v1,4.5,y"]
    (tmp_path / "results.csv").write_text("\n".join(lines) + "\n")
    assert kills._rows(tmp_path) == {"a": '{"network": "v1", "run_id": "a", "seed": "1"}', "b": "double"}


def test_every_part_names_code_that_is_there_and_what_is_bad():
    options = run.argparse.Namespace(inputs=1, kills=1)
    for name, part in run.parts(options).items():
        assert all((run.ROOT / path).exists() for path in part.code), name
    for found, verdict in (
        ({"exit code": 0, "passed": 3}, False),
        ({"exit code": 0, "passed": 0}, True),
        ({"exit code": 1, "passed": 3}, True),
        ({"finished": 1, "refused": 1, "not bit-equal": 0}, False),
        ({"finished": 1, "refused": 0}, True),
        ({"inputs": 5, "crashes": 0, "hangs": 0, "wrong": 0}, False),
        ({"inputs": 5, "crashes": 0, "hangs": 1, "wrong": 0}, True),
        ({"executed": 1}, True),
        ({"error": "a sentence"}, True),
    ):
        assert run.bad(found) is verdict, found


def test_the_page_names_commits_and_what_is_missing():
    results = {
        "damaged files, idx": {
            "inputs": 5,
            "wrong": 0,
            "which": ["seed 1"],
            "commit": "a" * 40,
            "current": True,
        },
        "damaged files, h5": {"inputs": 6, "wrong": 1, "which": [], "commit": "b" * 40, "current": False},
    }
    page = run.report(results, ["sanitizers, sbs"], "A note.", ["## Mutation"])
    assert f"| idx | 5 | 0 | {'a' * 10} |" in page
    assert f"| h5 | 6 | 1 | {'b' * 10} * |" in page
    for line in ("A note.", "- idx: seed 1", "## Not measured", "- sanitizers, sbs", "## Mutation"):
        assert line in page.splitlines()


def test_the_page_lists_mutants_survivors_and_holes(tmp_path):
    counts = {"all": 90, "mutants": 9, "tried": 8, "killed": 6, "equivalent": 1}
    survivor = {"file": "a.py", "within": "f", "was": "x < 1", "becomes": "x <= 1", "line": 7}
    holes = [
        {"about": "one", "tests": "t.py", "killed": True},
        {"about": "two", "tests": "t.py", "killed": False},
    ]
    found = {"share": 0.1, "commit": "c" * 40, "CPU seconds": 120, "files": {"a.py": counts, "b.py": counts}}
    file = tmp_path / "mutation.json"
    file.write_text(json.dumps(found | {"survivors": [survivor], "holes": holes}))
    other = found | {"survivors": [survivor | {"line": 8}], "holes": holes, "seed": 3}
    (tmp_path / "mutation-3.json").write_text(json.dumps(other))
    page = run.mutation_page(file)
    for line in (
        "| a.py | 90 | 9 | 8 | 6 | 1 | 1 |",
        "| **sum** | 180 | 18 | 16 | 12 | 2 | 2 |",
        "Killed without equivalents: 85.7%.",
        "- `a.py`, line 7: `x < 1` becomes `x <= 1`",
        "Another sample (seed 3, commit cccccccccc), drawn after those tests were written: 16 tried, 2 equivalent, "
        "12 killed, 85.7% of the rest.",
        "- `a.py`, line 8: `x < 1` becomes `x <= 1`",
        "| one | `t.py` |",
        "| two | **not killed** |",
    ):
        assert line in page
    assert "2 minutes of CPU" in "".join(page)
    assert run.mutation_page(tmp_path / "none.json") == []


def test_mutants_of_annotations_are_left_out():
    pytest.importorskip("cosmic_ray")
    import mutants

    source = "def f(a: int | None = 1 + 2) -> str | None:\n    b: int | str = a | 4\n    return b\n"
    places = [
        (source.splitlines()[line - 1][start:], line) for (line, start), _ in mutants.annotations(source)
    ]
    assert sorted(text.partition(" |")[0] + f" {line}" for text, line in places) == [
        "int 1",
        "int 2",
        "str 1",
    ]


def test_tables_of_mutants_fit_the_files():
    for hole in tomllib.loads((HERE / "holes.toml").read_text("utf-8"))["hole"]:
        assert (run.ROOT / hole["file"]).read_text("utf-8").count(hole["was"]) == 1, hole["about"]
        assert (run.ROOT / hole["tests"][0]).is_file()
    for room in tomllib.loads((HERE / "mutation.toml").read_text("utf-8"))["room"]:
        assert all(list(run.ROOT.glob(pattern)) for pattern in room["files"])
        assert all((run.ROOT / test).is_file() for test in room["tests"])


def test_every_reader_that_gets_hostile_files_is_there():
    assert len(hostile.readers()) >= 22


def test_a_part_that_ends_in_an_exception_is_a_bad_result(tmp_path, monkeypatch):
    """Not one that is only missing: the command fails, and the page names it."""
    monkeypatch.setattr(run, "__file__", str(tmp_path / "part.py"))
    (tmp_path / "part.py").write_text("raise ImportError('no such reader')")
    options = argparse.Namespace(kills=1, inputs=1, out=tmp_path, jobs=1)
    run.measure_all(["hostile files, every reader"], options, float("inf"))
    found = run.stored(tmp_path, "hostile files, every reader")
    assert found["error"] == "the process ended with 1"
    assert run.bad(found)
