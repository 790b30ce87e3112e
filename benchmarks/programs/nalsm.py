"""A liquid of nalsm and its weights: what its cases share."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from nalsm import Config, LiquidNetwork, NetworkSpec, PlasticityParameters, Rates, generate
from nalsm.data.loading import RateImages, load_dataset
from nalsm.training.liquid import Liquid
from reprokit import UserError, load_images

STATIC_WEIGHT = 0.9
RULES = {
    "plastic": PlasticityParameters(rule="astrocyte", rate_decay=0.99),
    "pair-STDP": PlasticityParameters(rule="stdp", rate_decay=0.99),
    "static": PlasticityParameters(rule="none"),
}


def images() -> RateImages:
    """Return MNIST where a mirror or a cache has it, else the embedded digits enlarged to 28 x 28."""
    os.environ.setdefault("REPROKIT_OFFLINE", "1")
    try:
        return load_dataset("mnist")  # pyright: ignore[reportReturnType]
    except UserError as error:
        print(f"MNIST is not available ({error}); the embedded digits stand in.")
    small = load_images("digits").train
    large = np.kron(small.images, np.ones((1, 1, 3, 3), np.uint8))
    large = np.pad(large, ((0, 0), (0, 0), (2, 2), (2, 2)))
    top = float((large / large.sum((1, 2, 3), keepdims=True)).max())
    splits = ("train", "validation", "test")
    return RateImages("digits-28x28", 10, dict.fromkeys(splits, large), dict.fromkeys(splits, small.labels),
                      dict.fromkeys(splits, top))  # fmt: skip


def initialised(network: LiquidNetwork, data: RateImages, config: Config, presentations: int) -> np.ndarray:
    """Return the weights a NALSM initialisation phase reaches; kept in the temporary folder."""
    key = hashlib.sha256(f"{config} {data.name} {presentations}".encode()).hexdigest()[:16]
    file = Path(tempfile.gettempdir()) / "nalsm-benchmark" / f"weights-{key}.npy"
    if file.exists():
        return np.load(file, allow_pickle=False)
    liquid = Liquid(network, config)
    begin = time.perf_counter()
    weights = liquid.initialise(data, liquid.start(), presentations).weights
    seconds = time.perf_counter() - begin
    print(f"initialisation: {presentations} presentations of 20 ms in {seconds:.1f} s, "
          f"{seconds / presentations * 5e4:.1f} s for 1e6 ms")  # fmt: skip
    file.parent.mkdir(exist_ok=True)
    temporary = file.with_suffix(f".{os.getpid()}.npy")
    np.save(temporary, weights)
    temporary.replace(file)
    return weights


class Liquids:
    """One liquid, samples of 250 ms, and weights for plastic and static ones.

    Args:
        dims: Sides of the lattice of neurons; None: the published 10 x 10 x 10.
        samples: How many samples are presented.
        presentations: Presentations of the initialisation phase that gives the weights of plastic liquids.
        astrocyte_weight: None: the published one.
    """

    def __init__(
        self,
        samples: int,
        presentations: int,
        dims: tuple[int, int, int] | None = None,
        astrocyte_weight: float | None = None,
    ) -> None:
        data, sides = images(), {} if dims is None else {"dims": dims}
        spec = NetworkSpec(inputs=data.inputs, seed=1, **sides)
        self.network: LiquidNetwork = generate(spec)
        weight = {} if astrocyte_weight is None else {"astrocyte_weight": astrocyte_weight}
        self._config, self._data, self._presentations = Config(**sides, **weight), data, presentations
        self.rules = {name: replace(rule, **weight) for name, rule in RULES.items()}
        self.source: Rates = data.source("train", np.arange(samples), 7)
        self.data_name = data.name

    def weights(self, kind: str) -> np.ndarray:
        """Return the weights that samples start from."""
        if kind == "static":
            return self.network.start_weights(STATIC_WEIGHT)
        return initialised(self.network, self._data, self._config, self._presentations)

    def visits(self, counts: np.ndarray, plastic: bool) -> float:
        """Return how many synapses all spikes of the liquid's neurons reach: outgoing ones, and incoming if plastic.

        Args:
            counts: Spikes (sample, neuron of the liquid).
            plastic: Whether a spike also changes the weights that lead to its neuron.
        """
        active = self.network.active
        pre, post, size = self.network.pre[active], self.network.post[active], self.network.liquid
        spikes = counts.sum(0).astype(float)
        out = np.bincount(pre, minlength=size)[:size]
        return float(spikes @ (out + (out + np.bincount(post, minlength=size)[:size] if plastic else 0)))
