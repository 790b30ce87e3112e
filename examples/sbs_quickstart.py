"""Spike-By-Spike in a minute: train on 8 x 8 digits, classify with few and many spikes, draw sbs_quickstart.png.

pip install 'packages/sbs[plot]', then python examples/sbs_quickstart.py
"""

from dataclasses import replace

import matplotlib.pyplot as plt
from reprokit.plots import colour
from sbs import evaluate, load, load_dataset, preset, train

# Your own images: an image folder (train/<class>/*.png, test/<class>/*.png), a .zip of it, or an .npz file,
#   config = replace(config, data=sbs.DataConfig("<path>"))
# Kernels have to bring the image down to one position; the last layer has a neuron for each class.
config = replace(preset("digits-smoke"), seed=1, test_every=40)
model = train(config, "runs/sbs-quickstart", report=print)  # the same line again loads the run

digits, counts = load_dataset("digits"), [5, 10, 20, 50, 100, 200]
accuracy = [
    evaluate(model.network, model.presentation, digits.test, number_of_spikes=count).accuracy
    for count in counts
]
for count, value in zip(counts, accuracy, strict=True):
    print(f"{count:4d} spikes: {value:.1f} %")

images = digits.test.images[:5]
print("classes of five images:", load("runs/sbs-quickstart").predict(images).classes)

plt.style.use("reprokit.paper")
figure, axes = plt.subplots(figsize=(5, 3))
error = [(value * (100 - value) / len(digits.test)) ** 0.5 for value in accuracy]
axes.errorbar(counts, accuracy, error, marker="o", capsize=2, color=colour("sbs"))
axes.set_xscale("log")
axes.minorticks_off()
axes.set(xlabel="spikes in each layer and position", ylabel="test accuracy / % (± standard error)")
axes.set_xticks(counts, counts)
figure.savefig("sbs_quickstart.png")
