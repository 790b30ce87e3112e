"""DenRAM in a minute: train on generated spike trains, test on noisy hardware, draw denram_quickstart.png.

pip install packages/denram, then python examples/denram_quickstart.py
"""

from dataclasses import replace

import matplotlib.pyplot as plt
from denram import TrainConfig, evaluate, load, open_run, train

# Your own recordings: a folder with mine_train.h5 and mine_test.h5 in the layout of SHD,
#   config = TrainConfig(data="<folder>", n_in=<channels>, ...)
# or arrays, (times in seconds, channels) of each recording:
#   data = denram.from_arrays((samples, labels), (test_samples, test_labels), config.binning, time_unit="s")
#   train(config, data)
config = TrainConfig(data="spoken-toy", n_in=256, tau_mem=15e-3, nb_epochs=8, batch_size=32, lr=1e-3)
levels = [0.0, 0.1, 0.2, 0.3, 0.4]

plt.style.use("reprokit.paper")
figure, axes = plt.subplots(figsize=(5, 3))
for noise in (0.0, 0.2):
    run = open_run(train(replace(config, noise_std=noise)).path)  # the same line again loads the run
    found = evaluate([run], noise_levels=levels, devices=10)
    mean, low, high = ([100 * getattr(result, name) for result in found] for name in ("mean", "p5", "p95"))
    (line,) = axes.plot(levels, mean, marker="o", label=f"trained at {noise:.0%} noise")
    axes.fill_between(levels, low, high, color=line.get_color(), alpha=0.2, linewidth=0)
    print(
        f"trained at {noise:.0%} noise: {mean[0]:.1f} % without noise, {mean[-1]:.1f} % at {levels[-1]:.0%}"
    )
axes.set(xlabel="read noise / largest weight", ylabel="test accuracy / %", ylim=(0, 101))
axes.legend(title="mean, 5 to 95 % of 10 devices")
figure.savefig("denram_quickstart.png")

recordings = run.data().test.events.dense()[:, :5].swapaxes(0, 1)  # 0 and 1, (sample, step, channel)
print("classes of five recordings:", load(run.path).predict(recordings).classes)
