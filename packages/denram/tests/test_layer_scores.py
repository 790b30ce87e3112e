"""The delay layer as a function of JAX: equal to the network, under every transformation and setting of JAX."""

import os
import subprocess
import sys
from functools import partial

import denram
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram.data.binning import Samples
from denram.engines import native, operations
from denram.layer import Spikes, scores
from denram.rules.noise_aware import Learner, train_pass
from jax import export
from reprokit import UserError

SPEC = denram.NetworkSpec(n_in=9, n_delays=2, n_out=4, steps_in=24, max_delay=11, r_mu=25e9, weight_scale=1.0)
RNG = np.random.default_rng(3)
DRAWN = [denram.initialise(SPEC, seed) for seed in range(3)]
DENSE = (RNG.random((4, 5, SPEC.steps_in, SPEC.n_in)) < 0.15).astype(np.uint8)  # four batches of five samples
DENSE[0, 2] = 0
DENSE[0, 0, 5:10] = (
    1  # the liveliest sample is in the first batch, whose rows alone are as long as those of all
)
SPIKES = Spikes.from_dense(DENSE.reshape(20, SPEC.steps_in, SPEC.n_in))
BATCHES = jax.tree.map(lambda leaf: leaf.reshape(4, 5, -1), SPIKES)
BATCH = SPIKES[:5]
LABELS = np.arange(5) % SPEC.n_out
LAGS = np.stack([drawn.delays.astype(np.int32) for drawn in DRAWN])
WEIGHTS = np.stack([RNG.normal(size=drawn.weights.shape).astype(np.float32) for drawn in DRAWN])
ENGINES = [
    pytest.param(
        "events",
        marks=pytest.mark.skipif(not operations.registered(), reason="XLA has no compiled engine here"),
    ),
    "fft",
]


def equal(ours, theirs):
    """The same bits of the compiled engine, whatever else is in the batch; transforms of JAX round otherwise."""
    if operations.registered():
        return np.array_equal(ours, theirs)
    return np.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def of(engine="auto", **changed):
    """The layer of `SPEC` with an engine."""
    return partial(scores, **{"max_delay": SPEC.max_delay, "leak": SPEC.leak, "engine": engine} | changed)


def loss(weights, lags, spikes, engine):
    rows = jnp.arange(spikes.starts.shape[0], dtype=jnp.int32)
    labels = jnp.asarray(LABELS[: spikes.starts.shape[0]], jnp.int32)
    return -jnp.mean(jax.nn.log_softmax(of(engine)(weights, lags, spikes))[rows, labels])


def gathered(weights, lags, spikes):
    """Scores by gathering every delayed input at every step, in plain JAX."""
    dense = jnp.pad(spikes.dense().astype(jnp.float32), ((0, 0), (0, SPEC.max_delay), (0, 0)))
    channel = np.repeat(np.arange(SPEC.n_in), SPEC.n_delays)

    def step(potential, t):
        at = t - lags
        delayed = jnp.where(at >= 0, dense[:, jnp.maximum(at, 0), channel], 0)
        current = jnp.einsum("bok,ok->bo", delayed, weights[:, :-1])
        current += jnp.where(t < SPEC.steps_in, weights[:, -1], 0)
        potential = jnp.maximum(0, SPEC.leak * potential + current)
        return potential, potential

    start = jnp.zeros((len(spikes), SPEC.n_out))
    return jnp.max(jax.lax.scan(step, start, jnp.arange(SPEC.steps_in + SPEC.max_delay))[1], axis=0)


UPSTREAM = jnp.asarray(RNG.normal(size=(5, SPEC.n_out)), jnp.float32)


@pytest.fixture(scope="module")
def plain():
    """Scores of the first batch and their gradient by plain JAX."""
    out, pull = jax.vjp(jax.jit(lambda w: gathered(w, LAGS[1], BATCH)), jnp.asarray(WEIGHTS[1]))
    return np.asarray(out), np.asarray(pull(UPSTREAM)[0])


