"""DALTON in a minute: a spiking network on 8 x 8 digits by three rules, drawn into dalton_quickstart.png.

pip install 'packages/dalton[plot]', then python examples/dalton_quickstart.py
"""

import dalton
import matplotlib.pyplot as plt
import torch
from reprokit.plots import colour

# Your own data: a path to images (folder, .zip, .npz) or to event recordings in class folders in place of "digits";
# or arrays and tensors: dalton.data.splits_of((images, labels), (test_images, test_labels), steps=20)
digits = dalton.data.load("digits", steps=20, train_size=600)

plt.style.use("reprokit.paper")
figure, axes = plt.subplots(figsize=(5, 3))
for method, setting in (("surrgd", "bptt"), ("tfr", "bptt"), ("dalton", "bptt"), ("dalton", "online")):
    net = dalton.SpikingCNN("A1", digits.input_shape, seed=0)
    rate = 1e-3 if setting == "online" else 3e-3  # one update a time-step, or one a batch
    optimizer = torch.optim.Adam(dalton.trainable(net, method).values(), lr=rate)
    options = {"setting": "online", "burn_in": 5} if setting == "online" else {}
    accuracy = []
    for epoch in (1, 2, 3, 4):
        for images, labels in digits.train.batches(50, epoch):
            dalton.train_step(method, net, optimizer, images, labels, steps=20, **options)
        accuracy.append(100 * dalton.evaluate(net, digits.test).accuracy)
    memory = dalton.bytes_per_sample(net, method, setting, 20) / 1000
    print(f"{method:6s} {setting:6s}: test accuracy {accuracy[-1]:.1f} %, {memory:.0f} kB for each sample")
    line = "--" if setting == "online" else "-"
    axes.plot(range(1, 5), accuracy, line, marker="o", color=colour(method), label=f"{method}, {setting}")
axes.set(xlabel="epoch", ylabel="test accuracy / %", xticks=range(1, 5), ylim=(0, 100))
axes.legend(title="one seed")
figure.savefig("dalton_quickstart.png")
