"""All engines against a plain step-by-step network differentiated by JAX, and against one another."""

import shutil
import subprocess
import sys
import warnings
from functools import cache

import denram
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram.engines import compiled, fft, native, network
from reprokit import UserError

WAYS = ["fft", "add", "transform"]
LIBRARY = native.LIBRARY
needs_library = pytest.mark.skipif(
    not native.available(), reason="the compiled event engine is not built here"
)


def plain_scores(weights, lags, spikes, bias_steps, leak, steps):
    """Scores by gathering every delayed input at every step; spikes (sample, time, channel)."""
    n_out, taps = lags.shape
    channel = np.repeat(np.arange(spikes.shape[2]), taps // spikes.shape[2])
    padded = jnp.pad(jnp.asarray(spikes, jnp.float32), ((0, 0), (0, steps - spikes.shape[1]), (0, 0)))

    def step(potential, t):
        at = t - lags
        delayed = jnp.where(at >= 0, padded[:, jnp.maximum(at, 0), channel], 0)
        current = jnp.einsum("bok,ok->bo", delayed, weights[:, :-1])
        current += jnp.where(t < bias_steps, weights[:, -1], 0)
        potential = jnp.maximum(0, leak * potential + current)
        return potential, potential

    start = jnp.zeros((len(spikes), n_out))
    return jnp.max(jax.lax.scan(step, start, jnp.arange(steps))[1], axis=0)


def plain_loss(weights, lags, spikes, labels, *constants):
    scores = plain_scores(weights, lags, spikes, *constants)
    logarithm = jax.nn.log_softmax(scores)
    return -jnp.mean(logarithm[np.arange(len(labels)), labels]), scores


_plain = jax.jit(
    jax.value_and_grad(plain_loss, has_aux=True), static_argnums=6
)  # compiled once for equal shapes


def plainly(weights, spikes, labels, net):
    """Loss, scores and gradient by automatic differentiation."""
    constants = net.lines.bias_steps, np.float32(net.spec.leak), net.lines.steps
    (loss, scores), gradient = _plain(
        jnp.asarray(weights), net.lines.lags, jnp.asarray(spikes), jnp.asarray(labels), *constants
    )
    return float(loss), np.asarray(scores), np.asarray(gradient)


def run(way, net, weights, events, labels):
    if way == "fft":
        fft = denram.DelayNetwork(net.given_delays, net.spec, engine="fft")
        return fft.loss_and_gradient(weights, events, labels)
    if not native.available():
        pytest.skip("the compiled event engine is not built here")
    return denram.LossAndGradient(
        *compiled.loss_and_gradient(weights, events, labels, net.lines, net.threads, way)
    )


def make_case(seed=0, density=0.1, n_samples=5, profile="fixed", signed=True, **sizes):
    sizes = {"n_in": 7, "n_delays": 3, "n_out": 4, "steps_in": 30, "max_delay": 12, **sizes}
    spec = denram.NetworkSpec(**sizes, r_mu=25e9, weight_scale=1.0, profile=profile)
    rng = np.random.default_rng(seed)
    parameters = denram.initialise(spec, seed)
    weights = rng.normal(size=parameters.weights.shape).astype(np.float32) if signed else parameters.weights
    spikes = (rng.random((n_samples, spec.steps_in, spec.n_in)) < density).astype(np.uint8)
    net = denram.DelayNetwork(parameters.delays, spec, engine="fft")
    net.given_delays = parameters.delays
    labels = rng.integers(0, spec.n_out, n_samples)
    return net, weights, spikes, labels


CASES = {
    "usual": {},
    "faithful": {"profile": "faithful"},
    "one of each": {"n_in": 1, "n_delays": 1, "n_out": 1, "n_samples": 1, "steps_in": 1, "max_delay": 1},
    "odd sizes": {"n_in": 37, "n_delays": 2, "n_out": 11, "n_samples": 3, "steps_in": 41},
    "no delay": {"max_delay": 0},
    "no spikes": {"density": 0.0},
    "all spikes": {"density": 1.0},
    "bias in the tail": {"bias_in_tail": True},
    "slow membrane": {"tau_mem": 10.0},
    "fast membrane": {"tau_mem": 1e-3},
    "uniform": {"distribution": "uniform"},
    "pattern": {"distribution": "pattern"},
}


@cache
def worked_out_plainly(case):
    """A case with its loss, scores and gradient by automatic differentiation; every engine is compared with them."""
    net, weights, spikes, labels = made = make_case(**CASES[case])
    return made, *plainly(weights, spikes, labels, net)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_equal_automatic_differentiation(case, way):
    (net, weights, spikes, labels), loss, scores, gradient = worked_out_plainly(case)
    result = run(way, net, weights, denram.EventBatch.from_dense(spikes), labels)
    np.testing.assert_allclose(result.scores, scores, rtol=1e-5, atol=2e-6)
    np.testing.assert_allclose(result.loss, loss, rtol=1e-5, atol=1e-6)
    scale = max(float(np.max(np.abs(gradient))), 1e-6)
    assert np.max(np.abs(np.asarray(result.gradient) - gradient)) <= 1e-5 * scale


@pytest.mark.parametrize("way", WAYS)
def test_equal_maxima_share_the_gradient(way):
    """Two channels fire far apart with equal weights; a third pulls the potential to zero between them."""
    spec = denram.NetworkSpec(n_in=3, n_delays=1, n_out=2, steps_in=12, max_delay=4)
    delays = np.array([[1, 2, 0], [0, 3, 1]], np.float32)
    net = denram.DelayNetwork(delays, spec, engine="fft")
    net.given_delays = delays
    spikes = np.zeros((1, 12, 3), np.uint8)
    spikes[0, [1, 8], [0, 1]] = 1
    spikes[0, 5, 2] = 1
    weights = np.array([[0.7, 0.7, -5, 0], [0.3, 0.3, -5, 0]], np.float32)
    labels = np.array([0])
    result = run(way, net, weights, denram.EventBatch.from_dense(spikes), labels)
    gradient = plainly(weights, spikes, labels, net)[2]
    assert gradient[0, 0] == gradient[0, 1] != 0
    np.testing.assert_allclose(result.gradient, gradient, atol=1e-7)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [0.0, -1.0])
