"""Feedback alignment in a minute: five rules on 8 x 8 digits, and how far they are from back-propagation.

pip install 'packages/bdfa[plot]', then python examples/bdfa_quickstart.py; it draws bdfa_quickstart.png.
"""

import bdfa
import matplotlib.pyplot as plt
import torch
from reprokit import load_images
from reprokit.plots import colour

# Your own images: a path to an image folder, a .zip of it, or an .npz file in place of "digits";
# or any two tensors, inputs (sample, ...) and labels int64 (sample,).
splits = load_images("digits")
images, test_images = (
    torch.tensor(part.images / 255).float().flatten(1) for part in (splits.train, splits.test)
)
labels, test_labels = (torch.tensor(part.labels) for part in (splits.train, splits.test))

plt.style.use("reprokit.paper")
figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 2.6))
for rule in ("bp", "fa", "dfa", "bfa", "bdfa"):
    torch.manual_seed(1)
    # Your own network: any nn.Module in place of bdfa.mlp, with example=<a batch of inputs>.
    model = bdfa.FeedbackModel(bdfa.mlp(64, (64, 64), 10), rule=rule, seed=1)
    optimiser = bdfa.make_optimiser("rmsprop", model.forward_parameters(), lr=1e-3)
    criterion = bdfa.Criterion("bce")
    errors, angles = [], []
    for _epoch in range(8):
        for rows in torch.randperm(len(labels)).split(32):
            optimiser.zero_grad()
            criterion(model(images[rows], labels=labels[rows]), labels[rows]).backward()
            optimiser.step()
        with torch.no_grad():
            errors.append(100 * float((model(test_images).argmax(1) != test_labels).float().mean()))
        measured = bdfa.measure_alignment(model, images[:256], labels[:256])
        angles.append(measured[0].gradient_angle)
    print(
        f"{rule:5s} test error {errors[-1]:5.1f} %, first layer {angles[-1]:5.1f} degrees from the true gradient"
    )
    left.plot(range(1, 9), errors, color=colour(rule), label=rule.upper())
    right.plot(range(1, 9), angles, color=colour(rule))
left.set(xlabel="epoch", ylabel="test error / %", ylim=(0, None))
left.legend(ncols=2, title="one seed")
right.set(xlabel="epoch", ylabel="angle to back-propagation / degrees\n(first layer)", ylim=(-3, 120))
figure.savefig("bdfa_quickstart.png")
