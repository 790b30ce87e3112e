"""Rates of small liquids that start weak and strong, with fixed weights and with the astrocyte."""

import numpy as np
from nalsm import NetworkSpec, PlasticityParameters, Rates, Simulator, generate
from reprokit.plots import colour, new_figure


def draw():
    """Return the figure."""
    network = generate(NetworkSpec(dims=(8, 8, 8), inputs=100, seed=1))
    rng = np.random.default_rng(0)
    presentations, duration = 60, 50
    probability = rng.uniform(0, 0.1, (presentations, 100))
    source = Rates(probability, sample=np.arange(presentations), seed=7)
    simulator = Simulator(network)
    figure, (axis,) = new_figure(width="page", height=2.6)
    rules = {"fixed weights": PlasticityParameters(rule="none"),
             "astrocyte": PlasticityParameters(rule="astrocyte", rate_decay=1.0)}  # fmt: skip
    for name, rule in rules.items():
        for start, line in ((0.6, ":"), (1.5, "--"), (3.0, "-")):
            run = simulator.present_in_sequence(source, network.start_weights(start), rule, duration=duration)
            rate = run.counts.mean(1) / duration * 1000
            axis.plot(
                rate,
                line,
                color=colour("nalsm" if name == "astrocyte" else "lsm"),
                label=f"{name}, start {start:g}",
            )
    axis.set(xlabel="presentations of 50 ms", ylabel="liquid rate / Hz", ylim=(0, None))
    axis.legend(ncols=2)
    return figure
