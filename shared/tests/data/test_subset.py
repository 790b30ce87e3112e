import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reprokit import UserError
from reprokit.data.loss import kept_line
from reprokit.data.subset import choose


def test_no_class_vanishes_from_a_sorted_file():
    labels = np.repeat(np.arange(10), 100)
    kept = choose(labels, 200, seed=1)
    assert np.bincount(labels[kept]).tolist() == [20] * 10
    assert np.unique(labels[:200]).tolist() == [0, 1]  # what the first samples would be


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-3, 4), min_size=1, max_size=60), st.data())
def test_shares_are_proportional_and_no_class_is_left_out(labels, data):
    labels = np.array(labels)
    values, sizes = np.unique(labels, return_counts=True)
    count = data.draw(st.integers(len(values), len(labels)))
    kept = choose(labels, count, seed=3)
    assert kept.dtype == np.int64
    assert (np.diff(kept) > 0).all()
    assert len(kept) == count
    shares = np.array([(labels[kept] == value).sum() for value in values])
    assert (shares >= 1).all()
    assert (shares <= sizes).all()
    exact = count * sizes / len(labels)
    if (exact >= 1).all():
        assert (np.abs(shares - exact) < 1).all()


def test_the_seed_alone_decides():
    labels = np.tile(np.arange(4), 50)
    kept = choose(labels, 21, seed=7)
    assert choose(labels.astype(np.uint8), np.int32(21), seed=np.int64(7)).tolist() == kept.tolist()
    assert choose(labels, 21, seed=8).tolist() != kept.tolist()
    assert choose(labels, 200, seed=7).tolist() == list(range(200))
    assert choose([5, 5, 9], 2, seed=0).tolist() in ([0, 2], [1, 2])
    assert np.bincount(labels[kept]).tolist() == [6, 5, 5, 5]  # equal remainders: the lower class first


def test_small_classes_take_from_the_large():
    labels = np.array([0] * 97 + [1, 2, 3])
    assert np.bincount(labels[choose(labels, 10, seed=0)]).tolist() == [7, 1, 1, 1]
    assert np.bincount(labels[choose(labels, 4, seed=0)]).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, r"--train-samples is 2; give 3 \(one of each class\) to 6 \(all that there are\)"),
        (7, "--train-samples is 7; give 3 "),
        (0, "--train-samples is 0; give 3 "),
        (3.0, r"--train-samples is 3\.0; it must be a whole number"),
        (True, "--train-samples is True; it must be a whole number"),
    ],
)
def test_an_impossible_count_is_refused(count, message):
    with pytest.raises(UserError, match=message):
        choose([0, 1, 2] * 2, count, seed=0, option="--train-samples")


def test_labels_and_seeds_that_are_none_are_refused():
    with pytest.raises(UserError, match=r"labels are float64 \(2,\); they must be whole numbers"):
        choose([0.0, 1.0], 2, seed=0)
    with pytest.raises(UserError, match=r"labels are int64 \(1, 2\)"):
        choose([[0, 1]], 2, seed=0)
    with pytest.raises(UserError, match=r"count is 1; give 1 .* to 0"):
        choose(np.zeros(0, int), 1, seed=0)
    with pytest.raises(UserError, match="seed is -1; it must be at least 0"):
        choose([0, 1], 2, seed=-1)
    with pytest.raises(UserError, match="seed is 'a'; it must be a whole number"):
        choose([0, 1], 2, seed="a")


def lost(kept, **more):
    return kept_line(
        "own.npz", "events", kept, 1000, cause="come after 300 ms", remedy="give a longer --duration", **more
    )


def test_what_was_kept_is_said_and_a_large_loss_refused():
    assert lost(1000) == "own.npz: 1000 of 1000 events kept"
    assert lost(950) == "own.npz: 950 of 1000 events kept; 50 come after 300 ms"
    with pytest.raises(
        UserError,
        match=r"^own.npz: 51 of 1000 events come after 300 ms; give a longer --duration, or --allow-loss to use",
    ):
        lost(949)
    with pytest.warns(
        UserWarning, match=r"^own.npz: 900 of 1000 events come after 300 ms; give a longer --duration$"
    ):
        assert lost(100, allow_loss=True) == "own.npz: 100 of 1000 events kept; 900 come after 300 ms"
