import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from reprokit import (
    DataIdentity,
    RunDirectory,
    UserError,
    git_commit,
    load_events,
    load_images,
    load_recordings,
    read_run,
    standard_row,
)
from reprokit.run import directory as rundir
from reprokit.run.identity import digest_arrays, digest_file
from reprokit.run.stored import stored_identity

CONFIG = {"tau_cur": 1.0, "seed": 1}
OPTIONS = {"package": "dalton"}
DATA = DataIdentity("own", "ab" * 32, {"train": 20, "test": 5}, 3)
OTHER = DataIdentity("own", "cd" * 32, {"train": 20, "test": 5}, 3)


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(rundir, "PATIENCE", 0.05)


def opened(folder, **more):
    return RunDirectory(folder, CONFIG, options=OPTIONS, **more)


def test_a_resumed_run_with_other_data_is_refused_and_the_data_named(tmp_path):
    with opened(tmp_path / "run") as run:
        run.identify(DATA, source="my/images")
    with opened(tmp_path / "run") as run:
        run.identify(DATA, source="my/images")
        before = (run.path / "data.json").read_bytes()
        with pytest.raises(
            UserError,
            match=r"the data set my/images changed since the run in .*run began \(SHA-256 abababababab there, "
            r"cdcdcdcdcdcd now\); restore it or choose another folder",
        ):
            run.identify(OTHER, source="my/images")
        assert (run.path / "data.json").read_bytes() == before


def test_a_changed_file_is_named(tmp_path):
    network = tmp_path / "net.json"
    network.write_text("1")
    with opened(tmp_path / "run") as run:
        run.identify(DATA, files={"network": network})
        held = json.loads((run.path / "data.json").read_text())
        assert held["files"] == {"network": {"path": "net.json", "sha256": digest_file(network)}}
        assert held["data"] == {
            "name": "own", "digest": "ab" * 32, "samples": {"train": 20, "test": 5}, "classes": 3
        }  # fmt: skip
    network.write_text("2")
    with opened(tmp_path / "run") as run:
        with pytest.raises(UserError, match=r"the network file .*net\.json changed since the run"):
            run.identify(DATA, files={"network": network})
        with pytest.raises(UserError, match=r"gone: no such file"):
            run.identify(DATA, files={"network": tmp_path / "gone"})


def test_a_run_of_an_older_version_gets_its_record_when_it_is_resumed(tmp_path):
    with opened(tmp_path) as run:
        run.log({"epoch": 1})
    assert read_run(tmp_path, package="dalton").identity() is None
    with opened(tmp_path) as run:
        run.identify(DATA)
    assert read_run(tmp_path, package="dalton").identity() == DATA
    with opened(tmp_path) as run, pytest.raises(UserError, match="the data set own changed"):
        run.identify(OTHER)


def test_files_noted_later_are_added_and_data_left_alone(tmp_path):
    (tmp_path / "delays.npy").write_bytes(b"1")
    with opened(tmp_path / "run") as run:
        run.identify(DATA)
        run.identify(files={"delays": tmp_path / "delays.npy"})
    stored = read_run(tmp_path / "run", package="dalton")
    assert stored.identity() == DATA
    pairs = dict([line.split()[0], line] for line in stored.describe() if line)
    assert "own (SHA-256 abababababab), 20 train, 5 test" in pairs["data"]
    assert "delays.npy (SHA-256 " in pairs["delays"]


def test_a_run_that_a_modified_tree_worked_on_gives_no_clean_row(tmp_path, monkeypatch):
    for commit in ("abc", "abd-dirty", "abd-dirty", "abe"):
        monkeypatch.setattr(rundir, "git_commit", lambda commit=commit: commit)
        with opened(tmp_path) as run:
            run.identify(DATA)
    monkeypatch.setattr(rundir, "git_commit", lambda: "abf")
    with opened(tmp_path) as run:
        run.finish({})
    with opened(tmp_path) as run:
        run.identify(DATA)  # looking at a finished run does not change it
    found = stored_identity(tmp_path)
    assert found == DATA
    assert found.code == ("abc", "abd-dirty", "abe")
    about = {
        "package": "p",
        "claim": "c",
        "dataset": "own",
        "scale": "smoke",
        "seed": 1,
        "seconds": 1.0,
        "threads": 1,
    }
    assert standard_row({}, data=found, packages=(), **about)["git_commit"] == "abd-dirty"
    clean = replace(found, code=("abc", "abe"))
    assert standard_row({}, data=clean, packages=(), **about)["git_commit"] == git_commit()


