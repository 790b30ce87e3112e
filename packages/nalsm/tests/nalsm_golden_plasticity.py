"""Golden file of the weight rules only, with given spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nalsm.engines.reference import ReferenceLiquid
from nalsm.model.network import LiquidNetwork
from nalsm.parameters import PlasticityParameters
from nalsm_golden_simulations import Arrays, Checked, synapses


def plasticity_unit(g: Arrays) -> Checked:
    """Weight rules only, with given spikes."""
    exc, inh, inp = (int(g[k]) for k in ("n_exc", "n_inh", "n_inp"))
    network = LiquidNetwork(
        g["post"],
        g["pre"],
        np.sign(g["w0"]).astype(np.int8),
        np.zeros((3, exc + inh), np.int16),
        exc,
        inh,
        inp,
    )
    active, neurons = network.active, network.neurons
    checks: dict[str, tuple[Any, float]] = {}
    for rule, tag, samples, repeats in (
        ("stdp", "pure", 1, 1), ("astrocyte", "astro", g["S"].shape[1], 1), ("calcium", "ap", 1, int(g["ap_repeats"]))
    ):  # fmt: skip
        plasticity = PlasticityParameters(
            rule=rule, rate=float(g["lr"]), trace_decay=float(g["trace_decay"]), trace_increment=float(g["trace_a"]),
            astrocyte_weight=float(g["astro_w"]), astrocyte_tau=float(g["astro_tau"]),
            astrocyte_bias_offset=float(g["astro_bias"]) / float(g["lr"]) - 1.0,
            calcium_threshold=float(g["c_theta"]), calcium_range=float(g["c_range"]),
        )  # fmt: skip
        liquid = ReferenceLiquid(network, None, plasticity)
        state = liquid.start(torch.as_tensor(g["w0"][active]), samples)
        kept: dict[str, list[np.ndarray]] = {"W": [], "trace": [], "A": [], "C": []}
        for spikes in np.concatenate([g["S"][:, :samples, :neurons]] * repeats):
            state.spikes = torch.as_tensor(spikes, dtype=torch.float32)
            if rule == "calcium":
                state.calcium = state.calcium - state.calcium / plasticity.calcium_tau + state.spikes
            liquid.learn(state)
            for name, value in zip(
                kept, (state.weights, state.trace, state.depression, state.calcium), strict=True
            ):
                kept[name].append(value.numpy().copy())
        checks[f"W_{tag}"] = (synapses(g, f"W_{tag}", np.stack(kept["W"]), active), 5e-6)
        trace = np.array(g[f"trace_{tag}"], np.float64)
        trace[..., :neurons] = np.stack(kept["trace"])
        checks[f"trace_{tag}"] = (trace, 5e-6)
        if tag == "astro":
            checks["A_astro"] = (np.stack(kept["A"]), 5e-6)
        if tag == "ap":
            calcium = np.array(g["C_ap"], np.float64)
            calcium[..., :neurons] = np.stack(kept["C"])
            checks["C_ap"] = (calcium, 5e-5)
    inputs = {
        "S",
        "post",
        "pre",
        "w0",
        "n_exc",
        "n_inh",
        "n_inp",
        "n_out",
        "lr",
        "astro_w",
        "astro_tau",
        "astro_bias",
    }
    return checks, inputs | {"trace_decay", "trace_a", "c_theta", "c_range", "ap_repeats"}
