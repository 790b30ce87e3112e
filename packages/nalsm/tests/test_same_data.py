"""A run keeps the data and the network that it began with, and records which they are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, LiquidNetwork, NetworkSpec, Run, generate
from nalsm.cli import main
from nalsm.reproduce.sweep import combinations, parse
from nalsm.training.evaluation import evaluate
from nalsm.training.export import export_features
from nalsm.training.runs import settled
from nalsm_commands import run
from reprokit import UserError, load_images

SMALL: dict[str, Any] = {
    "dims": (4, 4, 4), "duration": 60, "readout": "ridge", "record": 0, "model": "lsm", "weight": 1.5,
    "train_samples": 100, "validation_samples": 30, "test_samples": 30,
}  # fmt: skip


def own_file(path: Path, seed: int) -> str:
    """Write 300 digits, chosen by `seed`: other images and labels of the same shape."""
    splits, stream = load_images("digits"), np.random.default_rng(seed)
    train, test = (stream.permutation(len(part))[:300] for part in (splits.train, splits.test))
    np.savez(path, train_images=splits.train.images[train], train_labels=splits.train.labels[train],
             test_images=splits.test.images[test], test_labels=splits.test.labels[test])  # fmt: skip
    return str(path)


def stopped(folder: Path, config: Config) -> None:
    """Put a run into the state of one that was killed before the test features."""
    with Run(folder, config) as made:
        made.train()
    for name in ("summary.json", "features_test.npy", "readout.npz"):
        (folder / name).unlink()
    digests = json.loads((folder / "digests.json").read_text())
    for name in ("summary.json", "features_test.npy", "readout.npz"):
        digests.pop(name, None)
    (folder / "digests.json").write_text(json.dumps(digests))


def test_a_data_file_that_changed_is_refused_everywhere(tmp_path: Path) -> None:
    """Old features with new labels silently gave 0.07 instead of 0.79."""
    config = Config(data=own_file(tmp_path / "own.npz", 0), **SMALL)
    folder = tmp_path / "run"
    stopped(folder, config)
    before = {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    own_file(tmp_path / "own.npz", 1)
    with pytest.raises(UserError, match=r"the data set .*own\.npz changed since the run in .*run began"):
        Run(folder, config)
    assert before == {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    for work in (
        lambda: evaluate("divergence", folder),
        lambda: export_features(folder, "test", noise=10.0),
    ):
        with pytest.raises(UserError, match=r"own\.npz changed since the run"):
            work()
    own_file(tmp_path / "own.npz", 0)
    with Run(folder, config) as again:
        found = again.train()
    with Run(tmp_path / "whole", config) as whole:
        assert found["test_accuracy"] == whole.train()["test_accuracy"]


def test_a_run_without_a_record_gets_one(tmp_path: Path) -> None:
    config = Config(data="digits", **SMALL)
    stopped(tmp_path / "run", config)
    (tmp_path / "run" / "data.json").unlink()
    with Run(tmp_path / "run", config) as again:
        again.train()
    held = json.loads((tmp_path / "run" / "data.json").read_text())
    assert held["data"]["name"] == "digits"
    assert held["data"]["samples"] == {"train": 100, "validation": 30, "test": 30}
    assert held["data"]["classes"] == 10
    told = run(["", "", "", "info", str(tmp_path / "run")]).stdout
    assert f"digits (SHA-256 {held['data']['digest'][:12]})" in told


def test_the_readout_takes_the_labels_beside_the_features(tmp_path: Path) -> None:
    config = Config(data="digits", **SMALL)
    with Run(tmp_path / "run", config) as made:
        expected = made.train()
        for labels in made.data.label.values():  # type: ignore[attr-defined]
            labels[:] = 0
        assert made.readout()["test_accuracy"] == expected["test_accuracy"]


class TestNetworkFile:
    """Three "network seeds" with a network file were three copies of one run."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> str:
        return str(generate(NetworkSpec((4, 4, 3), 64, 5)).save(tmp_path / "net.npz"))

    def test_the_file_settles_dims_and_seed(self, tmp_path: Path, file: str) -> None:
        config = Config(data="digits", network=file, **{**SMALL, "dims": (10, 10, 10)})
        with Run(tmp_path / "run", config) as made:
            assert (made.config.dims, made.config.network_seed) == ((4, 4, 3), 5)
            made.train()
        held = json.loads((tmp_path / "run" / "config.json").read_text())
        assert (held["dims"], held["network_seed"]) == ([4, 4, 3], 5)
        network = json.loads((tmp_path / "run" / "data.json").read_text())["files"]["network"]
        assert network["path"] == "net.npz"
        assert len(network["sha256"]) == 64
        with Run(tmp_path / "run", config) as again:  # the same words resume it
            again.train()
        assert settled(settled(config)) == settled(config)

    @pytest.mark.parametrize("other", [{"dims": (9, 9, 9)}, {"network_seed": 77}])
    def test_other_dims_or_seeds_are_refused(self, tmp_path: Path, file: str, other: dict[str, Any]) -> None:
        config = replace(Config(data="digits", network=file), **other)
        with pytest.raises(UserError, match="which the file determines"):
            Run(tmp_path / "run", config)
        assert not (tmp_path / "run").exists()

    def test_another_file_of_the_same_name_is_refused(self, tmp_path: Path, file: str) -> None:
        config = Config(data="digits", network=file, **{**SMALL, "dims": (10, 10, 10)})
        stopped(tmp_path / "run", config)
        generate(NetworkSpec((4, 4, 3), 64, 6)).save(file)
        with pytest.raises(UserError, match=r"the network file .*net\.npz changed"):
            Run(tmp_path / "run", config)
        Path(file).unlink()  # the run holds a copy
        with Run(tmp_path / "run", config) as again:
            assert again.train()["test_accuracy"] > 0

    def test_sweeps_do_not_vary_what_it_settles(self, tmp_path: Path, file: str) -> None:
        base = Config(data="digits", network=file)
        for vary in ({"network_seed": [1, 2]}, {"dims": [(3, 3, 3)]}):
            with pytest.raises(UserError, match="cannot be varied, because the network file determines it"):
                combinations(base, vary)
        other = str(generate(NetworkSpec((3, 3, 3), 64, 8)).save(tmp_path / "other.npz"))
        made = combinations(Config(data="digits"), {"network": [file, other]})
        assert [(config.dims, config.network_seed) for config in made] == [((4, 4, 3), 5), ((3, 3, 3), 8)]

    def test_a_file_without_metadata_says_its_size(self, tmp_path: Path) -> None:
        network = generate(NetworkSpec((4, 3, 2), 64, 5))
        file = replace(network, metadata={}).save(tmp_path / "net.npz")
        assert LiquidNetwork.load(file).dims == (4, 3, 2)
        assert settled(Config(network=str(file))).dims == (4, 3, 2)