def test_outputs_that_never_rise(way, level):
    """Zero weights drive the potential with exactly zero (slope 0.5, all steps tied); negative ones with less."""
    net, weights, spikes, labels = make_case(seed=3)
    weights[1] = level
    result = run(way, net, weights, denram.EventBatch.from_dense(spikes), labels)
    gradient = plainly(weights, spikes, labels, net)[2]
    assert not np.any(np.asarray(result.scores)[:, 1])
    assert np.any(gradient[1]) == (level == 0)
    np.testing.assert_allclose(result.gradient, gradient, atol=1e-6)


@needs_library
@pytest.mark.parametrize("way", ["add", "transform"])
def test_any_number_of_threads_gives_the_same_bits(way):
    net, weights, spikes, labels = make_case(n_in=90, n_out=20, n_samples=37, steps_in=60, max_delay=50)
    events = denram.EventBatch.from_dense(spikes)
    results = []
    for threads in (1, 2, 3, 8):
        net.threads = threads
        results.append(run(way, net, weights, events, labels))
    for result in results[1:]:
        assert np.array_equal(result.gradient, results[0].gradient)
        assert np.array_equal(result.scores, results[0].scores)


@pytest.fixture
def library_for(tmp_path, monkeypatch):
    """Loads another copy of the library, which chooses its instructions again."""

    def load(isa):
        copy = tmp_path / f"{isa}.so"
        shutil.copyfile(LIBRARY, copy)
        monkeypatch.setattr(native, "LIBRARY", copy)
        monkeypatch.setenv("REPROKIT_ISA", isa)
        native._library.cache_clear()

    yield load
    monkeypatch.undo()
    native._library.cache_clear()


@needs_library
def test_instruction_sets_agree(library_for):
    """Within rounding, not bit for bit (decision 16): transforms are as long as vectors allow."""
    best = native.variant()
    (net, weights, spikes, labels), _, scores, gradient = worked_out_plainly("odd sizes")
    events = denram.EventBatch.from_dense(spikes)
    sets = {"avx512": ["avx512", "avx2", "portable"], "avx2": ["avx2", "portable"]}
    for isa in sets.get(best, [best]):
        library_for(isa)
        assert native.variant() == isa
        for way in ("add", "transform"):
            found = run(way, net, weights, events, labels)
            np.testing.assert_allclose(found.scores, scores, rtol=2e-5, atol=2e-5)
            np.testing.assert_allclose(found.gradient, gradient, rtol=2e-4, atol=2e-6)


