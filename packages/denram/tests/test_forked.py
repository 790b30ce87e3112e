"""Processes forked after JAX has started: the event engine works there, and what needs JAX refuses with a sentence."""

import subprocess
import sys

PROGRAM = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from denram import *
from reprokit import UserError

spec = NetworkSpec(n_in=8, n_delays=2, n_out=3, steps_in=20, max_delay=10, r_mu=20e9)
drawn = initialise(spec, 0)
events = EventBatch.from_dense((np.random.default_rng(0).random((4, 20, 8)) < 0.1).astype(np.uint8))
labels = np.arange(4) % 3
networks = {engine: DelayNetwork(drawn.delays, spec, engine=engine, threads=2) for engine in ("events", "fft")}
wanted = {name: network.loss_and_gradient(drawn.weights, events, labels) for name, network in networks.items()}
state = initial_state(drawn.weights)

def child(task):
    try:
        if task == "noise":
            next_normals(drawn.key, (3,))
        elif task == "initialise":
            initialise(spec, 1)
        elif task == "update":
            update(drawn.weights, drawn.weights, state, epoch=0, profile="fixed")
        elif task == "train":
            train(TrainConfig(data="spoken-toy", n_in=64, n_delays=2, nb_epochs=1, batch_size=32, out="unused"))
        else:
            found = networks[task].loss_and_gradient(drawn.weights, events, labels)
            same = np.array_equal(found.gradient, wanted[task].gradient) and found.loss == wanted[task].loss
            dense = events.take(np.array([1])).dense()
            return "same" if same and dense.shape == (20, 1, 8) else "other"
    except UserError as error:
        return str(error)

with multiprocessing.get_context("fork").Pool(1) as pool:
    for task in ("events", "fft", "noise", "initialise", "update", "train"):
        print(task, "|", pool.apply_async(child, (task,)).get(timeout=60))
"""


def test_children_of_a_fork_compute_or_refuse(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = dict(line.split(" | ") for line in done.stdout.splitlines())
    assert found.pop("events") == "same"
    assert set(found) == {"fft", "noise", "initialise", "update", "train"}
    assert all("this process was forked after JAX had started" in said for said in found.values())
    assert not (tmp_path / "unused").exists()