class TestVary:
    def test_dims_and_defaults(self) -> None:
        found = parse(
            ["dims=4x4x4,5 5 5,none", "weight=none,3", "carry_trace=true,none", "initial-samples=5"]
        )
        assert found == {
            "dims": [(4, 4, 4), (5, 5, 5), (10, 10, 10)],
            "weight": [None, 3.0],
            "carry_trace": [True, None],
            "initial_samples": [5],
        }
        assert len(combinations(Config(), found)) == 12

    def test_a_name_given_twice_keeps_both(self) -> None:
        assert parse(["weight=2", "weight=3"]) == {"weight": [2.0, 3.0]}

    @pytest.mark.parametrize("word", ["dims=4x4", "dims=a", "dims=4,4,4", "weight=x"])
    def test_wrong_values(self, word: str) -> None:
        with pytest.raises(UserError):
            combinations(Config(), parse([word]))

    def test_two_flags_on_the_command_line(self, tmp_path: Path) -> None:
        words = (
            "sweep --data digits --model lsm --duration 60 --train-samples 60 --validation-samples 20 "
            f"--test-samples 20 --readout ridge --record 0 --vary weight=2 --vary dims=3x3x3,4x4x4 --out {tmp_path}"
        )
        done = run(["", "", "", *words.split()])
        assert done.returncode == 0, done.stderr
        rows = (tmp_path / "results.csv").read_text().splitlines()
        assert len(rows) == 3
        assert "weight 2, dims 4x4x4: test" in done.stdout

    def test_a_grid_file_makes_the_runs_of_vary(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        grid = tmp_path / "grid.toml"
        grid.write_text(
            'seeds = [1, 2]\n[base]\nmodel = "lsm"\n[axes]\nweight = [2, 3]\n[[exclude]]\nweight = 3.0'
        )
        words = ["--data", "digits", "--out", str(tmp_path / "out"), "--dry-run"]
        vary = ["--vary", "weight=2", "--vary", "network_seed=1,2"]
        assert main(["sweep", "--model", "lsm", *words, *vary]) == 0
        varied = capsys.readouterr().out
        assert main(["sweep", str(grid), *words]) == 0
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(varied.splitlines())
        assert "2 runs, 2 to do" in varied
        assert main(["sweep", str(grid), *words, *vary]) == 2
        assert "--vary and the grid" in capsys.readouterr().err