@pytest.mark.parametrize("engine", ENGINES)
def test_scores_and_gradient_equal_plain_jax_and_the_network(engine, plain):
    net, events = denram.DelayNetwork(DRAWN[1].delays, SPEC, engine=engine), BATCH.events()
    assert net.lines.depth == SPEC.max_delay
    function = net.score_function(events)
    out, pull = jax.vjp(jax.jit(lambda w: of(engine)(w, LAGS[1], BATCH)), jnp.asarray(WEIGHTS[1]))
    (ours,) = pull(UPSTREAM)
    np.testing.assert_allclose(out, plain[0], rtol=1e-5, atol=1e-6)
    assert np.max(np.abs(ours - plain[1])) <= 1e-5 * np.max(np.abs(plain[1]))
    # the network's function used in one trace and then in another, and then the network without one
    same = np.array_equal if engine == "events" else partial(np.allclose, atol=1e-5)
    assert same(jax.jit(function)(WEIGHTS[1]), out)
    assert same(jax.jit(jax.grad(lambda w: jnp.sum(UPSTREAM * function(w))))(WEIGHTS[1]), ours)
    assert same(net.loss_and_gradient(WEIGHTS[1], events, LABELS).scores, out)


def test_a_network_made_or_used_first_under_a_trace_keeps_no_tracer():
    net = denram.DelayNetwork(DRAWN[0].delays, SPEC, engine="fft")
    jax.jit(lambda w: w * jnp.sum(net._lags_on_device))(WEIGHTS[0])
    assert not isinstance(net._lags_on_device, jax.core.Tracer)


def test_the_score_function_refuses_other_spikes():
    net = denram.DelayNetwork(DRAWN[0].delays, SPEC)
    for shape in ((2, SPEC.steps_in + 1, SPEC.n_in), (2, SPEC.steps_in, SPEC.n_in - 1)):
        with pytest.raises(UserError, match="this network takes 9 channels and 24 steps"):
            net.score_function(denram.EventBatch.from_dense(np.zeros(shape, np.uint8)))


def test_the_network_says_where_to_go_under_a_trace():
    net, events = denram.DelayNetwork(DRAWN[0].delays, SPEC), BATCH.events()
    with pytest.raises(
        UserError, match=r"weights is traced by JAX.*inside of them use denram\.layer\.scores"
    ):
        jax.jit(lambda w: net.scores(w, events))(WEIGHTS[0])


def test_the_optimiser_steps_inside_of_a_program():
    slopes = jnp.stack([jnp.full((2, 3), value, jnp.float32) for value in (0.5, -1.0, 2.0)])

    def step(carry, slope):
        weights, state = carry
        return denram.update(weights, slope, state, epoch=0, profile="fixed", base_rate=0.1), None

    start = (jnp.ones((2, 3), jnp.float32), denram.initial_state(np.ones((2, 3))))
    one_by_one = start
    for slope in slopes:
        one_by_one = step(one_by_one, slope)[0]
    scanned = jax.jit(lambda carry: jax.lax.scan(step, carry, slopes)[0])(start)
    assert int(scanned[1].count) == 3
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), scanned, one_by_one)


