"""The content of each golden file, and our value for every array in it.

A check takes the arrays of a file and returns {key: (our value, absolute tolerance)} together with the keys that are
inputs or constants. A key in neither set is a failure.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from nalsm.data.encoding import event_list, rate_probabilities
from nalsm.model.network import LiquidNetwork, NetworkSpec, connection_statistics, generate, weight_statistics
from nalsm.model.readout import normalise, soft_labels
from nalsm.parameters import NeuronParameters
from nalsm.rules.readout import train_adadelta
from nalsm.training.measures import branching_factor, kernel_rank
from nalsm_golden_plasticity import plasticity_unit
from nalsm_golden_simulations import (
    Arrays,
    Checked,
    apstdp_init,
    lif_static,
    nalsm_init,
    nalsm_sample,
    stdp_sample,
)


def network_small(g: Arrays) -> Checked:
    spec = NetworkSpec(
        dims=tuple(int(d) for d in g["dims"]),  # pyright: ignore[reportArgumentType]
        inputs=int(g["n_inp"]), seed=int(g["seed"]), input_density=float(g["dens_inp"]),
        output_density=float(g["dens_out"]), connection=tuple(float(c) for c in g["C"]),  # pyright: ignore
        length=float(g["lamb"]),
    )  # fmt: skip
    network = generate(spec)
    liquid, neurons = network.liquid, network.neurons
    neuron = NeuronParameters()
    checks: dict[str, tuple[object, float]] = {
        "post": (network.post, 0.0), "pre": (network.pre, 0.0), "w": (network.sign, 0.0),
        "xyz": (network.position, 0.0),
        "res_range": ([0, liquid], 0.0), "inp_range": ([liquid, neurons], 0.0),
        "tau_u_unique": ([neuron.tau_u], 0.0), "tau_v_unique": ([neuron.tau_v], 0.0), "ss_init": (20.0, 0.0),
    }  # fmt: skip
    for name, value in weight_statistics(network).items():
        checks[f"stat_{name}"] = (value, 1e-6)
    return checks, {"seed", "dims", "n_inp", "dens_inp", "dens_out", "C", "lamb"}


def network_stats(g: Arrays) -> Checked:
    """Counts of generated networks: every seed of the table is generated again.

    The table gives sizes by its counts of output synapses, int(0.02 N), and input synapses, int(0.15 N inputs).
    """
    columns = [str(c) for c in g["columns"]]
    seeds = g.get("seeds", None)
    assert seeds is not None, "the table has no seeds"
    first = dict(zip(columns, g["values"][0], strict=True))
    side = round((first["n_output_syn"] / 0.02) ** (1 / 3))
    inputs = round(first["n_input_syn"] / (0.15 * side**3))
    specs = [NetworkSpec((side, side, side), inputs, int(seed)) for seed in seeds]
    ours = [connection_statistics(generate(spec)) for spec in specs]
    return {"values": ([[row[c] for c in columns] for row in ours], 1e-6)}, {"columns", "seeds"}


def rate_encoding(g: Arrays) -> Checked:
    train, _ = rate_probabilities(g["x_train"])
    test, _ = rate_probabilities(g["x_test"])
    classes = g["label_vec_test"].shape[1]
    vectors = np.where(np.arange(classes)[None] == g["y_test"][:, None], 1.0, -1.0)
    return {"p_train": (train, 1e-12), "p_test": (test, 1e-12), "label_vec_test": (vectors, 0.0)}, {
        "x_train", "x_test", "y_test",
    }  # fmt: skip


def nmnist_decode(g: Arrays) -> Checked:
    raw = g["raw_bytes"].reshape(-1, 5).astype(np.int64)
    x, y, p = raw[:, 0], raw[:, 1], raw[:, 2] >> 7
    t = ((raw[:, 2] & 127) << 16) | (raw[:, 3] << 8) | raw[:, 4]
    checks: dict[str, tuple[object, float]] = {}
    for name in (key for key in g if "raster_idx_" in key):  # the key ends with the milliseconds kept
        shift = float(g["noise_scalar_offset_ms"]) if name.startswith("noisy") else None
        time, channel = event_list(t, x, y, p, int(name.rpartition("_")[2]), shift=shift)
        theirs = g[name]
        order = np.lexsort((theirs[0], theirs[1]))
        ours = np.empty((2, len(time)), np.int64)
        ours[:, :] = np.stack([channel, time])[:, np.lexsort((channel, time))]
        restored = np.array(theirs, np.float64)
        restored = ours[:, np.argsort(order)] if ours.shape == theirs.shape else ours
        checks[name] = (restored, 0.0)
    vector = np.where(np.arange(len(g["label_vec"])) == int(g["label"]), 1.0, -1.0)
    return checks | {"label_vec": (vector, 0.0)}, {"raw_bytes", "label", "noise_scalar_offset_ms"}


def readout(g: Arrays) -> Checked:
    train = int(g["n_train_batches"])
    counts, labels = g["counts"], g["labels"]
    batches, size, _ = counts.shape
    epochs, classes = len(g["eval_acc_per_epoch"]), g["b_first_epoch"].shape[1]
    steps: list[tuple[np.ndarray, np.ndarray]] = []
    train_adadelta(
        counts[:train].reshape(train * size, -1), labels[:train].reshape(-1),
        classes=classes, epochs=epochs, batch=size, batch_maximum=True,
        learning_rate=float(g["lr"]), rho=float(g["rho"]), epsilon=float(g["epsilon"]), l2=float(g["l2_beta"]),
        on_step=lambda w, b: steps.append((w.numpy().copy(), b.numpy().copy())),
    )  # fmt: skip
    accuracy = []
    for epoch in range(epochs):
        weight, bias = steps[(epoch + 1) * train - 1]
        right = [
            np.mean(np.argmax(normalise(counts[k]) @ weight + bias, 1) == labels[k])
            for k in range(train, batches)
        ]
        accuracy.append(np.mean(right))
    assert np.allclose(soft_labels(np.array([0]), 10)[0, :2], [0.4509, 0.0610], atol=1e-4)
    checks: dict[str, tuple[object, float]] = {
        "W_first_epoch": (np.stack([w for w, _ in steps[:train]]), 1e-6),
        "b_first_epoch": (np.stack([b for _, b in steps[:train]]), 1e-6),
        "eval_acc_per_epoch": (accuracy, 1e-9),
    }
    for epoch in (int(key.removeprefix("W_epoch")) for key in g if key.startswith("W_epoch")):
        checks[f"W_epoch{epoch}"] = (steps[epoch * train - 1][0], 1e-6)
        checks[f"b_epoch{epoch}"] = (steps[epoch * train - 1][1], 1e-6)
    return checks, {"counts", "labels", "n_train_batches", "lr", "rho", "epsilon", "l2_beta"}


def branching(g: Arrays) -> Checked:
    liquid = int(g["n_res"])
    rows = g["spikes"]
    raster = np.zeros(
        (len(g["bf_per_sample"]), int(g["duration_ms"]), max(rows[:, 2].max(initial=0) + 1, liquid)), np.uint8
    )
    raster[rows[:, 0], rows[:, 1], rows[:, 2]] = 1
    inputs = int(max(g["pre"].max() + 1 - liquid, 0))
    network = LiquidNetwork(
        g["post"],
        g["pre"],
        np.ones(len(g["post"]), np.int8),
        np.zeros((3, liquid), np.int16),
        liquid,
        0,
        inputs,
    )
    ours = branching_factor(raster, network, step=int(g["dt"]), buffer=int(g["buffer_ms"]))
    checks = {
        "bf": (ours.value, 1e-9), "bf_per_sample": (ours.per_sample, 1e-9), "bf_per_neuron": (ours.per_neuron, 1e-9),
        "n_events": (ours.events, 0.0), "sum_clipped_pre": (ours.ancestors, 1e-9), "sum_post": (ours.descendants, 1e-9),
    }  # fmt: skip
    return checks, {"spikes", "duration_ms", "buffer_ms", "dt", "n_res", "post", "pre"}


def kernel(g: Arrays) -> Checked:
    clean = kernel_rank(g["counts_clean"], g["selection"][0])
    noisy = kernel_rank(g["counts_noisy"], g["selection"][1])
    per_class = [
        np.bincount(g["labels"][rows]).tolist()
        for rows in g["selection"].reshape(-1, g["selection"].shape[2])
    ]
    assert all(set(row) <= {0, int(g["samples_per_label"])} for row in per_class)
    checks = {
        "rank_clean": (clean, 0.0), "rank_noisy": (noisy, 0.0), "SP": (clean.mean(), 1e-9), "AP": (noisy.mean(), 1e-9),
    }  # fmt: skip
    return checks, {"counts_clean", "counts_noisy", "labels", "selection", "samples_per_label"}


CHECKS: dict[str, Callable[[Arrays], Checked]] = {
    "lif_static": lif_static, "nalsm_sample": nalsm_sample, "nalsm_init": nalsm_init, "stdp_sample": stdp_sample,
    "apstdp_init": apstdp_init, "plasticity_unit": plasticity_unit, "network_small": network_small,
    "network_stats": network_stats, "rate_encoding": rate_encoding, "nmnist_decode": nmnist_decode,
    "readout": readout, "branching_factor": branching, "kernel_quality": kernel,
}  # fmt: skip
