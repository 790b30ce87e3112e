"""The belief of one SbS neuron group as spikes arrive."""

import numpy as np
from reprokit.plots import colour, new_figure


def draw():
    """Return the figure."""
    rng = np.random.default_rng(3)
    neurons, components, spikes, epsilon = 6, 30, 150, 0.1
    weights = rng.gamma(0.5, size=(components, neurons))
    weights /= weights.sum(0)
    drawn = rng.choice(components, spikes, p=weights[:, 2])
    h = np.full(neurons, 1 / neurons)
    course = [h]
    for spike in drawn:
        answer = h * weights[spike]
        h = (h + epsilon * answer / answer.sum()) / (1 + epsilon)
        course.append(h)
    course = np.array(course)
    figure, (raster, belief) = new_figure(2, 1, width="page", height=3.4, sharex=True)
    raster.plot(np.arange(1, spikes + 1), drawn, ".", color="0.3", markersize=3)
    raster.set(ylabel="input component", ylim=(-1, components))
    for j in range(neurons):
        belief.plot(course[:, j], color=colour("sbs") if j == 2 else "0.7", linewidth=1.8 if j == 2 else 1)
    belief.text(spikes, course[-1, 2], " the cause", color=colour("sbs"), va="center")
    belief.set(xlabel="spikes", ylabel="belief h", xlim=(0, spikes + 14), ylim=(0, 1))
    return figure