def composed(engine):
    """Everything that JAX does with a function, on the same numbers: by name, arrays."""
    found = {}
    gradient = jax.jit(jax.value_and_grad(partial(loss, engine=engine)))
    found["value"], found["gradient"] = gradient(WEIGHTS[0], LAGS[0], BATCH)
    again = jax.jit(lambda w, s: gradient(w, LAGS[0], s)[0] * 2)
    found["two jits"] = again(WEIGHTS[0], BATCH) / 2
    found["seeds"] = jax.jit(jax.vmap(of(engine), (0, 0, None)))(WEIGHTS, LAGS, BATCH)
    found["seeds gradient"] = jax.jit(jax.vmap(jax.grad(partial(loss, engine=engine)), (0, 0, None)))(
        WEIGHTS, LAGS, BATCH
    )
    found["samples"] = jax.jit(jax.vmap(of(engine), (None, None, 0)))(WEIGHTS[0], LAGS[0], BATCH)
    found["batches and seeds"] = jax.jit(
        jax.vmap(jax.vmap(of(engine), (0, 0, None)), (None, None, 0))
    )(WEIGHTS, LAGS, BATCHES)  # fmt: skip

    def train(weights, batch):
        value, slope = jax.value_and_grad(loss)(weights, LAGS[0], batch, engine)
        return weights - jnp.float32(0.1) * slope, value

    found["trained"], found["losses"] = jax.jit(lambda w: jax.lax.scan(train, w, BATCHES))(WEIGHTS[0])
    assert {str(np.asarray(array).dtype) for array in found.values()} == {"float32"}
    return {name: np.asarray(array) for name, array in found.items()}


@pytest.fixture(scope="module")
def usual():
    return composed("auto")


def test_transformations_compute_what_loops_compute(usual):
    layer = jax.jit(of())
    assert equal(usual["two jits"], usual["value"])
    for seed in range(3):
        assert equal(usual["seeds"][seed], layer(WEIGHTS[seed], LAGS[seed], BATCH))
        for batch in range(4):
            alone = layer(WEIGHTS[seed], LAGS[seed], BATCHES[batch])
            np.testing.assert_allclose(usual["batches and seeds"][batch, seed], alone, atol=1e-5)
    np.testing.assert_allclose(usual["samples"], usual["seeds"][0], atol=1e-5)
    np.testing.assert_allclose(usual["seeds gradient"][0], usual["gradient"], atol=1e-5)
    np.testing.assert_allclose(layer(WEIGHTS[0], LAGS[0], BATCH[1]), usual["seeds"][0, 1], atol=1e-5)
    assert usual["losses"][0] == pytest.approx(float(usual["value"]), rel=1e-5)
    assert usual["losses"][-1] != usual["losses"][0]


@pytest.mark.parametrize(
    "settings",
    [
        {"jax_enable_x64": True, "jax_numpy_dtype_promotion": "strict"},
        {"jax_default_prng_impl": "rbg", "jax_threefry_partitionable": False},
    ],
    ids=lambda settings: " ".join(f"{name[4:]}={value}" for name, value in settings.items()),
)
def test_settings_of_jax_change_no_bit(usual, settings):
    before = {name: getattr(jax.config, name) for name in settings}
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        found = composed("auto")
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    assert {name for name in usual if not np.array_equal(usual[name], found[name])} == set()


def test_batches_of_one_shape_are_compiled_once():
    step = jax.jit(jax.value_and_grad(partial(loss, engine="auto")))
    before = operations.scores._cache_size()
    values = {float(step(WEIGHTS[0], LAGS[0], SPIKES[first : first + 5])[0]) for first in (0, 5, 10)}
    values |= {float(step(WEIGHTS[1], LAGS[1], BATCH)[0])}
    assert len(values) == 4
    assert step._cache_size() == 1
    eager = [of()(WEIGHTS[0], LAGS[0], BATCHES[number]) for number in range(4)]
    assert len({float(jnp.sum(found)) for found in eager}) == 4
    assert operations.scores._cache_size() <= before + 1


def test_a_loop_with_the_layer_trains_as_the_command_does():
    labels = np.tile(LABELS, 4)
    net = denram.DelayNetwork(DRAWN[1].delays, SPEC)
    start = (jnp.asarray(DRAWN[1].weights), denram.initial_state(DRAWN[1].weights))
    trained, result = train_pass(
        net,
        Learner(*start, DRAWN[1].key),
        Samples(SPIKES.events(), labels, None),
        np.arange(20).reshape(4, 5),
        epoch=0,
        noise_std=0.0,
        base_rate=1e-3,
    )

    def step(carry, batch):
        weights, adam = carry
        value, slope = jax.value_and_grad(loss)(weights, LAGS[1], batch, "auto")
        return denram.update(weights, slope, adam, epoch=0, profile="fixed", base_rate=1e-3), value

    (weights, adam), losses = jax.jit(lambda carry: jax.lax.scan(step, carry, BATCHES))(start)
    np.testing.assert_allclose(weights, trained.weights, atol=1e-6)
    assert int(adam.count) == trained.adam.count == 4
    assert float(jnp.mean(losses)) == pytest.approx(result.loss, rel=1e-5)


