"""Delays, initial state, noise, spikes as events, random streams and the optimiser, each against its formula."""

import inspect

import denram
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from denram import randomness as random_streams
from denram.layer import neurons
from denram.model import delays, neuron, parameters
from denram.model.readout import loss_of_scores, probabilities, sample_losses
from denram.rules import adam
from denram.spec import Binning
from hypothesis import given, settings
from hypothesis import strategies as st
from reprokit import UserError


def test_delays_have_the_published_mean():
    """99.15 steps for 256 channels and seed 42 is what the original prints."""
    parameters = denram.initialise(denram.PRESETS["D2"], 42)
    assert f"{parameters.delays.mean(dtype=np.float64):.2f}" == "99.15"
    assert parameters.delays.max() == 200


def test_a_machine_with_a_gpu_draws_networks_on_its_cpu(monkeypatch):
    cpu, seen = jax.devices("cpu")[0], []
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    real = random_streams.draw_normals

    def watched(*arguments):
        seen.append(jax.config.jax_default_device)
        return real(*arguments)

    for module in (delays, parameters):
        monkeypatch.setattr(module, "draw_normals", watched)
    denram.initialise(denram.NetworkSpec(n_in=4), 0)
    assert seen == [cpu] * 3  # weights, delays, bias

    def missing(backend):
        raise RuntimeError(backend)

    monkeypatch.setattr(jax, "local_devices", missing)
    seen.clear()
    denram.initialise(denram.NetworkSpec(n_in=4), 0)
    assert seen == [None] * 3


def test_resistances_are_log_normal_with_the_given_mean():
    spec = denram.NetworkSpec(r_mu=3e9, r_std=0.4)
    ohm = delays.resistances(np.random.default_rng(0).normal(size=(100, 1000)).astype(np.float32), spec)
    assert abs(ohm.mean(dtype=np.float64) / 3e9 - 1) < 0.01
    assert abs(np.log(ohm.astype(np.float64)).std() - 0.4) < 0.01


def test_delays_are_rounded_half_to_even_and_clipped():
    spec = denram.NetworkSpec(dt=1.0, max_delay=4)
    assert delays.steps_from_times(np.array([[0.5, 1.5, 2.5, 9.0]]), spec).tolist() == [[0, 2, 2, 4]]


def test_uniform_and_pattern_delays():
    uniform = denram.initialise(denram.NetworkSpec(n_in=40, max_delay=5, distribution="uniform"), 0).delays
    assert set(np.unique(uniform)) == {0, 1, 2, 3, 4, 5}
    spec = denram.NetworkSpec(n_in=3, n_delays=4, n_out=2, max_delay=8, distribution="pattern")
    assert denram.initialise(spec, 0).delays.tolist() == [[0, 2, 4, 6] * 3] * 2


@pytest.mark.parametrize(
    "settings",
    [
        {"n_in": 0}, {"n_delays": 0}, {"n_out": -1}, {"steps_in": 1.5}, {"dt": 0.0}, {"tau_mem": float("nan")},
        {"r_std": -1}, {"max_delay": -1}, {"distribution": "gamma"}, {"profile": "better"}, {"weight_scale": 0},
    ],
)  # fmt: skip
def test_impossible_networks_are_refused(settings):
    with pytest.raises(UserError, match=next(iter(settings))):
        denram.NetworkSpec(**settings)


def test_noise_spares_zeros_and_scales_with_the_largest_weight():
    weights = np.array([[0.0, 1.0, -4.0]], np.float32)
    noisy = denram.noisy_weights(weights, np.ones((1, 3), np.float32), 0.25)
    assert noisy.tolist() == [[0, 2, -3]]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_events_hold_what_the_dense_array_holds(data):
    shape = data.draw(st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 5)))
    bits = data.draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    dense = np.array(bits, np.uint8).reshape(shape)
    events = denram.EventBatch.from_dense(dense)
    np.testing.assert_array_equal(events.dense().transpose(1, 0, 2), dense)
    assert events.n_events == dense.sum()
    order = np.array(data.draw(st.permutations(range(shape[0]))), int)
    np.testing.assert_array_equal(events.take(order).dense().transpose(1, 0, 2), dense[order])


def test_spikes_out_of_range_are_refused():
    one = np.array([0])
    with pytest.raises(UserError, match="step 7"):
        denram.EventBatch.from_coordinates(one, np.array([7]), one, n_samples=1, steps_in=7, n_in=1)


