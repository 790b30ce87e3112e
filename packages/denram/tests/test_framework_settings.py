"""JAX's own settings: none of them changes any bit of a run."""

import json
import os
import subprocess
import sys

import pytest
from denram import PRESETS, initialise
from reprokit import UserError

PROGRAM = """
import hashlib, json, tempfile, warnings
from dataclasses import replace
from pathlib import Path
import jax
import numpy as np
from denram import DelayNetwork, EventBatch, NetworkSpec, TrainConfig, initialise, next_normals, train
from denram.rules.noise_aware import noisy_weights

found = {}
# 40 divides the 320, 80 and 200 recordings: batches of one shape are compiled once
config = TrainConfig(data="spoken-toy", n_in=64, n_delays=2, batch_size=40, lr=1e-3, nb_epochs=2, devices=2)
for profile, engine in (("fixed", "events"), ("fixed", "fft"), ("faithful", "events")):
    with tempfile.TemporaryDirectory() as folder:
        chosen = replace(config, profile=profile, engine=engine, out=Path(folder) / "run")
        path = train(chosen).path
        files = ("weights.npy", "delays.npy", "metrics.jsonl", "summary.json", "config.json")
        digest = hashlib.sha256(b"".join((path / name).read_bytes() for name in files))
        found[f"{profile} {engine}"] = digest.hexdigest()
for distribution in ("lognormal", "uniform"):
    drawn = initialise(NetworkSpec(n_in=20, n_delays=3, n_out=4, distribution=distribution), 7)
    key, epsilon = next_normals(drawn.key, drawn.weights.shape)
    digest = hashlib.sha256()
    for array in (*drawn, key, np.asarray(epsilon)):
        digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    found[f"seed {distribution}"] = digest.hexdigest()
spec = NetworkSpec(n_in=8, n_delays=2, n_out=3, steps_in=20, max_delay=10, r_mu=20e9)
drawn = initialise(spec, 0)
events = EventBatch.from_dense((np.random.default_rng(0).random((4, 20, 8)) < 0.1).astype(np.uint8))
for engine in ("events", "fft"):
    network = DelayNetwork(drawn.delays, spec, engine=engine)
    out = network.loss_and_gradient(drawn.weights, events, np.arange(4) % 3)
    traces = network.traces(drawn.weights, events)
    arrays = (np.asarray(out.gradient), out.scores, *traces, noisy_weights(drawn.weights, drawn.weights, 0.1))
    assert all(np.asarray(array).dtype == np.float32 for array in arrays)
    text = repr((out.loss, out.accuracy)).encode() + b"".join(np.asarray(array).tobytes() for array in arrays)
    found[f"network {engine}"] = hashlib.sha256(text).hexdigest()
print(json.dumps(found))
"""


def digests(**settings: str) -> dict[str, str]:
    """What the program prints under the given environment."""
    kept = ("JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE")
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(kept) or not name.startswith("JAX_")
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment | {"JAX_PLATFORMS": "cpu"} | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_platform_that_is_not_there_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "denram.cli", "train", "--data", "spoken-toy", "--out", str(tmp_path / "run")],
        env=os.environ | {"JAX_PLATFORMS": "rocm"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: JAX cannot compute on JAX_PLATFORMS='rocm' here")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("seed", [-1, 2**32, True, 1.0, "1"])
def test_seeds_out_of_range_are_refused(seed):
    with pytest.raises(UserError, match=r"seed is .*; it must be a whole number from 0 to 4294967295"):
        initialise(PRESETS["D2"], seed)


@pytest.fixture(scope="module")
def usual() -> dict[str, str]:
    return digests()


@pytest.mark.slow  # many programs are compiled
@pytest.mark.parametrize(
    "settings",
    [
        {"JAX_ENABLE_X64": "1", "JAX_THREEFRY_PARTITIONABLE": "1"},
        {
            "JAX_DEFAULT_PRNG_IMPL": "rbg",
            "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
            "JAX_ENABLE_CUSTOM_PRNG": "1",
        },
        {"JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg"},
    ],
    ids=lambda settings: " ".join(f"{name[4:].lower()}={value}" for name, value in settings.items()),
)
def test_settings_of_jax_change_no_bit(usual, settings):
    assert digests(**settings) == usual