TWO_DEVICES = """
from functools import partial
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
import denram
from denram.layer import Spikes, scores
from denram.rules.noise_aware import Learner, train_pass

assert jax.device_count() == 2
if jax.__version_info__ >= (0, 7):
    shard_map = jax.shard_map
else:  # as it was: it knows no rule for foreign operations, or for loops, unless it is told not to look
    from jax.experimental.shard_map import shard_map
    shard_map = partial(shard_map, check_rep=False)
spec = denram.NetworkSpec(n_in=9, n_delays=2, n_out=4, steps_in=24, max_delay=11, r_mu=25e9, weight_scale=1.0)
drawn, rng = denram.initialise(spec, 0), np.random.default_rng(0)
weights, lags = jnp.asarray(drawn.weights), jnp.asarray(drawn.delays, jnp.int32)
spikes = Spikes.from_dense((rng.random((6, 24, 9)) < 0.2).astype(np.uint8))
upstream = jnp.asarray(rng.normal(size=(6, 4)), jnp.float32)
mesh = Mesh(np.array(jax.devices()), ("batch",))
cut = jax.device_put(spikes, NamedSharding(mesh, P("batch")))

def layer(w, s, engine="auto"):
    return scores(w, lags, s, max_delay=11, leak=spec.leak, engine=engine)

def split(w, s, engine="auto"):
    part = partial(layer, engine=engine)
    return shard_map(part, mesh=mesh, in_specs=(P(), P("batch")), out_specs=P("batch"))(w, s)

def both(function):
    return jax.jit(jax.value_and_grad(lambda w, s: jnp.sum(upstream * function(w, s))))

wanted = np.asarray(layer(weights, spikes))
one, one_gradient = both(layer)(weights, spikes)
for function, given in ((layer, cut), (split, cut), (partial(split, engine="fft"), spikes)):
    np.testing.assert_allclose(np.asarray(jax.jit(function)(weights, given)), wanted, rtol=1e-5, atol=1e-6)
    value, gradient = both(function)(weights, given)
    assert abs(value - one) < 1e-5
    np.testing.assert_allclose(np.asarray(gradient), np.asarray(one_gradient), atol=1e-5)
out = jax.jit(split)(weights, cut)
assert len(out.addressable_shards) == 2 and out.addressable_shards[0].data.shape == (3, 4)
print("equal")
"""


@pytest.mark.slow
def test_a_batch_over_two_devices_equals_one():
    settings = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "equal\n", done.stderr


@pytest.mark.parametrize("missing", ["library", "operations"])
def test_without_the_compiled_engine_the_fft_engine_computes(monkeypatch, missing):
    if missing == "library":
        monkeypatch.setattr(native, "available", lambda: False)
    else:
        monkeypatch.setattr(native, "operations", lambda: None)
        monkeypatch.setattr(native, "require_library", lambda: None)
        monkeypatch.setattr(native, "available", lambda: True)
    operations.registered.cache_clear()
    try:
        assert operations.engines("auto") == ("fft",)
        if missing == "operations":
            with pytest.raises(UserError, match="built without XLA's headers or for a newer jaxlib"):
                of("events")(WEIGHTS[0], LAGS[0], BATCH)
    finally:
        operations.registered.cache_clear()


