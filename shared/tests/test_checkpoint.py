import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from killing import kill_at_every_point
from reprokit import Checkpoints, UserError
from reprokit.run.checkpoint import DTYPES, DamagedCheckpoint, read_checkpoint

STATE = {"epoch": 3, "generator": [2**63, 1], "name": "naïve", "best": 0.1}


def some_arrays():
    rng = np.random.default_rng(0)
    return {
        "w": rng.standard_normal((3, 4)).astype(np.float32),
        "step": np.array(7),
        "none": np.zeros((0, 3)),
    }


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype.newbyteorder("=")
        assert a[name].shape == b[name].shape
        np.testing.assert_array_equal(a[name], b[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (5,), (2, 3)])
def test_every_dtype_and_shape_comes_back(tmp_path, dtype, shape):
    array = (np.random.default_rng(1).random(shape) * 200 - 60).astype(dtype)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(0, {"x": array}, {})
    found = checkpoints.load_latest()
    assert found is not None
    same(found.arrays, {"x": array})


@pytest.mark.parametrize("dtype", ["uint64", "int64", "float16", "float32", "float64"])
def test_extreme_values_are_exact(tmp_path, dtype):
    kind = np.dtype(dtype)
    info = np.finfo(kind) if kind.kind == "f" else np.iinfo(kind)
    values = [info.min, info.max, 0]
    if kind.kind == "f":
        values += [np.nan, np.inf, -np.inf, -0.0, info.smallest_subnormal]
    array = np.array(values, dtype)
    Checkpoints(tmp_path).save(0, {"x": array}, {})
    found = Checkpoints(tmp_path).load_latest()
    assert found is not None
    assert found.arrays["x"].tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6).reshape(2, 3).T,
        np.arange(10)[::-2],
        np.arange(3, dtype=">i4"),
        np.broadcast_to(1.5, (2, 2)),
    ],
    ids=["transposed", "reversed", "big-endian", "broadcast"],
)
def test_memory_layout_does_not_matter(tmp_path, array):
    Checkpoints(tmp_path).save(0, {"x": array}, {})
    found = Checkpoints(tmp_path).load_latest()
    assert found is not None
    same(found.arrays, {"x": array})
    assert found.arrays["x"].flags.writeable


@pytest.mark.parametrize(
    "bad", [np.zeros(2, complex), np.array(["a"]), np.array([None]), np.zeros(2, "M8[s]")]
)
def test_other_dtypes_are_refused_by_name(tmp_path, bad):
    with pytest.raises(TypeError, match="array 'odd' has dtype"):
        Checkpoints(tmp_path).save(0, {"odd": bad}, {})
    assert list(tmp_path.iterdir()) == []


def test_state_must_be_json(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        Checkpoints(tmp_path).save(0, {}, {"f": len})
    assert list(tmp_path.iterdir()) == []


def test_state_and_step_come_back(tmp_path):
    Checkpoints(tmp_path).save(12, {}, STATE)
    found = Checkpoints(tmp_path).load_latest()
    assert found is not None
    assert (found.step, found.state, found.arrays) == (12, STATE, {})


def test_the_newest_two_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "deep" / "folder")
    for step in (1, 5, 10, 999_999_999_999):
        checkpoints.save(step, {}, {})
    names = sorted(path.name for path in checkpoints.directory.iterdir())
    assert names == ["checkpoint-000000000010.safetensors", "checkpoint-999999999999.safetensors"]
    one = Checkpoints(checkpoints.directory, keep=1)
    one.save(1_000_000_000_000, {}, {"digits": 13})
    assert [path.name for path in one.directory.iterdir()] == ["checkpoint-1000000000000.safetensors"]


def test_empty_or_absent_folder(tmp_path):
    assert Checkpoints(tmp_path).load_latest() is None
    assert Checkpoints(tmp_path / "absent").load_latest() is None
    assert not (tmp_path / "absent").exists()


def test_damaged_newest_falls_back_with_a_warning(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, some_arrays(), {"at": 1})
    newest = checkpoints.save(2, some_arrays(), {"at": 2})
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(
        RuntimeWarning, match="checkpoint-000000000002.safetensors is damaged.*older checkpoint"
    ):
        found = checkpoints.load_latest()
    assert found is not None
    assert found.state == {"at": 1}


def test_a_run_that_fell_back_keeps_no_damaged_file(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {}, {})
    checkpoints.save(5, {}, {}).write_bytes(b"torn")
    checkpoints.save(2, {}, {"at": 2})
    assert sorted(path.name[-14:-12] for path in tmp_path.iterdir()) == ["01", "02"]
    found = checkpoints.load_latest()  # no warning
    assert found is not None
    assert found.state == {"at": 2}


def test_all_damaged_gives_none_and_a_warning_each(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, {}, {}).write_bytes(b"")
    with pytest.warns(RuntimeWarning) as caught:
        assert checkpoints.load_latest() is None
    assert len(caught) == 2


def test_a_folder_in_place_of_a_file_is_damage_too(tmp_path):
    (tmp_path / "checkpoint-000000000001.safetensors").mkdir()
    with pytest.warns(RuntimeWarning, match="cannot be read: Is a directory"):
        assert Checkpoints(tmp_path).load_latest() is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = Checkpoints(tmp_path_factory.mktemp("whole")).save(3, some_arrays(), STATE)
    return path, path.read_bytes()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(0, 10**9), flip=st.integers(1, 255))
def test_a_changed_byte_never_returns_other_content(whole, position, flip):
    """R5: whichever byte changes, the file is refused or is still read as exactly the same."""
    path, data = whole
    damaged = bytearray(data)
    damaged[position % len(data)] ^= flip
    target = path.with_name("changed.safetensors")
    target.write_bytes(damaged)
    try:
        found = read_checkpoint(target)
    except DamagedCheckpoint:
        return
    same(found.arrays, some_arrays())
    assert (found.step, found.state) == (3, STATE)


