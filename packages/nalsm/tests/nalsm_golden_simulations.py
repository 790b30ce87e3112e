"""Golden files of simulations: every recorded state of the reference, and those that the compiled engine has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from nalsm.data.sources import Events
from nalsm.engines.reference import ReferenceLiquid
from nalsm.engines.simulator import Simulator
from nalsm.model.network import LiquidNetwork, NetworkSpec, generate
from nalsm.parameters import NeuronParameters, PlasticityParameters

Arrays = Mapping[str, np.ndarray]
Checked = tuple[dict[str, tuple[Any, float]], set[str]]

WIRING = {"post", "pre", "sign", "res_range", "res_exc_range", "res_inh_range", "inp_range", "out_range"}
CONSTANTS = {"net_seed", "dims", "n_inp", "dens_inp", "ms_tau_v", "v_th", "tau_u", "t_refr", "inp_current"}
RATES = {"stdp_lr", "astro_tau", "astro_w", "decay", "c_theta", "c_range", "tau_c"}
INPUTS = {"inp", "w0", "abs_w"}


def wiring(g: Arrays) -> LiquidNetwork:
    """Return the network stored in a file."""
    excitatory = int(g["res_exc_range"][1])
    liquid = int(g["res_range"][1])
    inputs = int(g["inp_range"][1] - g["inp_range"][0])
    sign = np.sign(g["w0"] if "w0" in g else np.ones(len(g["post"]))).astype(np.int8)
    return LiquidNetwork(
        g["post"].astype(np.int32), g["pre"].astype(np.int32), sign, np.zeros((3, liquid), np.int16),
        excitatory, liquid - excitatory, inputs,
    )  # fmt: skip


def rebuilt(g: Arrays) -> dict[str, tuple[Any, float]]:
    """Return the wiring generated again from the seed, if the file gives it."""
    spec = NetworkSpec(
        dims=tuple(int(d) for d in g["dims"]),  # pyright: ignore[reportArgumentType]
        inputs=int(g["n_inp"]),
        seed=int(g["net_seed"]),
        input_density=float(g["dens_inp"]),
    )
    network = generate(spec)
    liquid = network.liquid
    return {
        "post": (network.post, 0.0),
        "pre": (network.pre, 0.0),
        "sign": (network.sign, 0.0),
        "res_range": ([0, liquid], 0.0),
        "res_exc_range": ([0, network.excitatory], 0.0),
        "res_inh_range": ([network.excitatory, liquid], 0.0),
        "inp_range": ([liquid, liquid + network.inputs], 0.0),
        "out_range": ([liquid + network.inputs, liquid + network.inputs + 1], 0.0),
    }


def neuron_of(g: Arrays) -> NeuronParameters:
    """Return the neuron constants of a file."""
    return NeuronParameters(
        float(g["ms_tau_v"]), float(g["v_th"]), int(g["t_refr"]), float(g["tau_u"]), float(g["inp_current"])
    )


def plasticity_of(g: Arrays, rule: str) -> PlasticityParameters:
    """Return the constants of the weight rule of a file."""
    options: dict[str, Any] = {
        "rule": rule,
        "rate": float(g["stdp_lr"]),
        "astrocyte_tau": float(g["astro_tau"]),
    }
    if "astro_w" in g:
        options["astrocyte_weight"] = float(g["astro_w"])
    if "decay" in g:
        options["rate_decay"] = float(g["decay"])
    if "c_theta" in g:
        options |= {"calcium_threshold": float(g["c_theta"]), "calcium_range": float(g["c_range"])}
        options["calcium_tau"] = float(g["tau_c"])
    return PlasticityParameters(**options)


def replay(g: Arrays, rule: str, inputs: np.ndarray, *, persist: bool) -> dict[str, np.ndarray]:
    """Run the reference step by step over presentations (presentation, sample, input, ms) and record its state."""
    network = wiring(g)
    liquid = ReferenceLiquid(network, neuron_of(g), plasticity_of(g, rule))
    start = torch.as_tensor(g["w0"][network.active])
    weights: torch.Tensor = start
    trace = calcium = None
    names = ("S", "V_pre", "V", "refr", "age", "W", "trace", "A", "C", "lr", "aw", "ab")
    kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
    counts = []
    for presentation in inputs:
        state = liquid.start(weights if persist else start, len(presentation), trace, calcium)
        counts.append(np.zeros((len(presentation), network.liquid)))
        for t in range(presentation.shape[2]):
            kept["V_pre"].append(state.potential.numpy().copy())
            liquid.step(state, torch.as_tensor(presentation[:, :, t], dtype=liquid.dtype))
            counts[-1] += state.spikes[:, : network.liquid].numpy()
            values = (
                state.spikes, None, state.potential, state.refractory, state.age, state.weights, state.trace,
                state.depression[:, None], state.calcium, torch.tensor(state.potentiation),
                torch.full((len(presentation), 1), state.astrocyte_weight),
                torch.full((len(presentation), 1), state.astrocyte_bias),
            )  # fmt: skip
            for name, value in zip(names, values, strict=True):
                if value is not None:
                    kept[name].append(value.numpy().copy())
        weights, trace, calcium = state.weights, state.trace, state.calcium
    return {name: np.stack(values) for name, values in kept.items()} | {"counts": np.stack(counts)}


def compiled(
    g: Arrays, rule: str, inputs: np.ndarray, *, persist: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the compiled engine; return raster (time, sample, neuron), counts and weights after each presentation."""
    network = wiring(g)
    simulator = Simulator(network, neuron_of(g), engine="events")
    plasticity = plasticity_of(g, rule)
    weights = g["w0"][network.active]
    trace = calcium = None
    rasters, counts, ends = [], [], []
    for presentation in inputs:
        source = Events.from_raster(presentation)
        duration = presentation.shape[2]
        if persist:
            run = simulator.present_in_sequence(
                source,
                weights,
                plasticity,
                duration=duration,
                trace=trace,
                calcium=calcium,
                carry_trace=True,
                record=True,
            )
            weights, calcium = run.weights, run.calcium
            ends.append(run.weights[None] if run.weights is not None else None)
        else:
            run = simulator.present_independent(
                source, weights, plasticity, duration=duration, trace=trace, record=True, keep_weights=True
            )
            ends.append(run.weights)
        trace = run.trace
        assert run.raster is not None
        rasters.append(run.raster.transpose(1, 0, 2))
        counts.append(run.counts)
    return np.concatenate(rasters), np.stack(counts), np.stack(ends)