@pytest.mark.parametrize(
    ("steps", "starts", "message"),
    [
        (np.zeros(2, np.int64), np.zeros((1, 2), np.int64), "steps is int64"),
        (np.zeros(2, np.uint16), np.zeros((1, 2), np.int32), "starts is int32"),
        (np.full(2, 9, np.uint16), np.zeros((1, 2), np.int64), "step 9"),
        (np.zeros(2, np.uint16), np.array([[0, 3]]), "within 0 and the 2 spikes"),
        (np.zeros(2, np.uint16), np.array([[2, 1]]), "must rise"),
    ],
)
def test_events_that_point_nowhere_are_refused(steps, starts, message):
    with pytest.raises(UserError, match=message):
        denram.EventBatch(steps, starts, 5)


@pytest.mark.parametrize("seed", [0, 9, 42, 2**31 - 1])
@pytest.mark.parametrize("count", [5, 65, 1632])
def test_torch_orders_without_torch(seed, count):
    torch = pytest.importorskip("torch")
    torch.manual_seed(seed)
    data = torch.utils.data.TensorDataset(torch.arange(count))
    parts = torch.utils.data.random_split(data, [count - count // 5, count // 5])
    shuffled = torch.utils.data.DataLoader(parts[0], batch_size=8, shuffle=True)
    fixed = torch.utils.data.DataLoader(data, batch_size=8, shuffle=False)
    ours = denram.TorchGenerator(seed)
    split = ours.split((count - count // 5, count // 5))
    for part, indices in zip(parts, split, strict=True):
        assert indices.tolist() == list(part.indices)
    for _ in range(2):
        theirs = [int(i) for (batch,) in shuffled for i in batch]
        assert split[0][ours.shuffled_order(len(split[0]))].tolist() == theirs
        list(fixed)
        ours.sequential_pass()


def test_generator_state_goes_through_a_checkpoint():
    generator = denram.TorchGenerator(3)
    generator.permutation(700)
    again = denram.TorchGenerator(0)
    again.state = generator.state
    assert again.permutation(50).tolist() == generator.permutation(50).tolist()


def test_noise_stream_goes_on_from_its_key():
    key = random_streams.initial_key(1)
    key, first = denram.next_normals(key, (2, 3))
    _, second = denram.next_normals(key, (2, 3))
    assert not np.array_equal(first, second)
    _, again = denram.next_normals(np.asarray(key).copy(), (2, 3))
    np.testing.assert_array_equal(second, again)


def test_the_stream_moves_on_by_one_key_with_and_without_noise():
    weights, key = np.ones((2, 3), np.float32), random_streams.initial_key(5)
    (still, quiet), (moved, loud) = (
        denram.rules.noise_aware.perturbed(weights, key, std) for std in (0, 0.1)
    )
    assert np.array_equal(still, weights)
    assert not np.array_equal(moved, weights)
    assert np.array_equal(quiet, random_streams.split_key(key)[0])
    assert np.array_equal(loud, quiet)


def test_fixed_adam_is_optax_adam():
    weights = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
    optimizer = optax.adam(2e-4)
    theirs, theirs_state = weights, optimizer.init(weights)
    ours, state = weights, denram.initial_state(weights)
    for step in range(5):
        gradient = np.cos(weights * (step + 1)).astype(np.float32)
        change, theirs_state = optimizer.update(gradient, theirs_state)
        theirs = optax.apply_updates(theirs, change)
        ours, state = denram.update(ours, gradient, state, epoch=0, profile="fixed")
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    assert state.count == 5


def test_faithful_adam_counts_epochs():
    """DEV-3: the second update of epoch 0 is corrected as if it were the first."""
    weights = np.zeros((1, 2), np.float32)
    gradient = np.array([[1.0, -2.0]], np.float32)
    state = denram.initial_state(weights)
    for _ in range(2):
        previous, (weights, state) = (
            weights,
            denram.update(weights, gradient, state, epoch=0, profile="faithful"),
        )
    first, second = 0.19 * gradient, 0.001999 * gradient**2
    expected = previous - 2e-4 * (first / 0.1) / (np.sqrt(second / 0.001) + 1e-8)
    np.testing.assert_allclose(weights, expected, rtol=1e-5)


def test_learning_rate_falls_twice():
    rates = [denram.learning_rate(epoch, 1.0) for epoch in (0, 33, 34, 66, 67, 99)]
    assert rates == [1, 1, 0.2, 0.2, 0.05, 0.05]
    with pytest.raises(UserError, match="epoch is -1"):
        denram.learning_rate(-1)
    for base in (0.0, -0.5, np.inf, np.nan):
        with pytest.raises(UserError, match="it must be a positive number"):
            denram.learning_rate(0, base)


def test_negative_and_broken_delays_are_refused():
    spec = denram.NetworkSpec(n_in=2, n_delays=1, n_out=1, max_delay=5)
    for value in (-1, -0.5, -1e-9, 0.5, np.nan, np.inf, -np.inf):
        with pytest.raises(UserError, match="delays holds a value other than 0, 1, 2"):
            delays.effective_lags(np.array([[1.0, value]]), spec)
    for wrong in (np.zeros((2, 1)), np.zeros(2), np.zeros((1, 3))):
        with pytest.raises(UserError, match=r"needed is \(n_out, n_in \* n_delays\) = \(1, 2\)"):
            delays.effective_lags(wrong, spec)
    assert delays.effective_lags(np.array([[-0.0, 5.0]]), spec).tolist() == [[0, 5]]
    assert delays.steps_from_times(np.array([[-1.0, -1e-3, 0.0024, 0.0026, 9.0]]), spec).tolist() == [
        [0, 0, 0, 1, 5]
    ]


def test_exact_ties_share_and_near_ties_do_not():
    """`tolerance` 0 is the original's rule: only potentials that are equal bit for bit share the gradient."""
    just_below = np.nextafter(np.float32(1), np.float32(0))
    for second, tolerance, shares in (
        (np.float32(1), 0.0, [0.5, 0.5]),
        (just_below, 0.0, [1.0, 0.0]),
        (just_below, 5e-7, [0.5, 0.5]),
    ):
        potential = np.array([1, 0, second], np.float32).reshape(3, 1, 1)
        currents = np.array([1, -9, second], np.float32).reshape(3, 1, 1)
        found = np.asarray(neuron.current_gradient(currents, potential, 0.5, tolerance=tolerance)).ravel()
        assert found[[0, 2]].tolist() == shares
        assert found[1] == 0
    default = neuron.current_gradient(currents, potential, 0.5)
    assert np.asarray(default).ravel().tolist() == [1, 0, 0]


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
@pytest.mark.parametrize("size", [1e-8, 3e-8, 1e-9])
def test_epsilon_of_adam_shows_where_gradients_are_as_small(profile, size):
    """First step: m / (1 - b1) = g and v / (1 - b2) = g^2, so W changes by rate * g / (|g| + 1e-8)."""
    weights = np.zeros(2, np.float32)
    gradient = np.array([size, -size], np.float32)
    moved, _ = denram.update(
        weights, gradient, denram.initial_state(weights), epoch=0, profile=profile, base_rate=1e-3
    )
    expected = 1e-3 * size / (size + 1e-8)
    np.testing.assert_allclose(moved, [-expected, expected], rtol=1e-4)


def test_noisy_weights_keep_array_type_and_dtype():
    weights = np.array([[0.0, 1.0, -2.0]], np.float32)
    for epsilon in (np.ones((1, 3)), np.ones((1, 3), np.float32), jnp.ones((1, 3), jnp.float32)):
        plain = denram.noisy_weights(weights, epsilon, 0.1)
        assert type(plain) is np.ndarray
        traced = denram.noisy_weights(jnp.asarray(weights), epsilon, 0.1)
        assert isinstance(traced, jax.Array)
        for found in (plain, traced):
            assert found.dtype == np.float32
            np.testing.assert_allclose(found, [[0.0, 1.2, -1.8]], rtol=1e-6)


SMALL = denram.NetworkSpec(n_in=2, n_delays=1, n_out=3, steps_in=4, max_delay=2)
ZEROS = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        ("A label is -1", lambda: denram.loss_and_accuracy(ZEROS, np.array([0, -1]), SMALL)),
        ("A label is 3", lambda: denram.loss_and_accuracy(ZEROS, np.array([0, 3]), SMALL)),
        ("labels is float64", lambda: denram.loss_and_accuracy(ZEROS, np.array([0.0, 1.0]), SMALL)),
        ("labels has shape", lambda: denram.loss_and_accuracy(ZEROS, np.array([0]), SMALL)),
        ("scores has shape", lambda: denram.loss_and_accuracy(ZEROS[:, :2], np.array([0, 1]), SMALL)),
        ("batch is empty", lambda: denram.loss_and_accuracy(ZEROS[:0], np.array([], int), SMALL)),
        (
            "they must be equal",
            lambda: denram.update(ZEROS, ZEROS[0], denram.initial_state(ZEROS), epoch=0, profile="fixed"),
        ),
        (
            "they must be equal",
            lambda: denram.update(ZEROS, ZEROS, denram.initial_state(ZEROS[0]), epoch=0, profile="fixed"),
        ),
        ("learning rate is nan", lambda: denram.learning_rate(0, float("nan"))),
        ("learning rate is -1", lambda: denram.learning_rate(40, -1)),
        ("threads is 1.5", lambda: denram.DelayNetwork(np.zeros((3, 2)), SMALL, threads=1.5)),
        ("threads is True", lambda: denram.DelayNetwork(np.zeros((3, 2)), SMALL, threads=True)),
        ("n_in is 2.5; it must be a whole number", lambda: denram.TrainConfig(n_in=2.5)),
        ("batch_size is True", lambda: denram.TrainConfig(batch_size=True)),
        ("n_in is 2.5", lambda: Binning(n_in=2.5)),
        ("n_delays is 1.0", lambda: denram.NetworkSpec(n_delays=1.0)),
        ("r_std is nan", lambda: denram.NetworkSpec(r_std=float("nan"))),
    ],
    ids=str,
)
def test_nonsense_is_one_sentence(words, call):
    with pytest.raises(UserError, match=words):
        call()


def test_numbers_of_numpy_count_as_numbers():
    spec = denram.NetworkSpec(n_in=np.int64(2), n_delays=1, n_out=3, steps_in=4, max_delay=2)
    assert denram.DelayNetwork(np.zeros((3, 2)), spec, threads=np.int32(2)).threads == 2
    assert denram.TrainConfig(n_in=np.int64(64)).n_in == 64
    assert Binning(n_in=np.uint8(5)).n_in == 5


def defaults(callable_):
    """Arguments that have a default other than None."""
    parameters = inspect.signature(callable_).parameters.values()
    return {p.name: p.default for p in parameters if p.default not in (inspect.Parameter.empty, None)}


def test_defaults_are_the_originals_or_the_documented_ones():
    assert defaults(adam.learning_rate) == {"base": 2e-4}
    assert defaults(adam.update) == {"base_rate": 2e-4}
    assert (adam.B1, adam.B2, adam.EPSILON) == (0.9, 0.999, 1e-8)
    assert defaults(neuron.current_gradient) == {"tolerance": 0.0, "parallel": False}
    assert defaults(neuron.membrane) == {"parallel": False}
    assert defaults(neurons.integrate) == {"rectified": False}
    assert defaults(neurons.threshold) == {"level": 1.0, "steepness": 5.0}
    assert defaults(neurons.fires) == {"steepness": 5.0}


@pytest.mark.parametrize("profile", ["fixed", "faithful"])
def test_losses_are_those_of_each_sample_s_scores(profile):
    draw = np.random.default_rng(3)
    scores, labels = draw.normal(size=(5, 3)).astype(np.float32), np.array([0, 2, 1, 1, 0])
    expected = np.log(np.exp(scores).sum(1)) - scores[np.arange(5), labels]
    np.testing.assert_allclose(sample_losses(scores, labels, profile), expected, rtol=1e-5)
    if profile == "fixed":
        scores[2] -= 200  # each sample's own maximum is taken off, or float32 has nothing left of this one
    shares = np.exp(scores.astype(np.float64))
    shares /= shares.sum(1, keepdims=True)
    loss, accuracy, gradient = loss_of_scores(scores, labels, profile)
    assert loss == pytest.approx(expected.mean(), rel=1e-5)
    assert accuracy == np.mean(scores.argmax(1) == labels)
    np.testing.assert_allclose(gradient, (shares - np.eye(3)[labels]) / 5, atol=1e-6)
    np.testing.assert_allclose(probabilities(scores), shares, rtol=1e-5)
