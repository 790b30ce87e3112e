"""The content of each golden file: for every key our value, the recorded one and the error allowed.

An error is the largest absolute difference divided by the largest recorded absolute value (at least 1e-30); 0
means that every element must be equal.
"""

import re
from collections.abc import Callable

import denram
import jax
import numpy as np
from denram import randomness as random_streams
from denram.data.binning import bin_recordings
from denram.model import delays as delay_steps
from denram.model.readout import probabilities
from denram.spec import Binning, Engine
from reprokit import Recordings

EXACT, FLOAT, TRAINED = 0.0, 2e-6, 5e-6
SHD_CHANNELS = 700
Checks = dict[str, tuple[object, object, float]]
Golden = dict[str, np.ndarray]


def spec_of(golden: Golden) -> denram.NetworkSpec:
    names = {
        "n_in": "n_in", "n_delays": "n_delays", "n_out": "n_out", "sim_len": "steps_in", "timestep_s": "dt",
        "tau_mem_s": "tau_mem", "max_delay_steps": "max_delay", "r_mu_ohm": "r_mu", "r_std": "r_std",
        "cap_farad": "capacitance", "w_scale": "weight_scale",
    }  # fmt: skip
    settings = {ours: golden[f"cfg_{theirs}"].item() for theirs, ours in names.items()}
    return denram.NetworkSpec(**settings, profile="faithful")


def initial_state(golden: Golden, spec: denram.NetworkSpec) -> Checks:
    parameters = denram.initialise(spec, golden["cfg_seed"].item())
    key, _ = random_streams.split_key(random_streams.initial_key(golden["cfg_seed"].item()))
    _, use = random_streams.split_key(key)
    with random_streams.legacy_layout():
        normals = jax.random.normal(use, (spec.n_out, spec.n_synapses))
    ohm = delay_steps.resistances(normals, spec)
    zeros = np.zeros((spec.n_out, 1), np.float32)
    ours = delay_steps.steps_from_times(delay_steps.delay_times(golden["hrs_ohm"], spec), spec)
    network = denram.DelayNetwork(golden["delays_nobias"], spec, engine="fft")
    return {
        "r_mu_underlying_normal": (
            delay_steps.log_resistance_mean(spec.r_mu, spec.r_std), golden["r_mu_underlying_normal"], 1e-7
        ),
        "hrs_ohm": (ohm, golden["hrs_ohm"], FLOAT),
        "delay_continuous_s": (delay_steps.delay_times(ohm, spec), golden["delay_continuous_s"], FLOAT),
        "delays_nobias": (parameters.delays, golden["delays_nobias"], EXACT),
        "delays": (np.hstack([ours, zeros]), golden["delays"], EXACT),
        "delays_effective": (np.hstack([network.lines.lags, zeros]), golden["delays_effective"], EXACT),
        "buffer_depth": (network.lines.depth, golden["buffer_depth"], EXACT),
        "T_total": (network.lines.steps, golden["T_total"], EXACT),
        "w_nobias_init": (parameters.weights[:, :-1], golden["w_nobias_init"], 2e-7),
        "w_noisy": (
            denram.noisy_weights(golden["w"], golden["noise_eps"], golden["cfg_noise_std"].item()),
            golden["w_noisy"], 2e-7,
        ),
    }  # fmt: skip


def forward_and_backward(golden: Golden, network: denram.DelayNetwork) -> Checks:
    events = denram.EventBatch.from_dense(golden["spikes"])
    checks: Checks = {}
    for name, weights in (("clean", golden["w"]), ("noisy", golden["w_noisy"])):
        traces = network.traces(weights, events)
        result = network.loss_and_gradient(weights, events, golden["labels"])
        ours = {
            "I": traces.currents.transpose(1, 0, 2),
            "V": traces.potential.transpose(1, 0, 2),
            "Vmax": result.scores,
            "tmax": np.argmax(traces.potential, axis=0),
            "prob": probabilities(np.asarray(result.scores)),
            "loss": result.loss,
            "acc": result.accuracy,
            "grad": result.gradient,
        }
        exact = ("tmax", "acc")
        for key, value in ours.items():
            checks[f"{name}_{key}"] = (value, golden[f"{name}_{key}"], 1e-7 if key in exact else FLOAT)
    return checks


def adam(golden: Golden) -> Checks:
    weights, gradient = golden["w"], golden["clean_grad"]
    checks: Checks = {}
    for key in golden:
        if found := re.fullmatch(r"adam_w_firststep_epoch(\d+)", key):
            start = denram.initial_state(weights)
            ours, _ = denram.update(weights, gradient, start, epoch=int(found[1]), profile="faithful")
            checks[key] = (ours, golden[key], FLOAT)
    state = denram.initial_state(weights)
    for count, (factor, epoch) in enumerate(((1, 0), (2, 0), (-1, 1)), start=1):
        weights, state = denram.update(weights, factor * gradient, state, epoch=epoch, profile="faithful")
        key = f"adam_w_after{count}_epoch{epoch}"
        checks[key] = (weights, golden[key], FLOAT)
    epochs = golden["lr_schedule_epochs"]
    rates = [denram.learning_rate(int(epoch)) for epoch in epochs]
    return {**checks, "lr_schedule": (rates, golden["lr_schedule"], 1e-7)}