def test_on_accelerators_the_program_of_the_device_is_chosen(monkeypatch):
    """As where a GPU is JAX's default: both engines are in the function, XLA takes the one of its platform."""
    if not operations.registered():
        pytest.skip("XLA has no compiled engine here")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    if jax.__version_info__ < (0, 6):
        assert operations.engines("auto") == ("fft",)
        return
    assert operations.engines("auto") == ("events", "fft")
    step = jax.jit(lambda w: jax.vjp(of(threads=3), w, LAGS[0], BATCH)[1](jnp.ones((5, 4)))[0])
    lowered = step.lower(WEIGHTS[0])
    assert "denram_forward" in lowered.as_text()
    assert np.array_equal(
        step(WEIGHTS[0]), jax.vjp(of("events"), WEIGHTS[0], LAGS[0], BATCH)[1](jnp.ones((5, 4)))[0]
    )
    wide = export.export(step, platforms=["cuda"])(WEIGHTS[0]).mlir_module()
    assert "denram_forward" not in wide
    assert "fft" in wide


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("wrong", ["lag beyond", "lag below", "step beyond", "starts beyond", "starts fall"])
def test_what_is_traced_and_wrong_gives_an_error_or_nan(engine, wrong):
    lags, steps, starts = LAGS[0].copy(), BATCH.steps.copy(), BATCH.starts.copy()
    if wrong.startswith("lag"):
        lags[1, 3] = 12 if wrong == "lag beyond" else -1
    elif wrong == "step beyond":
        steps[1, starts[1, -1] - 1] = SPEC.steps_in
    else:
        starts[1, -1 if wrong == "starts beyond" else 3] = (
            BATCH.capacity + 1 if wrong == "starts beyond" else -2
        )
    run = JITTED[engine]
    if engine == "events":
        with pytest.raises(Exception, match="denram: spikes or lags lead outside of the network"):
            jax.block_until_ready(run(WEIGHTS[0], lags, Spikes(steps, starts, SPEC.steps_in)))
    else:
        out = np.asarray(run(WEIGHTS[0], lags, Spikes(steps, starts, SPEC.steps_in)))
        assert np.isnan(out[1]).all()
        assert np.isnan(out[0]).all() == wrong.startswith("lag")


JITTED = {engine: jax.jit(of(engine)) for engine in ("events", "fft")}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: of()(WEIGHTS[0].astype(np.float64), LAGS[0], BATCH), "weights is float64"),
        (lambda: of()(WEIGHTS[0][:, 1:], LAGS[0], BATCH), "weights has shape"),
        (lambda: of()(WEIGHTS[0][:3], LAGS[0], BATCH), "weights has shape"),
        (lambda: of()(WEIGHTS[0], DRAWN[0].delays, BATCH), "lags is float32"),
        (lambda: of()(WEIGHTS[0], LAGS[0] + 5, BATCH), "with max_delay 11 delays lie between 0 and 11"),
        (lambda: of()(WEIGHTS[0], LAGS[0] - 99, BATCH), "lags holds -"),
        (lambda: of()(WEIGHTS[0], LAGS[0], DENSE[0]), "spikes is ndarray"),
        (lambda: of()(WEIGHTS[0], LAGS[0], BATCHES), "a batch or a single sample"),
        (lambda: of()(WEIGHTS[0], LAGS[0], Spikes(BATCH.steps, BATCH.starts.astype(np.int64), 24)), "uint16 and int32"),
        (lambda: of(leak=1.5)(WEIGHTS[0], LAGS[0], BATCH), "leak is 1.5"),
        (lambda: of(max_delay=-1)(WEIGHTS[0], LAGS[0], BATCH), "max_delay is -1"),
        (lambda: of(threads=0)(WEIGHTS[0], LAGS[0], BATCH), "threads is 0"),
        (lambda: of("gpu")(WEIGHTS[0], LAGS[0], BATCH), "engine is 'gpu'"),
        (lambda: jax.jit(lambda a: of(leak=a)(WEIGHTS[0], LAGS[0], BATCH))(0.5), "known when JAX compiles"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(UserError, match=message):
        call()
