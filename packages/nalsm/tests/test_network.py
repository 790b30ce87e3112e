"""The network generator and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nalsm import LiquidNetwork, NetworkSpec, generate
from nalsm.model.network import connection_statistics
from nalsm_small import small_network
from reprokit import UserError


def test_file_round_trip_and_size(tmp_path: Path) -> None:
    network = generate(NetworkSpec(seed=1))
    file = network.save(tmp_path / "net.npz")
    assert file.stat().st_size < 2_000_000
    again = LiquidNetwork.load(file)
    for name in ("post", "pre", "sign", "position"):
        np.testing.assert_array_equal(getattr(again, name), getattr(network, name))
    assert again.metadata["seed"] == 1
    assert again.metadata["dims"] == [10, 10, 10]


def test_connection_counts_follow_the_wiring_rule() -> None:
    """Expected counts of 1000 neurons: EE 11029, E->I 1380, I->E 4141, II 172."""
    counts = connection_statistics(generate(NetworkSpec(seed=5)))
    expected = {"n_EE": 11029, "n_EI(exc->inh)": 1380, "n_IE(inh->exc)": 4141, "n_II": 172}
    for name, value in expected.items():
        assert abs(counts[name] - value) < 5 * np.sqrt(value) + 0.02 * value, name
    assert counts["n_input_syn"] == 117_600


def test_inputs_per_pair_are_distinct() -> None:
    network = small_network()
    pairs = network.post.astype(np.int64) * 10_000 + network.pre
    assert len(np.unique(pairs)) == len(pairs)
    assert not (network.post == network.pre).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": (0, 4, 4)}, "dims"),
        ({"dims": (4, 4)}, "dims"),
        ({"input_density": 1.5}, "input_density is 1.5"),
        ({"excitatory_fraction": -0.1}, "excitatory_fraction"),
        ({"connection": (2.0, 0.0, 0.0, 0.0)}, "connection"),
        ({"inputs": 0}, "inputs is 0"),
        ({"length": 0.0}, "length"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_specifications_are_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(NetworkSpec(), **change)  # pyright: ignore


def test_too_large_networks_say_what_they_need() -> None:
    with pytest.raises(UserError, match=r"need .* GiB to generate"):
        generate(NetworkSpec(dims=(100, 100, 100)))


def test_damaged_files_are_named(tmp_path: Path) -> None:
    file = small_network().save(tmp_path / "net.npz")
    data = file.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 1):
        file.write_bytes(data[:size])
        with pytest.raises(UserError, match=r"net\.npz"):
            LiquidNetwork.load(file)
    with pytest.raises(UserError, match="no such network"):
        LiquidNetwork.load(tmp_path / "absent.npz")


def test_unsorted_synapses_are_refused(tmp_path: Path) -> None:
    network = small_network()
    replace(network, post=network.post[::-1].copy()).save(tmp_path / "net.npz")
    with pytest.raises(UserError, match="order"):
        LiquidNetwork.load(tmp_path / "net.npz")
