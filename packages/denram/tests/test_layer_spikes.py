"""Spikes as a pytree: the conversion is reversible, shapes stay, and the message names what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram import EventBatch
from denram.layer import Spikes
from reprokit import UserError

RNG = np.random.default_rng(0)
DENSE = (RNG.random((4, 30, 7)) < 0.2).astype(np.uint8)
DENSE[2] = 0  # a silent sample
SPIKES = Spikes.from_dense(DENSE)


def same(one: Spikes, other: Spikes) -> bool:
    """Equal up to padding."""
    return one.steps_in == other.steps_in and np.array_equal(one.events().dense(), other.events().dense())


def test_dense_there_and_back():
    np.testing.assert_array_equal(SPIKES.dense(), DENSE)
    np.testing.assert_array_equal(SPIKES[1].dense(), DENSE[1])
    assert same(Spikes.from_dense(DENSE[1]), SPIKES[1])
    assert (len(SPIKES), SPIKES.n_in, SPIKES.steps_in) == (4, 7, 30)
    assert SPIKES.steps.dtype == np.uint16
    assert SPIKES.starts.dtype == np.int32
    assert SPIKES.capacity == DENSE.sum(axis=(1, 2)).max()


def test_event_batches_there_and_back():
    events = EventBatch.from_dense(DENSE)
    shuffled = events.take(np.array([3, 0, 2]))
    spikes = Spikes.from_events(shuffled, capacity=100)
    assert spikes.capacity == 100
    np.testing.assert_array_equal(spikes.events().dense(), DENSE[[3, 0, 2]].transpose(1, 0, 2))


def test_times_and_structured_arrays_there_and_back():
    pairs = SPIKES.times(0.005)
    assert all(np.all(np.diff(when) >= 0) for when, _ in pairs)
    when, who = zip(*pairs, strict=True)
    assert same(Spikes.from_times([t + 0.002 for t in when], who, n_in=7, steps_in=30, dt=0.005), SPIKES)
    arrays = SPIKES.structured(5000)
    assert arrays[0].dtype.names == ("t", "x", "p")
    assert same(Spikes.from_structured([a[::-1] for a in arrays], n_in=7, steps_in=30, dt=5000), SPIKES)
    twice = Spikes.from_times([np.array([1.0, 1.5])], [np.array([0, 0])], n_in=1, steps_in=2, dt=1.0)
    np.testing.assert_array_equal(twice.events().dense()[:, 0], [[0], [1]])


def test_late_spikes_are_refused_or_dropped():
    late = ([np.array([0.01, 0.2])], [np.array([1, 1])])
    with pytest.raises(UserError, match=r"end at 0\.15; give dt in the unit of the times"):
        Spikes.from_times(*late, n_in=2, steps_in=30, dt=0.005)
    kept = Spikes.from_times(*late, n_in=2, steps_in=30, dt=0.005, drop_late=True)
    assert kept.events().n_events == 1


def test_spikes_are_a_pytree():
    leaves, tree = jax.tree.flatten(SPIKES)
    assert [leaf.shape[0] for leaf in leaves] == [4, 4]
    assert jax.tree.unflatten(tree, leaves).steps_in == 30
    jitted = jax.jit(lambda s, i: s[i].dense())
    assert np.array_equal(jitted(SPIKES, 1), DENSE[1])
    assert np.array_equal(jitted(SPIKES[np.array([2, 1, 0, 3])], 2), DENSE[0])
    assert jitted._cache_size() == 1
    counts = jax.vmap(lambda s: s.starts[-1])(SPIKES)
    np.testing.assert_array_equal(counts, DENSE.sum(axis=(1, 2)))
    assert Spikes(jnp.zeros((1, 1), jnp.uint16), jnp.zeros((1, 8), jnp.int32), 3)[jnp.array([0])].n_in == 7


def test_dense_spikes_become_events_under_jit():
    pack = jax.jit(lambda x: Spikes.from_dense(x, capacity=60))
    packed = pack(DENSE.astype(np.float32))
    assert packed.steps.dtype == np.uint16
    assert same(packed, SPIKES)
    with pytest.raises(UserError, match="there is room for 3"):
        jax.jit(lambda x: Spikes.from_dense(x, capacity=3))(DENSE[0]).events()
    with pytest.raises(UserError, match="capacity is missing"):
        jax.jit(Spikes.from_dense)(DENSE)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Spikes.from_dense(DENSE[0, 0]), "spikes has shape"),
        (lambda: Spikes.from_dense(DENSE * 2), "other than 0 and 1"),
        (lambda: Spikes.from_dense(DENSE, capacity=3), "capacity is 3, but a sample has"),
        (lambda: Spikes.from_dense(DENSE, capacity=0), "capacity is 0"),
        (lambda: Spikes.from_times([[0.0]], [], n_in=1, steps_in=2, dt=1.0), "times of 1 samples and units of 0"),
        (lambda: Spikes.from_times([[0.0]], [[1, 2]], n_in=3, steps_in=2, dt=1.0), "sample 0 has times"),
        (lambda: Spikes.from_times([[0.0]], [[0.5]], n_in=3, steps_in=2, dt=1.0), "units is float64"),
        (lambda: Spikes.from_times([[-1.0]], [[0]], n_in=3, steps_in=2, dt=1.0), "negative or not a number"),
        (lambda: Spikes.from_times([[np.nan]], [[0]], n_in=3, steps_in=2, dt=1.0), "negative or not a number"),
        (lambda: Spikes.from_times([[0.0]], [[7]], n_in=3, steps_in=2, dt=1.0), "channel 7"),
        (lambda: Spikes.from_times([[0.0]], [[0]], n_in=3, steps_in=2, dt=0.0), "dt is 0.0"),
        (lambda: Spikes.from_structured([np.zeros(3)], n_in=3, steps_in=2, dt=1.0), "sample 0 has fields"),
        (
            lambda: Spikes.from_structured(
                [np.array([(0, 0, 0), (0, 0, 1)], [("t", "i8"), ("x", "i8"), ("p", "i8")])],
                n_in=3, steps_in=2, dt=1.0,
            ),
            "field 'p' holds 2 different values",
        ),
        (lambda: len(SPIKES[0]), "single sample"),
        (lambda: SPIKES[0][0], "single sample"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
