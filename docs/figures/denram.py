"""Three input spikes, their delayed copies, and the membrane that peaks where the copies coincide."""

import numpy as np
from reprokit.plots import colour, new_figure


def draw():
    """Return the figure."""
    steps, alpha = 60, np.exp(-1 / 6)
    spikes, delays = [8, 17, 30], [[4, 26], [11, 17], [4, 14]]
    figure, axes = new_figure(3, 1, width="page", height=3.4, sharex=True)
    inputs, copies, membrane = axes
    current = np.zeros(steps)
    for channel, (time, lags) in enumerate(zip(spikes, delays, strict=True)):
        inputs.vlines(time, channel - 0.35, channel + 0.35, color=colour("input"), linewidth=2)
        for k, lag in enumerate(lags):
            row = channel + (k - 0.5) * 0.36
            late = time + lag
            copies.annotate(
                "", (late, row), (time, row), arrowprops={"arrowstyle": "-", "color": "0.8", "linewidth": 0.8}
            )
            copies.vlines(late, row - 0.15, row + 0.15, color=colour("denram"), linewidth=2)
            current[late] += 1
    voltage = np.zeros(steps)
    for t in range(1, steps):
        voltage[t] = max(0, alpha * voltage[t - 1] + current[t])
    membrane.plot(voltage, color=colour("denram"))
    best = int(voltage.argmax())
    membrane.plot(best, voltage[best], "o", color="k")
    membrane.annotate("score: the maximum", (best, voltage[best]), (best + 2, voltage[best] - 0.1))
    inputs.set(yticks=range(3), yticklabels=["a", "b", "c"], ylabel="input", ylim=(2.6, -0.6))
    copies.set(yticks=range(3), yticklabels=["a", "b", "c"], ylabel="after delays", ylim=(2.6, -0.6))
    membrane.set(xlabel="time-step", ylabel="V", ylim=(0, None), xlim=(0, steps - 1))
    return figure
