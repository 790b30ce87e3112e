"""The border to C++: arrays that would cause access out of bounds are refused, a NaN stays one, Ctrl-C works."""

import os
import signal
import threading
import time
from dataclasses import replace

import denram
import numpy as np
import pytest
from denram.engines import compiled, native
from denram.engines.compiled import METHODS, _Pass
from denram.model.delays import DelayLines
from reprokit import UserError

pytestmark = pytest.mark.skipif(not native.available(), reason="the compiled event engine is not built here")

SPEC = denram.NetworkSpec(n_in=5, n_delays=2, n_out=3, steps_in=20, max_delay=6, r_mu=20e9)
DRAWN = denram.initialise(SPEC, 0)
LINES = DelayLines.of(DRAWN.delays, SPEC)
SPIKES = (np.random.default_rng(0).random((4, 20, 5)) < 0.3).astype(np.uint8)
EVENTS = denram.EventBatch.from_dense(SPIKES)
LABELS = np.arange(4) % 3
ENTRIES = {
    "traces": lambda w, e, lines: compiled.traces(w, e, lines),
    "scores": lambda w, e, lines: compiled.scores(w, e, lines),
    "add": lambda w, e, lines: compiled.loss_and_gradient(w, e, LABELS, lines, 1, "add"),
    "transform": lambda w, e, lines: compiled.loss_and_gradient(w, e, LABELS, lines, 2, "transform"),
}
W = DRAWN.weights


def batch(steps=EVENTS.steps, starts=EVENTS.starts, steps_in=20):
    return denram.EventBatch(steps, starts, steps_in, checked=True)  # as if nobody had looked at it


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