def test_every_truncation_is_refused(whole):
    path, data = whole
    target = path.with_name("cut.safetensors")
    for length in range(len(data)):
        target.write_bytes(data[:length])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(target)


def test_headers_that_are_no_checkpoints(tmp_path):
    target = tmp_path / "x.safetensors"
    for header in (b"[]", b"{}", b'{"__metadata__":[]}', b'{"__metadata__":{"format":"other"}}', b"nonsense"):
        target.write_bytes(len(header).to_bytes(8, "little") + header)
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(target)


def test_a_later_format_is_named(tmp_path):
    path = Checkpoints(tmp_path).save(0, {}, {})
    path.write_bytes(path.read_bytes().replace(b"reprokit-checkpoint-1", b"reprokit-checkpoint-9"))
    with pytest.raises(DamagedCheckpoint, match="has format 'reprokit-checkpoint-9', not "):
        read_checkpoint(path)


def test_leftovers_of_killed_saves_are_removed(tmp_path):
    (tmp_path / ".checkpoint-000000000001.safetensors.123.tmp").write_bytes(b"half")
    path = Checkpoints(tmp_path).save(2, {}, {})
    assert list(tmp_path.iterdir()) == [path]


def test_swapped_names_are_noticed(tmp_path):
    a, b = np.zeros(3), np.ones(3)
    path = Checkpoints(tmp_path).save(0, {"a": a, "b": b}, {})
    data = (
        path.read_bytes()
        .replace(b'"a":', b'"c":', 1)
        .replace(b'"b":', b'"a":', 1)
        .replace(b'"c":', b'"b":', 1)
    )
    path.write_bytes(data)
    with pytest.raises(DamagedCheckpoint, match="SHA-256 does not match"):
        read_checkpoint(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)))
def test_any_array_round_trips_bit_for_bit(tmp_path, array):
    Checkpoints(tmp_path).save(0, {'any name\n"é': array}, {})
    found = Checkpoints(tmp_path).load_latest()
    assert found is not None
    (back,) = found.arrays.values()
    assert (back.tobytes(), back.shape, back.dtype) == (array.tobytes(), array.shape, array.dtype)


def test_wrong_arguments(tmp_path):
    with pytest.raises(UserError, match="keep is 0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(UserError, match="step is -1"):
        Checkpoints(tmp_path).save(-1, {}, {})


def test_other_programs_can_read_the_file(tmp_path):
    from safetensors.numpy import load_file

    path = Checkpoints(tmp_path).save(0, some_arrays(), {})
    same(load_file(path), some_arrays())


def test_no_code_runs_from_a_checkpoint(tmp_path):
    """R8: a pickle under a checkpoint's name is damage, not code."""
    import pickle

    marker = tmp_path / "marker"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (marker,))

    (tmp_path / "checkpoint-000000000001.safetensors").write_bytes(pickle.dumps(Evil()))
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert Checkpoints(tmp_path).load_latest() is None
    assert not marker.exists()


WRITER = """
import numpy as np
from reprokit.run.checkpoint import Checkpoints

def work(folder, say):
    checkpoints = Checkpoints(folder)
    found = checkpoints.load_latest()
    step = 0 if found is None else found.step
    say(step)
    while True:
        step += 1
        checkpoints.save(step, {"x": np.full(20_000, step), "y": np.array(step % 2 == 0)}, {"step": step})
        say(step)
"""


def test_kill_at_every_point(tmp_path):
    """R5: after each of 100 kills the newest acknowledged checkpoint, or a later whole one, is there."""
    acknowledged = kill_at_every_point(WRITER, tmp_path)
    found = Checkpoints(tmp_path).load_latest()
    assert found is not None
    assert found.step >= acknowledged > 0
    assert found.state == {"step": found.step}
    np.testing.assert_array_equal(found.arrays["x"], np.full(20_000, found.step))
    leftovers = [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert len(leftovers) <= 1


def walk(checkpoints, steps, stop=None):
    """A little training loop: state, generator and order of samples all live in the checkpoint (R9)."""
    rng = np.random.default_rng(0)
    weights, start = np.zeros(5), 0
    found = checkpoints.load_latest()
    if found is not None:
        weights, start = found.arrays["weights"], found.step
        rng.bit_generator.state = found.state["generator"]
    for step in range(start + 1, steps + 1):
        weights = 0.9 * weights + rng.standard_normal(5)
        checkpoints.save(step, {"weights": weights}, {"generator": rng.bit_generator.state})
        if step == stop:
            return None
    return weights


@pytest.mark.parametrize("stop", range(1, 11))
def test_resume_is_bit_equal(tmp_path, stop):
    """R9: stopping after any of 10 steps and continuing gives the bits of the uninterrupted run."""
    straight = walk(Checkpoints(tmp_path / "straight"), 10)
    walk(Checkpoints(tmp_path / "broken"), 10, stop)
    resumed = walk(Checkpoints(tmp_path / "broken"), 10)
    if stop == 10:
        found = Checkpoints(tmp_path / "broken").load_latest()
        assert found is not None
        resumed = found.arrays["weights"]
    assert straight.tobytes() == resumed.tobytes()


def test_files_of_release_0_1_stay_readable():
    """R17."""
    found = read_checkpoint(Path(__file__).parent / "old_files" / "checkpoint-0.1.safetensors")
    assert (found.step, found.state) == (3, STATE)
    assert json.dumps(found.state)
    same(found.arrays, some_arrays())