def test_a_finished_run_is_compared_and_not_written(tmp_path):
    with opened(tmp_path) as run:
        run.finish({})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with opened(tmp_path) as run:
        run.identify(DATA)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_record_is_a_file_of_the_run_like_the_others(tmp_path):
    with opened(tmp_path) as run:
        run.identify(DATA)
        assert run.config == CONFIG  # never part of the configuration
    assert "data.json" in json.loads((tmp_path / "digests.json").read_text())
    (tmp_path / "data.json").write_text('{"data": {"name": "own"}}')
    with opened(tmp_path) as run, pytest.raises(UserError, match=r"data\.json was altered"):
        run.identify(DATA)
    with opened(tmp_path, force=True) as run:
        assert not (tmp_path / "data.json").exists()
        run.identify(OTHER)
    (tmp_path / "config.json").unlink()  # deleted by hand: the next run is another one
    with opened(tmp_path) as run:
        run.identify(DATA)


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"data": 1}', '{"data": {"name": "a"}}', '{"code": 1}', '{"files": {"network": 1}}']
)
def test_a_damaged_record_is_one_sentence(tmp_path, text):
    opened(tmp_path).close()
    (tmp_path / "data.json").write_text(text)
    with pytest.raises(UserError, match=r"data\.json"):
        read_run(tmp_path, package="dalton").describe()
    with opened(tmp_path) as run, pytest.raises(UserError, match=r"data\.json"):
        run.identify(DATA, files={"network": tmp_path / "config.json"})


def test_the_digest_sees_every_part_name_dtype_shape_and_value():
    a = np.arange(12, dtype=np.int32).reshape(3, 4)
    digests = [
        digest_arrays(parts)
        for parts in (
            {"train": a},
            {"test": a},
            {"train": a.astype(np.int64)},
            {"train": a.astype(">i4")},
            {"train": a.view(np.uint32)},
            {"train": a.reshape(4, 3)},
            {"train": a + (a == 5)},
            {"train": [a, a[:0]]},
            {"train": [a[:1], a[1:]]},
            {"train": a, "test": a[:0]},
            {},
        )
    ]
    assert len(set(digests)) == len(digests)
    assert digest_arrays({"train": a, "test": a}) == digest_arrays({"test": [a], "train": [a]})


@pytest.mark.parametrize("block", [1, 7, 1 << 24])
def test_the_digest_is_that_of_the_values_in_c_order_however_they_lie(monkeypatch, tmp_path, block):
    monkeypatch.setattr("reprokit.run.identity._BLOCK", block)
    a = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    expected = hashlib.sha256(b"5 train 1\n<f4 (2, 3, 4)\n" + a.tobytes()).hexdigest()
    for array in (a, np.asfortranarray(a), np.repeat(a, 2, axis=0)[::2], a[::-1][::-1]):
        assert digest_arrays({"train": array}) == expected
    np.save(tmp_path / "a.npy", a)
    assert digest_arrays({"train": np.load(tmp_path / "a.npy", mmap_mode="r")}) == expected
    digest_arrays({"train": [np.float32(1), np.zeros((0, 3)), np.zeros((3, 0)).T, np.array(["a", "bc"])]})


def test_python_objects_are_refused():
    with pytest.raises(UserError, match=r"part 'train' holds an array of Python objects"):
        digest_arrays({"train": np.array([None])})


@pytest.mark.parametrize(
    ("load", "source", "samples"),
    [
        (load_images, "digits", {"train": 1437, "test": 360}),
        (load_events, "digits-events", None),
        (load_recordings, "spoken-toy", None),
    ],
)
def test_every_kind_of_data_set_has_an_identity(load, source, samples):
    splits = load(source)
    found = DataIdentity.of(splits)
    assert (found.name, found.classes) == (splits.name, splits.classes)
    assert found.samples == {"train": len(splits.train), "test": len(splits.test)}
    assert samples in (None, found.samples)
    assert found == DataIdentity.of(load(source))
    splits.test.labels[0] = (splits.test.labels[0] + 1) % splits.classes
    assert DataIdentity.of(splits).digest != found.digest
