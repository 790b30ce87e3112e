"""Evaluation on noisy devices."""

from dataclasses import replace

import numpy as np
import pytest
from denram.config import TrainConfig
from denram.data.loading import load_data
from denram.randomness import initial_key, next_normals
from denram.rules.noise_aware import noisy_weights
from denram.spec import Binning
from denram.training.evaluation import evaluate, noise_matrix, report
from denram.training.loop import train
from denram.training.runs import open_run

BASE = TrainConfig(data="spoken-toy", n_in=64, n_delays=4, nb_epochs=6, batch_size=32, lr=3e-3, devices=2)


@pytest.fixture(scope="module")
def data():
    return load_data("spoken-toy", Binning(n_in=64))


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("runs")
    configs = [
        replace(BASE, noise_std=noise, profile=profile, seed=seed, out=folder / f"{profile}{noise}{seed}")
        for noise, profile, seed in (
            (0.0, "fixed", 1),
            (0.2, "fixed", 1),
            (0.2, "fixed", 2),
            (0.1, "faithful", 1),
        )
    ]
    return [open_run(train(config, data).path) for config in configs]


def test_one_device_is_one_draw_for_the_whole_test_set(runs, data):
    run = runs[1]
    found = evaluate([run], [0.3], devices=3)[0]
    accuracies = []
    for device in range(3):
        noise = next_normals(initial_key(device), run.weights.shape)[1]
        noisy = np.asarray(noisy_weights(run.weights, np.asarray(noise), 0.3))
        scores = run.network().scores(noisy, data.test.events)
        accuracies.append(np.mean(np.argmax(scores, axis=1) == data.test.labels))
    assert found.mean == pytest.approx(np.mean(accuracies), abs=1e-12)
    assert (found.p5, found.p95) == pytest.approx(np.percentile(accuracies, [5, 95]), abs=1e-12)


def test_without_noise_all_devices_are_equal(runs):
    found = evaluate([runs[0]], [0.0], devices=5)[0]
    assert found.mean == found.p5 == found.p95
    assert found.devices == 5


def test_own_noise_level_is_the_default_and_agrees_with_the_run(runs):
    found = evaluate([runs[1]], [], devices=2)[0]
    assert found.test_noise == 0.2
    assert found.mean == pytest.approx(runs[1].result()["test_acc"], abs=1e-12)


def test_faithful_runs_are_tested_on_all_samples(runs):
    found = evaluate([runs[3]], [0.0], devices=1)[0]
    assert found.mean * 200 == pytest.approx(round(found.mean * 200), abs=1e-9)


def test_large_noise_hurts_and_training_noise_helps_against_it(runs):
    clean, noisy = evaluate(runs[:2], [0.0, 0.5], devices=4)[:2]
    assert noisy.mean < clean.mean
    assert noisy.p5 <= noisy.mean <= noisy.p95


def test_matrix_of_training_noise_and_test_noise_averages_seeds(runs):
    results = evaluate(runs, [0.0, 0.2], devices=2)
    rows, columns, matrix = noise_matrix(results, 64)
    assert (rows, columns) == ([0.0, 0.1, 0.2], [0.0, 0.2])
    pair = [result.mean for result in results if (result.train_noise, result.test_noise) == (0.2, 0.2)]
    assert len(pair) == 2
    assert matrix[2, 1] == pytest.approx(np.mean(pair))
    assert any("training noise (rows)" in line for line in report(results))


def test_other_data_of_the_same_shape_can_be_named(runs):
    assert evaluate([runs[0]], [0.0], 1, source="spoken-toy")[0].mean == evaluate([runs[0]], [0.0], 1)[0].mean


def test_batches_and_threads_of_an_evaluation_change_nothing(runs, monkeypatch):
    """A device is one draw for all samples, so the division into batches must not matter."""
    from denram.training import evaluation

    wanted = evaluate([runs[1], runs[3]], [0.0, 0.3], devices=3)
    for batch, threads in ((1, 1), (7, 2), (64, 3), (1000, 1)):
        monkeypatch.setattr(evaluation, "BATCH", batch)
        assert evaluate([runs[1], runs[3]], [0.0, 0.3], devices=3, threads=threads) == wanted


@pytest.mark.parametrize("method", ["add", "transform"])
def test_scores_do_not_depend_on_the_batch(runs, data, method):
    from denram.engines import compiled, native

    if not native.available():
        pytest.skip("the compiled event engine is not built here")
    run, events = runs[1], data.test.events.take(np.arange(40))
    lines = run.network().lines
    whole = compiled.scores(run.weights, events, lines, 1, method)
    for size, threads in ((1, 1), (7, 2), (13, 3)):
        parts = [
            compiled.scores(
                run.weights, events.take(np.arange(first, min(first + size, 40))), lines, threads, method
            )
            for first in range(0, 40, size)
        ]
        assert np.array_equal(np.concatenate(parts), whole)