def training(golden: Golden, network: denram.DelayNetwork) -> Checks:
    weights, metrics = golden["w"], []
    state = denram.initial_state(weights)
    checks: Checks = {}
    n_train = len(golden["train_spikes"]) - 2  # the last two batches validate
    for epoch, epsilons in enumerate(golden["train_noise_eps"]):
        rows = []
        for batch, epsilon in enumerate(epsilons):
            applied = denram.noisy_weights(weights, epsilon, golden["cfg_noise_std"].item())
            events = denram.EventBatch.from_dense(golden["train_spikes"][batch])
            result = network.loss_and_gradient(applied, events, golden["train_labels"][batch])
            rows.append((result.loss, result.accuracy))
            if batch < n_train:
                weights, state = denram.update(
                    weights, result.gradient, state, epoch=epoch, profile="faithful"
                )
        metrics.append([*np.mean(rows[:n_train], axis=0), *np.mean(rows[n_train:], axis=0)])
        key = f"train_w_after_epoch{epoch}"
        checks[key] = (weights, golden[key], TRAINED)
    return {**checks, "train_metrics": (metrics, golden["train_metrics"], TRAINED)}


def check_model(golden: Golden, name: str, engine: Engine) -> Checks:
    spec = spec_of(golden)
    network = denram.DelayNetwork(golden["delays_nobias"], spec, engine=engine)
    return {
        **initial_state(golden, spec),
        **forward_and_backward(golden, network),
        **adam(golden),
        **training(golden, network),
        "cfg_batch": (len(golden["spikes"]), golden["cfg_batch"], EXACT),
    }


def check_data(golden: Golden, name: str, engine: Engine) -> Checks:
    raw = Recordings(
        golden["times_concat"].astype(np.float32),
        golden["units_concat"].astype(np.int64),
        golden["offsets"].astype(np.int64),
        golden["labels"].astype(np.int64),
    )
    edges = golden["time_bins_s"]
    dt = float(edges[-1]) / len(edges)
    checks: Checks = {"time_bins_s": (Binning(dt=dt, duration=float(edges[-1])).edges, edges, EXACT)}
    for key in golden:
        if found := re.fullmatch(r"(n(\d+)_\w+)_shape", key):
            n_samples, steps, n_in = map(int, golden[key])
            assert n_in == int(found[2])
            binning = Binning(n_in=n_in, steps_in=steps, dt=dt, duration=float(edges[-1]))
            dense = bin_recordings(raw, SHD_CHANNELS, binning).events.dense().transpose(1, 0, 2)
            checks[key] = (dense.shape, (n_samples, steps, n_in), EXACT)
            for axis, indices in zip(("sample", "step", "chan"), np.nonzero(dense), strict=True):
                checks[f"{found[1]}_{axis}"] = (indices, golden[f"{found[1]}_{axis}"], EXACT)
    return checks


def check_split(golden: Golden, name: str, engine: Engine) -> Checks:
    generator = denram.TorchGenerator(int(name.rsplit("seed", 1)[1]))
    train, validation = generator.split((len(golden["train_idx"]), len(golden["val_idx"])))
    ours = {"train_idx": train, "val_idx": validation}
    ours["ep0_train_order"] = train[generator.shuffled_order(len(train))]
    ours["ep0_val_order"] = validation[generator.shuffled_order(len(validation))]
    after_validation = generator.state
    ours["ep0_test_order"] = np.arange(len(golden["ep0_test_order"]))
    generator.sequential_pass()
    ours["ep1_train_order_after_test"] = train[generator.shuffled_order(len(train))]
    generator.state = after_validation
    ours["ep1_train_order_without_test"] = train[generator.shuffled_order(len(train))]
    return {key: (order[: len(golden[key])], golden[key], EXACT) for key, order in ours.items()}


def check_init(golden: Golden, name: str, engine: Engine) -> Checks:
    found = re.search(r"_n(\d+)_seed(\d+)$", name)
    assert found
    n_out, columns = golden["w"].shape
    n_in = int(found[1])
    spec = denram.NetworkSpec(n_in=n_in, n_delays=(columns - 1) // n_in, n_out=n_out, profile="faithful")
    parameters = denram.initialise(spec, int(found[2]))
    return {
        "w": (parameters.weights, golden["w"], 2e-7),
        "delays": (parameters.delays, golden["delays"], EXACT),
        "key_after_init": (parameters.key, golden["key_after_init"], EXACT),
        "delay_mean": (np.mean(parameters.delays, dtype=np.float64), golden["delay_mean"], 1e-6),
    }


MODEL_INPUTS = frozenset(
    [
        "w",
        "spikes",
        "labels",
        "noise_eps",
        "train_spikes",
        "train_labels",
        "train_noise_eps",
        "lr_schedule_epochs",
        "cfg_n_in",
        "cfg_n_delays",
        "cfg_n_out",
        "cfg_sim_len",
        "cfg_timestep_s",
        "cfg_tau_mem_s",
        "cfg_max_delay_steps",
        "cfg_noise_std",
        "cfg_seed",
        "cfg_r_mu_ohm",
        "cfg_r_std",
        "cfg_cap_farad",
        "cfg_w_scale",
    ]
)
Check = Callable[[Golden, str, Engine], Checks]
CHECKS: dict[str, tuple[Check, frozenset[str]]] = {
    r"case\w*_(model|edge)": (check_model, MODEL_INPUTS),
    r"case\w*_data": (check_data, frozenset({"times_concat", "units_concat", "offsets", "labels"})),
    r"case\w*_split_seed\d+": (check_split, frozenset()),
    r"case\w*_init_n\d+_seed\d+": (check_init, frozenset()),
}
