"""Deviations that change a run: what `faithful` does and `fixed` does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from nalsm import Config, Quirks, Run
from nalsm.data.loading import load_dataset
from nalsm.training.liquid import Liquid
from nalsm_small import small_network

FAITHFUL = Config(
    data="digits", dims=(4, 4, 4), duration=60, initial_samples=30, train_samples=30, validation_samples=10,
    test_samples=20, profile="faithful", batch=10, record=0, readout_epochs=20,
)  # fmt: skip


def test_carried_traces_change_later_batches_only(tmp_path: Path) -> None:
    """DEV-3: under `faithful` a sample's result depends on what was presented before it."""
    config = replace(FAITHFUL, validation_samples=10)
    data = load_dataset("digits", limits={"train": 30, "validation": 10, "test": 20})
    faithful, fixed = Run(tmp_path / "a", config), Run(tmp_path / "b", replace(config, profile="fixed"))
    faithful.data = fixed.data = data
    weights = faithful.initialise()
    first = [r.features("validation", weights) for r in (faithful, fixed)]
    np.testing.assert_array_equal(first[0], first[1])  # nothing came before the first batch
    later = [r.features("test", weights) for r in (faithful, fixed)]
    assert not np.array_equal(later[0], later[1])
    for r in (faithful, fixed):
        r.directory.close()


def test_frozen_stdp_leaves_all_but_the_first_sample_static() -> None:
    """DEV-1: in the original on a GPU only the first sample of a batch is plastic under lsm-stdp."""
    data = load_dataset("digits")
    config = replace(FAITHFUL, model="lsm-stdp")
    network = small_network(inputs=64)
    weights = network.start_weights(2.0)
    index = np.arange(20)
    faithful = Liquid(network, config).features(data, "test", index, weights).counts
    plastic = Liquid(network, replace(config, profile="fixed")).features(data, "test", index, weights).counts
    static = (
        Liquid(network, replace(config, profile="fixed", model="lsm"))
        .features(data, "test", index, weights)
        .counts
    )
    first = [0, 10]
    rest = np.setdiff1d(index, first)
    np.testing.assert_array_equal(faithful[first], plastic[first])
    np.testing.assert_array_equal(faithful[rest], static[rest])
    assert not np.array_equal(plastic[rest], static[rest])


def test_own_test_scaling() -> None:
    """DEV-4: the original scales test images by their own maximum."""
    own, common = (load_dataset("digits", own_test_scaling=flag) for flag in (True, False))
    index = np.arange(50)
    sums = [d.source("test", index, 0).probability.sum() for d in (own, common)]  # pyright: ignore
    assert sums[0] != sums[1]
    train = [d.source("train", index, 0).probability for d in (own, common)]  # pyright: ignore
    np.testing.assert_array_equal(train[0], train[1])


def test_seeds_settle_everything(tmp_path: Path) -> None:
    """DEV-8: the original draws its seeds; here a run is repeated by its configuration alone."""
    config = replace(FAITHFUL, profile="fixed", model="lsm", weight=2.0)
    counts = []
    for name, changed in (("a", config), ("b", config), ("c", replace(config, seed=1)),
                          ("d", replace(config, network_seed=2))):  # fmt: skip
        with Run(tmp_path / name, changed) as run:
            counts.append(run.features("test", run.initialise()))
    np.testing.assert_array_equal(counts[0], counts[1])
    assert not np.array_equal(counts[0], counts[2])
    assert not np.array_equal(counts[0], counts[3])


def test_single_quirks_overrule_the_profile(tmp_path: Path) -> None:
    """Each mistake of the original can be switched on alone; a configuration without them is stored as before."""
    assert Config().quirks == Quirks()
    assert Config(profile="faithful").quirks == Quirks(True, True, True, True, True)
    assert Config(own_test_scaling=True).quirks == Quirks(own_test_scaling=True)
    assert not Config(profile="faithful", carry_trace=False).quirks.carry_trace
    assert "carry_trace" not in Config().content()
    assert Config(carry_trace=False).content()["carry_trace"] is False
    fixed = replace(FAITHFUL, profile="fixed", model="lsm-stdp", batch=7)
    counts = {}
    for name, config in (("fixed", fixed), ("frozen", replace(fixed, frozen_stdp=True))):
        with Run(tmp_path / name, config) as run:
            counts[name] = run.features("test", run.initialise())
    same = (counts["fixed"] == counts["frozen"]).all(axis=1)
    assert same[::7].all()  # the first sample of each batch is plastic
    assert same.sum() < 6  # the others are not, though one may count the same