def run_file(g: Arrays, rule: str, inputs: np.ndarray, *, persist: bool) -> Checked:
    """Check every array of a recorded simulation: the reference against all, the compiled engine against its part."""
    network = wiring(g)
    neurons, active = network.neurons, network.active
    ours = replay(g, rule, inputs, persist=persist)
    raster, counts, ends = compiled(g, rule, inputs, persist=persist)

    def with_output(name: str, values: np.ndarray) -> np.ndarray:
        full = np.array(
            g[name], dtype=np.float64
        )  # the output neuron and its synapses carry nothing: keep theirs
        full[..., :neurons] = values
        assert not np.any(g["S"][..., neurons:]), "the output neuron fired"
        return full

    checks: dict[str, tuple[Any, float]] = {"S": (with_output("S", ours["S"]), 0.0)}
    checks["S (compiled)"] = (with_output("S", raster), 0.0)
    checks["counts"] = (ours["counts"].reshape(g["counts"].shape), 0.0)
    checks["counts (compiled)"] = (counts.reshape(g["counts"].shape), 0.0)
    for name, tolerance in (("V_pre", 1e-4), ("V", 1e-4), ("refr", 0.0), ("trace", 5e-6), ("C", 5e-5)):
        if name in g:
            checks[name] = (with_output(name, ours[name]), tolerance)
    if "syn_age" in g:
        age = np.array(g["syn_age"], np.float64)
        age[..., active] = ours["age"][..., network.pre[active]]
        checks["syn_age"] = (age, 0.0)
    if "W" in g:
        checks["W"] = (synapses(g, "W", ours["W"], active), 5e-6)
    if "W_end" in g:
        last = np.array(g["W_end"], np.float64)
        last[..., active] = ends.reshape(*last.shape[:-1], -1)
        checks["W_end (compiled)"] = (last, 5e-6)
        length = inputs.shape[3]
        checks["W_end"] = (synapses(g, "W_end", ours["W"][length - 1 :: length], active), 5e-6)
    elif "W" in g:
        checks["W (compiled, last)"] = (synapses_last(g, ends, active, inputs.shape[3]), 5e-6)
    for name in ("A", "lr", "aw", "ab"):
        if name in g:
            checks[name] = (ours[name].reshape(g[name].shape), 5e-6)
    checks |= rebuilt(g)
    return checks, INPUTS | CONSTANTS | RATES


def synapses(g: Arrays, name: str, values: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Return values with the constant synapses onto the output neuron taken from the file."""
    full = np.array(g[name], np.float64)
    full[..., active] = values
    return full


def synapses_last(g: Arrays, ends: np.ndarray, active: np.ndarray, length: int) -> np.ndarray:
    """Return the recorded weights with the last step of each presentation replaced by ours."""
    full = np.array(g["W"], np.float64)
    for k, end in enumerate(ends):
        full[(k + 1) * length - 1][..., active] = end
    return full


def lif_static(g: Arrays) -> Checked:
    return run_file(g, "none", g["inp"][None], persist=False)


def nalsm_sample(g: Arrays) -> Checked:
    return run_file(g, "astrocyte", g["inp"], persist=False)


def nalsm_init(g: Arrays) -> Checked:
    return run_file(g, "astrocyte", g["inp"], persist=True)


def stdp_sample(g: Arrays) -> Checked:
    return run_file(g, "stdp", g["inp"], persist=False)


def apstdp_init(g: Arrays) -> Checked:
    return run_file(g, "calcium", g["inp"], persist=True)
