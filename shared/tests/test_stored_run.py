import hashlib
import json
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from reprokit import RunDirectory, UserError, read_config, read_run, run_id
from reprokit.run import directory as rundir

CONFIG = {"tau_cur": 1.0, "seed": 1, "rate": 0.5, "part": {"width": 3}, "hidden": [4, 5]}
OPTIONS = {"package": "dalton", "seed": 1, "out": "runs/x"}
FILES = ("config.json", "options.json", "metrics.jsonl", "summary.json", "digests.json", "weights.npy",
         "checkpoints/checkpoint-000000000002.safetensors", "best/checkpoint-000000000001.safetensors")  # fmt: skip


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch):
    monkeypatch.setattr(rundir, "PATIENCE", 0.05)


def make(folder, *, finish=True, **changes):
    with RunDirectory(folder, CONFIG | changes, options=OPTIONS) as run:
        run.checkpoints("best").save(1, {"a": np.arange(3)}, {})
        for epoch in (1, 2):
            run.log({"epoch": epoch, "loss": 1 / epoch})
            run.checkpoints().save(epoch, {"a": np.full(3, epoch)}, {})
        run.write_array("weights", np.zeros((2, 3), np.float32))
        if finish:
            run.finish({"accuracy": 0.5})
    return folder


def content(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def read_everything(folder):
    run = read_run(folder, package="dalton")
    run.describe()
    run.checkpoint()
    run.checkpoint("best")
    return run.array("weights", shape=(2, 3), dtype=np.float32)


def test_a_run_is_read_back_whole(tmp_path):
    run = read_run(str(make(tmp_path)), package="dalton")
    assert (run.path, run.package, run.config) == (tmp_path, "dalton", CONFIG)
    assert run.options == {"seed": 1, "out": "runs/x"}
    assert [record["epoch"] for record in run.records] == [1, 2]
    assert run.summary == {"accuracy": 0.5}
    assert (run.checkpoint().step, run.checkpoint("last").step, run.checkpoint("best").step) == (2, 2, 1)
    assert run.array("weights.npy", shape=(None, 3)).tolist() == [[0, 0, 0]] * 2


def test_info_begins_with_id_configuration_progress_and_result(tmp_path):
    lines = read_run(make(tmp_path / "run"), package="dalton").describe()
    pairs = [tuple(line.split(maxsplit=1)) for line in lines if line]
    assert ("part.width", "3") in pairs
    assert ("hidden", "[4, 5]") in pairs
    assert ("loss", "0.5") in pairs
    assert ("accuracy", "0.5") in pairs
    assert any(run_id(CONFIG) in line for line in lines)
    assert any("finished, 2 records" in line for line in lines)
    many = read_run(make(tmp_path / "many", hidden=list(range(9))), package="dalton").describe()
    assert ("hidden", "(9 values)") in [tuple(line.split(maxsplit=1)) for line in many if line]
    going_on = read_run(make(tmp_path / "other", finish=False), package="dalton").describe()
    assert any("the same `dalton train` command continues, 2 records" in line for line in going_on)


@pytest.mark.parametrize(
    ("config", "owner"),
    [
        ({"tau_cur": 1}, "dalton"),
        ({"package": "denram", "n_delays": 1}, "denram"),
        ({"model": "nalsm", "astrocyte_weight": 1}, "nalsm"),
        ({"together": [{"fb_scale": "auto"}]}, "bdfa"),
        ({"learning": {}}, "sbs"),
        ({"together": []}, "another program"),
    ],
)
def test_a_run_of_version_0_1_is_known_by_its_keys(tmp_path, config, owner):
    RunDirectory(tmp_path, config).close()
    (tmp_path / "digests.json").unlink()
    if owner != "another program":
        run = read_run(tmp_path, package=owner)
        assert (run.package, run.options, run.records, run.summary) == (owner, {}, [], None)
    with pytest.raises(UserError, match=rf"holds a run of {owner}; give a folder that `x train` named"):
        read_run(tmp_path, package="x")


def test_digests_of_another_program_are_refused(tmp_path):
    RunDirectory(tmp_path, CONFIG, options=OPTIONS).close()
    (tmp_path / "digests.json").write_text(json.dumps({"package": "other", "rate": 0.5}))
    with pytest.raises(UserError, match=r"digests\.json holds no digests of files; restore it, or delete it"):
        read_run(tmp_path, package="dalton")


def test_no_run_is_one_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(UserError, match=r"holds no run \(config.json is missing\); give the folder"):
            read_run(folder, package="dalton")
    assert not list(tmp_path.iterdir())


def test_what_is_not_there_yet_is_said(tmp_path):
    RunDirectory(tmp_path, CONFIG, options=OPTIONS).close()
    run = read_run(tmp_path, package="dalton")
    with pytest.raises(UserError, match=r"checkpoints has no checkpoint yet; continue .* `dalton train`"):
        run.checkpoint()
    with pytest.raises(UserError, match=r"weights.npy is missing; continue"):
        run.array("weights")
    with pytest.raises(UserError, match="which is 'newest'; it must be last or best"):
        run.checkpoint("newest")


def test_an_array_of_another_shape_or_dtype_is_refused(tmp_path):
    run = read_run(make(tmp_path), package="dalton")
    with pytest.raises(UserError, match=r"weights.npy holds float32 \(2, 3\), not any \(3, any\)"):
        run.array("weights", shape=(3, None))
    with pytest.raises(UserError, match=r"not float64 \(2,\)"):
        run.array("weights", shape=(2,), dtype=float)
    with pytest.raises(UserError, match=r"not int8 any; restore it or train again"):
        run.array("weights", dtype="i1")


def harmless(folder, name, damage):
    """Tell whether damaged digests still fit the files they name (then every file is whole)."""
    if name != "digests.json":
        return False
    try:
        noted = json.loads(damage)
    except (ValueError, RecursionError):
        return False
    digests = {key: hashlib.sha256((folder / key).read_bytes()).hexdigest() for key in FILES}
    return isinstance(noted, dict) and all(
        digests[key] in str(noted.get(key, digests[key])) for key in digests
    )


@pytest.mark.parametrize("name", FILES)
def test_any_damage_to_any_file_is_one_sentence_and_changes_nothing(tmp_path, name):
    make(tmp_path)
    data = (tmp_path / name).read_bytes()
    places = range(0, len(data), max(1, len(data) // 40))
    damaged = [data[:place] for place in places]
    damaged += [data[:p] + bytes([data[p] ^ bit]) + data[p + 1 :] for p in places for bit in (1, 64, 128)]
    for damage in [*damaged, b"\0" * len(data), b"[" * 99_999, b"PK\3\4 of another program"]:
        (tmp_path / name).write_bytes(damage)
        before = content(tmp_path)
        with nullcontext() if harmless(tmp_path, name, damage) else pytest.raises(UserError) as caught:
            read_everything(tmp_path)
        if caught is not None:
            assert str(tmp_path) in str(caught.value)
            assert "\n" not in str(caught.value)
            assert ";" in str(caught.value)
        assert content(tmp_path) == before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_no_traceback(tmp_path, name):
    (make(tmp_path) / name).unlink()
    needed = name.startswith(("config", "weights", "best"))  # the checkpoint before the last takes its place
    with pytest.raises(UserError, match=r"is missing|no checkpoint") if needed else nullcontext():
        read_everything(tmp_path)


def test_overwritten_arrays_are_checked_too_and_a_kill_between_note_and_file_is_none_damage(tmp_path):
    with RunDirectory(tmp_path, CONFIG, options=OPTIONS) as run:
        old = run.write_array("weights", np.zeros(2)).read_bytes()
        new = run.write_array("weights", np.ones(2)).read_bytes()
    stored = read_run(tmp_path, package="dalton")
    for data in (old, new):  # the note is written first
        (tmp_path / "weights.npy").write_bytes(data)
        assert stored.array("weights").sum() in (0, 2)
    (tmp_path / "weights.npy").write_bytes(new[:-1] + b"1")
    with pytest.raises(
        UserError, match=r"weights.npy was altered or is of another program: its SHA-256 .*; restore"
    ):
        stored.array("weights")


def test_options_follow_the_last_start_until_the_run_is_finished(tmp_path):
    for threads in (1, 2):
        RunDirectory(tmp_path, CONFIG, options=OPTIONS | {"threads": threads}).close()
        assert read_run(tmp_path, package="dalton").options["threads"] == threads
    RunDirectory(tmp_path, CONFIG).finish({})
    RunDirectory(tmp_path, CONFIG, options=OPTIONS | {"threads": 3}).close()
    assert read_run(tmp_path, package="dalton").options["threads"] == 2


def test_finish_returns_the_summary_as_it_is_stored(tmp_path):
    run = RunDirectory(tmp_path, CONFIG)
    assert run.finish({"a": np.float32(0.5), "b": (1, 2)}) == {"a": 0.5, "b": [1, 2]} == run.summary()


@pytest.mark.parametrize(("state", "step", "first", "kept"), [({}, 2, 1, [1, 2]), ({"epoch": 1}, 20, 1, [1])])
def test_a_run_goes_on_from_its_checkpoint_and_the_log_is_cut_back(tmp_path, state, step, first, kept):
    with RunDirectory(tmp_path, CONFIG) as run:
        for epoch in (1, 2, 3):
            run.log({"epoch": epoch})
        run.checkpoints().save(step, {}, state)
        found = run.continue_from("epoch", first=first)
        assert found is not None
        assert found.step == step
        assert [record["epoch"] for record in run.records()] == kept


def test_epochs_may_count_from_zero_and_records_without_a_position_stay(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        for record in ({"note": 1}, {"epoch": 0}, {"epoch": 1}, {"epoch": 2}):
            run.log(record)
        run.checkpoints().save(2, {}, {})
        run.continue_from("epoch", first=0)
        assert run.records() == [{"note": 1}, {"epoch": 0}, {"epoch": 1}]


def test_without_a_checkpoint_the_log_starts_anew(tmp_path):
    with RunDirectory(tmp_path, CONFIG) as run:
        run.log({"epoch": 0})
        assert run.continue_from("epoch") is None
        assert run.records() == []


def test_another_revision_is_refused_in_one_sentence(tmp_path):
    RunDirectory(tmp_path, CONFIG).close()
    with pytest.raises(
        UserError, match=r"of revision 1 and this one is of revision 2, whose numbers differ; choose"
    ):
        RunDirectory(tmp_path, CONFIG | {"revision": 2})


def test_force_deletes_what_the_run_wrote_and_nothing_else(tmp_path):
    make(tmp_path)
    (tmp_path / "network.npz").touch()
    (tmp_path / "checkpoints" / "mine.txt").touch()
    (tmp_path / "notes.txt").touch()
    with RunDirectory(tmp_path, CONFIG | {"seed": 2}, options=OPTIONS, force=True, files=["*.npz"]) as run:
        assert run.records() == []
        assert not run.finished
    left = {str(path) for path in content(tmp_path)}
    assert left == {
        ".run.lock",
        "notes.txt",
        "checkpoints/mine.txt",
        "config.json",
        "options.json",
        "digests.json",
    }
    assert not (tmp_path / "best").exists()
    assert read_config(tmp_path)["seed"] == 2


def test_force_spares_runs_of_others(tmp_path):
    make(tmp_path)
    before = content(tmp_path)
    with pytest.raises(
        UserError, match=r"config.json is of another program \(dalton\); choose another folder"
    ):
        RunDirectory(tmp_path, CONFIG, options=OPTIONS | {"package": "sbs"}, force=True)
    (tmp_path / "config.json").write_text('{"other": 1}')
    with pytest.raises(UserError, match=r"config.json was altered or is of another program"):
        RunDirectory(tmp_path, CONFIG, options=OPTIONS, force=True)
    (tmp_path / "config.json").write_bytes(before[Path("config.json")])
    with pytest.raises(UserError, match="in use"), RunDirectory(tmp_path, CONFIG, options=OPTIONS):
        RunDirectory(tmp_path, CONFIG, options=OPTIONS, force=True)
    assert content(tmp_path) == before


def test_force_never_leaves_the_folder(tmp_path):
    (tmp_path / "outside").touch()
    make(tmp_path / "run")
    (tmp_path / "run" / "digests.json").write_text(json.dumps({"../outside": ["0"]}))
    with pytest.raises(UserError, match=r"'../outside' leaves the run directory"):
        RunDirectory(tmp_path / "run", CONFIG, options=OPTIONS, force=True)
    assert (tmp_path / "outside").exists()


def test_force_on_an_empty_folder_is_a_new_run(tmp_path):
    RunDirectory(tmp_path / "a", CONFIG, options=OPTIONS, force=True).close()
    assert read_run(tmp_path / "a", package="dalton").config == CONFIG


def test_a_run_whose_summary_or_configuration_was_deleted_by_hand_goes_on(tmp_path):
    make(tmp_path)
    (tmp_path / "summary.json").unlink()
    with RunDirectory(tmp_path, CONFIG) as run:
        run.log({"epoch": 3})
        assert len(run.records()) == 3
        run.finish({})
    assert len(read_run(tmp_path, package="dalton").records) == 3
    for name in ("config.json", "summary.json", "metrics.jsonl"):
        (tmp_path / name).unlink()
    with RunDirectory(tmp_path, CONFIG, options=OPTIONS) as run:
        run.log({"epoch": 1})
        run.finish({})
    assert len(read_run(tmp_path, package="dalton").records) == 1