@needs_library
def test_instructions_that_are_not_there(library_for):
    library_for("sse9")
    with pytest.raises(UserError, match=r"REPROKIT_ISA is 'sse9'; .* have .*: choose one of them"):
        native.require_library()


@needs_library
def test_ways_agree_at_full_size():
    spec = denram.NetworkSpec(n_in=64)
    parameters = denram.initialise(spec, 1)
    rng = np.random.default_rng(5)
    events = denram.EventBatch.from_dense((rng.random((20, 150, 64)) < 0.06).astype(np.uint8))
    weights = denram.noisy_weights(parameters.weights, rng.normal(size=parameters.weights.shape), 0.1)
    weights = np.asarray(weights, np.float32)
    labels = rng.integers(0, 20, 20)
    net = denram.DelayNetwork(parameters.delays, spec, engine="events")
    net.given_delays = parameters.delays
    add, *others = (run(way, net, weights, events, labels) for way in ("add", "transform", "fft"))
    for other in others:
        np.testing.assert_allclose(other.scores, add.scores, rtol=3e-6)
        assert np.max(np.abs(other.gradient - add.gradient)) <= 1e-5 * np.max(np.abs(add.gradient))
    np.testing.assert_allclose(net.traces(weights, events).potential.max(axis=0), add.scores, rtol=1e-6)


def test_chunks_do_not_change_the_result(monkeypatch):
    net, weights, spikes, labels = make_case(n_samples=7)
    events = denram.EventBatch.from_dense(spikes)
    whole = run("fft", net, weights, events, labels)
    traces = net.traces(weights, events)
    traced = (fft.loss_and_gradient, fft.currents)  # what was traced with chunks of another size
    for function in traced:
        function.clear_cache()
    monkeypatch.setattr(fft, "CHUNK_CELLS", 20)
    parts = run("fft", net, weights, events, labels)
    np.testing.assert_allclose(parts.gradient, whole.gradient, atol=1e-6)
    np.testing.assert_allclose(net.traces(weights, events).currents, traces.currents, atol=1e-5)
    for function in traced:
        function.clear_cache()


def test_fft_scores_can_be_jitted_and_differentiated():
    net, weights, spikes, _ = make_case()
    function = net.score_function(denram.EventBatch.from_dense(spikes))
    ours = jax.jit(jax.grad(lambda w: jnp.sum(jnp.sin(function(w)))))(jnp.asarray(weights))
    constants = net.lines.bias_steps, net.spec.leak, net.lines.steps
    plain = jax.jit(
        jax.grad(lambda w: jnp.sum(jnp.sin(plain_scores(w, net.lines.lags, spikes, *constants))))
    )(jnp.asarray(weights))
    np.testing.assert_allclose(ours, plain, atol=2e-5)


@pytest.mark.parametrize("way", WAYS)
def test_loss_of_huge_scores(way):
    """DEV-2: the fixed profile stays finite where the original's exponential overflows."""
    for profile in ("fixed", "faithful"):
        net, weights, spikes, labels = make_case(profile=profile, density=0.5)
        labels[:] = 0
        result = run(
            way, net, np.abs(weights) * np.float32(100), denram.EventBatch.from_dense(spikes), labels
        )
        assert np.all(np.isfinite(result.scores))
        assert np.isfinite(result.loss) == (profile == "fixed")


def test_true_and_faithful_delays():
    """DEV-1: the original applies the largest delay one step early."""
    delays = np.array([[0, 5, 5, 2]], np.float32)
    sizes = {"n_in": 2, "n_delays": 2, "n_out": 1, "steps_in": 3, "max_delay": 5}
    fixed = denram.DelayNetwork(delays, denram.NetworkSpec(**sizes, profile="fixed"), engine="fft")
    faithful = denram.DelayNetwork(delays, denram.NetworkSpec(**sizes, profile="faithful"), engine="fft")
    assert fixed.lines.lags.tolist() == [[0, 5, 5, 2]]
    assert faithful.lines.lags.tolist() == [[0, 4, 4, 2]]
    assert fixed.lines.steps == faithful.lines.steps == 8


