"""A liquid state machine in a minute: a scikit-learn estimator on 8 x 8 digits, drawn into nalsm_quickstart.png.

pip install 'packages/nalsm[plot]', then python examples/nalsm_quickstart.py
"""

import matplotlib.pyplot as plt
import numpy as np
from nalsm import LiquidStateMachine
from reprokit.plots import colour
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

# Your own data: any table (sample, feature) of values from 0 up, as here; or time series and spikes,
# (sample, millisecond, input). Put MinMaxScaler(clip=True) before features that may be negative.
x, y = load_digits(return_X_y=True)
x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0)

accuracy = {}
for model in ("lsm", "lsm-stdp", "nalsm"):
    liquid = LiquidStateMachine(model=model, dims=(6, 6, 6), duration=100, random_state=0)
    liquid.fit(x_train, y_train)
    accuracy[model] = liquid.score(x_test, y_test)
    print(f"{model:8s} test accuracy {100 * accuracy[model]:.1f} %, liquid at {liquid.rate_:.0f} Hz")
print("classes of five images:", liquid.predict(x_test[:5]))

counts = liquid.transform(x_test)  # (sample, neuron): what the readout sees
order = np.argsort(y_test, kind="stable")
plt.style.use("reprokit.paper")
figure, (left, right) = plt.subplots(1, 2, figsize=(6.9, 2.8), width_ratios=(1.6, 1))
shown = left.imshow(counts[order].T, aspect="auto", cmap="magma", interpolation="nearest")
figure.colorbar(shown, label="spikes in 100 ms")
left.set(xlabel="test image, sorted by class", ylabel="neuron of the liquid", title="nalsm")
for place, (model, share) in enumerate(accuracy.items()):
    error = np.sqrt(share * (1 - share) / len(y_test))
    right.barh(place, 100 * share, xerr=100 * error, capsize=3, color=colour(model), alpha=0.8)
right.set(yticks=range(3), yticklabels=accuracy, xlabel="test accuracy / % (± standard error)", xlim=(0, 102))
figure.savefig("nalsm_quickstart.png")
