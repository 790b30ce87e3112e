"""Counts and means of a generated network, as the original writes them beside it (spec 2.7)."""

from __future__ import annotations

import numpy as np

from nalsm.model.network import LiquidNetwork


def weight_statistics(network: LiquidNetwork) -> dict[str, float]:
    """Return mean and variance of the dense blocks of the sign matrix, by kind of presynaptic neuron."""
    exc, liquid, neurons = network.excitatory, network.liquid, network.neurons
    inside = network.active
    values = {}
    for name, begin, end in (("exc", 0, exc), ("inh", exc, liquid), ("inp", liquid, neurons)):
        chosen = inside & (network.pre >= begin) & (network.pre < end)
        sign = network.sign[chosen].astype(np.float64)
        size = max((end - begin) * liquid, 1)
        mean = sign.sum() / size
        values[f"mean_{name}"] = mean
        values[f"var_{name}"] = (sign**2).sum() / size - mean**2
    output = network.sign[~inside].astype(np.float64)
    values["mean_out"] = float(output.sum() / max(liquid, 1))
    values["var_out"] = float((output**2).sum() / max(liquid, 1) - values["mean_out"] ** 2)
    return values


def connection_statistics(network: LiquidNetwork) -> dict[str, float]:
    """Return connection counts by kind, mean recurrent distance and spread of in- and out-degree."""
    exc, liquid = network.excitatory, network.liquid
    recurrent = network.active & (network.pre < liquid)
    post, pre = network.post[recurrent], network.pre[recurrent]
    inputs = network.active & (network.pre >= liquid)
    position = network.position.astype(np.float64)
    distance = np.sqrt(((position[:, post] - position[:, pre]) ** 2).sum(0))
    return {
        "n_EE": int(((pre < exc) & (post < exc)).sum()),
        "n_EI(exc->inh)": int(((pre < exc) & (post >= exc)).sum()),
        "n_IE(inh->exc)": int(((pre >= exc) & (post < exc)).sum()),
        "n_II": int(((pre >= exc) & (post >= exc)).sum()),
        "n_input_syn": int(inputs.sum()),
        "n_output_syn": int((~network.active).sum()),
        "mean_distance_of_recurrent_synapses": float(distance.mean()) if len(distance) else 0.0,
        "n_positive_input_weights": int((network.sign[inputs] > 0).sum()),
        "std_in_degree_recurrent": float(np.bincount(post, minlength=liquid).std()),
        "std_out_degree_recurrent": float(np.bincount(pre, minlength=liquid).std()),
    }