def test_auto_without_the_library_warns_once_and_works(monkeypatch):
    monkeypatch.setattr(native, "available", lambda: False)
    network._warn_once.cache_clear()
    net, weights, spikes, labels = make_case()
    auto = denram.DelayNetwork(net.given_delays, net.spec)
    events = denram.EventBatch.from_dense(spikes)
    with pytest.warns(RuntimeWarning, match="compiled event engine is missing"):
        first = auto.loss_and_gradient(weights, events, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert auto.loss_and_gradient(weights, events, labels).loss == first.loss
    network._warn_once.cache_clear()


def test_events_without_the_library_is_refused(monkeypatch):
    monkeypatch.setattr(native, "_library", lambda: None)
    net, *_ = make_case()
    with pytest.raises(UserError, match="install a C\\+\\+ compiler"):
        denram.DelayNetwork(net.given_delays, net.spec, engine="events")


@needs_library
def test_auto_takes_the_library_on_a_cpu():
    if jax.default_backend() != "cpu":
        pytest.skip("an accelerator is in use")
    net, *_ = make_case()
    assert denram.DelayNetwork(net.given_delays, net.spec).engine_used == "events"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n, w, e, y: n.loss_and_gradient(w[:, 1:], e, y), "weights has shape"),
        (lambda n, w, e, y: n.loss_and_gradient(w.astype(np.float64), e, y), "must be float32"),
        (lambda n, w, e, y: n.loss_and_gradient(w, e, y[1:]), "labels has shape"),
        (lambda n, w, e, y: n.loss_and_gradient(w, e, y + 99), "A label is"),
        (lambda n, w, e, y: n.loss_and_gradient(w, e, y + 0.5), "labels is float64"),
        (lambda n, w, e, y: n.loss_and_gradient(w * np.float32(np.nan), e, y), "weights holds"),
        (lambda n, w, e, y: n.loss_and_gradient(w, e.take(np.array([], int)), y[:0]), "batch is empty"),
        (
            lambda n, w, e, y: n.scores(w, denram.EventBatch.from_dense(np.zeros((1, 3, 2), np.uint8))),
            "takes",
        ),
        (lambda n, w, e, y: denram.DelayNetwork(n.given_delays + 0.5, n.spec), "delays holds"),
        (lambda n, w, e, y: denram.DelayNetwork(n.given_delays * np.nan, n.spec), "delays holds"),
        (lambda n, w, e, y: denram.DelayNetwork(n.given_delays[1:], n.spec), "delays has shape"),
        (lambda n, w, e, y: denram.DelayNetwork(n.given_delays, n.spec, engine="gpu"), "engine is 'gpu'"),
        (lambda n, w, e, y: denram.DelayNetwork(n.given_delays, n.spec, threads=0), "threads is 0"),
        (lambda n, w, e, y: denram.noisy_weights(w, w, -0.1), "noise_std is -0.1"),
        (lambda n, w, e, y: denram.noisy_weights(w, w[1:], 0.1), "epsilon has shape"),
        (lambda n, w, e, y: denram.EventBatch.from_dense(np.full((1, 2, 3), 2)), "other than 0 and 1"),
    ],
)
def test_bad_arguments_are_named(change, message):
    net, weights, spikes, labels = make_case()
    with pytest.raises(UserError, match=message):
        change(net, weights, denram.EventBatch.from_dense(spikes), labels)


def test_no_samples_give_no_scores():
    net, weights, spikes, _ = make_case()
    assert net.scores(weights, denram.EventBatch.from_dense(spikes[:0])).shape == (0, 4)


def test_import_leaves_the_global_random_layout_alone():
    code = "import jax; before = jax.config.jax_threefry_partitionable"
    code += "; import denram; denram.initialise(denram.NetworkSpec(n_in=3), 1)"
    code += "; assert jax.config.jax_threefry_partitionable == before"
    subprocess.run([sys.executable, "-c", code], check=True)


WITHOUT_LIBRARY = """
import sys
from denram.engines import native
native.LIBRARY = native.LIBRARY.with_name("nowhere.so")
from denram.cli import main
sys.exit(main())
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "events"])
def test_the_command_without_the_library(tmp_path, engine):
    """Training uses the FFT engine and says why once; the event engine is refused if asked for by name."""
    flags = f"train --data spoken-toy --n-in 64 --n-delays 2 --nb-epochs 1 --batch-size 40 --engine {engine} --out"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARY, *flags.split(), str(tmp_path / "run")],
        capture_output=True,
        text=True,
    )
    words = "compiled event engine is missing"
    assert done.stderr.count(words) == 1
    assert "Traceback" not in done.stderr
    if engine == "events":
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()
    else:
        assert done.returncode == 0
        assert "engine fft" in done.stdout