WRONG = {
    "weights of another shape": (W[:, 1:], EVENTS, LINES),
    "weights of one row": (W[:1], EVENTS, LINES),
    "flat weights": (W.ravel(), EVENTS, LINES),
    "float64 weights": (W.astype(np.float64), EVENTS, LINES),
    "weights of another byte order": (W.astype(">f4"), EVENTS, LINES),
    "starts of other channels": (W, batch(starts=EVENTS.starts[:, 1:]), LINES),
    "starts with one axis": (W, batch(starts=EVENTS.starts[:, 0]), LINES),
    "int32 starts": (W, batch(starts=EVENTS.starts.astype(np.int32)), LINES),
    "steps with two axes": (W, batch(steps=EVENTS.steps[None]), LINES),
    "int64 steps": (W, batch(steps=EVENTS.steps.astype(np.int64)), LINES),
    "a spike after the input": (W, batch(steps=changed(EVENTS.steps, -1, 65535)), LINES),
    "fewer spikes than starts name": (W, batch(steps=EVENTS.steps[:-1]), LINES),
    "starts below 0": (W, batch(starts=changed(EVENTS.starts, (0, 0), -1)), LINES),
    "starts beyond the spikes": (W, batch(starts=changed(EVENTS.starts, (3, 5), 2**62)), LINES),
    "starts that fall": (W, batch(starts=EVENTS.starts[:, ::-1]), LINES),
    "spikes that fall": (W, batch(steps=EVENTS.steps[::-1]), LINES),
    "another number of steps": (W, batch(steps_in=21), LINES),
    "a delay beyond the line": (W, EVENTS, replace(LINES, lags=changed(LINES.lags, (0, 0), 10**6))),
    "a negative delay": (W, EVENTS, replace(LINES, lags=changed(LINES.lags, (0, 0), -1))),
    "int64 delays": (W, EVENTS, replace(LINES, lags=LINES.lags.astype(np.int64))),
    "a line without depth": (W, EVENTS, replace(LINES, depth=0)),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_refused(case, entry):
    with pytest.raises(UserError):
        ENTRIES[entry](*WRONG[case])


@pytest.mark.parametrize(
    "upstream",
    [np.zeros((3, 4), np.float32), np.zeros((4, 3)), np.zeros(12, np.float32), np.zeros((5, 3), np.float32)],
)
def test_the_backward_pass_checks_what_it_is_handed(upstream):
    work = _Pass(W, EVENTS, LINES, 1)
    work.forward("add")
    with pytest.raises(UserError, match="upstream is"):
        work.backward(upstream)
    for field, value in (("peak", 10**6), ("peak", -1), ("first", -1), ("first", 10**6)):
        work.forward("add")
        work._windows[field][2, 1] = value
        with pytest.raises(UserError, match="lead outside"):
            work.backward(np.zeros((4, 3), np.float32))


@pytest.mark.parametrize("entry", ENTRIES)
def test_any_layout_gives_the_same_bits(entry):
    odd = np.frombuffer(b"\0" + W.tobytes(), np.uint8)[1:].view(np.float32).reshape(W.shape)
    assert not odd.flags.aligned
    wanted = ENTRIES[entry](W, EVENTS, LINES)
    for weights in (odd, np.asfortranarray(W), np.repeat(W, 2, 1)[:, ::2]):
        for ours, theirs in zip(ENTRIES[entry](weights, EVENTS, LINES), wanted, strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("where", [(1, 0), (1, -1)], ids=["weight", "bias"])
def test_nan_reaches_the_score_and_the_loss(method, where):
    """It used to count as a silent step, since max(0, NaN) was 0."""
    weights = changed(W, where, np.nan)
    weights[1, 1] = np.nan  # both delays of channel 0, which fires in every sample
    assert np.all(np.diff(EVENTS.starts[:, :2]) > 0)
    loss, _, gradient, scores = compiled.loss_and_gradient(weights, EVENTS, LABELS, LINES, 1, method)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, [0, 2]]).all()
    assert np.isnan(loss)
    assert np.isnan(gradient).any()
    assert np.isnan(compiled.traces(weights, EVENTS, LINES)[1][-1, :, 1]).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": EVENTS.steps[::-1].copy()}, "steps must rise within each channel"),
        ({"steps": changed(EVENTS.steps, 1, EVENTS.steps[0])}, "steps must rise within each channel"),
        ({"steps_in": 0}, "A spike has step|steps_in is 0"),
        ({"steps_in": 70000}, "steps_in is 70000"),
        ({"steps_in": 20.5}, "steps_in is 20.5"),
    ],
)
def test_events_of_ones_own_are_checked(change, words):
    right = {"steps": EVENTS.steps, "starts": EVENTS.starts, "steps_in": 20}
    assert len(denram.EventBatch(**right)) == 4
    with pytest.raises(UserError, match=words):
        denram.EventBatch(**right | change)
    with pytest.raises(UserError, match="indices has 2 axes"):
        EVENTS.take(np.array([[0, 1], [2, 3]]))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("entry", ["add", "transform", "backward"])
def test_interrupts_stop_a_long_pass_and_the_next_one_works(entry, threads):
    spec = denram.NetworkSpec(n_in=100, n_delays=8, n_out=20, steps_in=150)
    drawn = denram.initialise(spec, 0)
    lines = DelayLines.of(drawn.delays, spec)
    rng = np.random.default_rng(0)
    some = denram.EventBatch.from_dense((rng.random((20, 150, 100)) < 0.3).astype(np.uint8))
    events = some.take(np.arange(4000) % 20)  # seconds of work
    if entry == "backward":
        work = _Pass(drawn.weights, events, lines, threads)
        work._windows["peak"] = 300
        upstream = np.ones((4000, 20), np.float32)
        long = lambda: work.backward(upstream)  # noqa: E731
    else:
        long = lambda: compiled.scores(drawn.weights, events, lines, threads, entry)  # noqa: E731
    threading.Timer(0.15, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.process_time()
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        long()
        time.sleep(5)  # where the machine was quicker than the timer
    print(f"{entry}, {threads} threads: {time.process_time() - began:.2f} s of work until it stopped")
    assert np.isfinite(compiled.scores(drawn.weights, some, lines, threads)).all()
