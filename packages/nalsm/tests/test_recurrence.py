"""Liquids without synapses inside, the readout on the input itself, the paired test of the difference, and thresholds
chosen on the validation part."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, Run
from nalsm.reproduce import plan
from nalsm.reproduce.paired import mcnemar
from nalsm.reproduce.plan import Experiment, chosen_thresholds, experiments, reproduce, run_one
from nalsm.reproduce.raw_input import event_counts, train_on_input
from nalsm.training.liquid import derive_seed
from nalsm.training.runs import open_dataset, open_run
from nalsm_small import small_network
from reprokit import UserError, read_run, run_id
from reprokit.run.study import ReproduceOptions
from reprokit.run.study import chosen as chosen_tasks

TINY = Config(
    data="digits", dims=(3, 3, 3), duration=64, initial_samples=12, train_samples=60, validation_samples=20,
    test_samples=40, readout="ridge", record=3, weight=2.5,
)  # fmt: skip


def test_without_recurrence_the_input_wiring_stays() -> None:
    network = small_network()
    bare = network.without_recurrence()
    inputs = network.active & (network.pre >= network.liquid)
    assert (network.active & ~inputs).any()
    assert not (bare.active & (bare.pre < bare.liquid)).any()
    for name in ("post", "pre", "sign"):
        kept = getattr(bare, name)[bare.active]
        np.testing.assert_array_equal(kept, getattr(network, name)[inputs])
    assert (~bare.active).sum() == (~network.active).sum()
    assert (bare.excitatory, bare.inhibitory, bare.inputs) == (
        network.excitatory, network.inhibitory, network.inputs,
    )  # fmt: skip


def test_recurrence_is_hashed_off_its_default_alone() -> None:
    assert "recurrence" not in Config().content()
    assert Config(recurrence=False).content()["recurrence"] is False
    with pytest.raises(UserError, match="recurrence is 0; give True or False"):
        Config(recurrence=0)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run with recurrence, one without, and the readout on the input."""
    folder = tmp_path_factory.mktemp("recurrence")
    Run(folder / "whole", TINY).train()
    Run(folder / "bare", replace(TINY, recurrence=False)).train()
    train_on_input(folder / "input", TINY)
    return folder


def test_a_run_keeps_the_class_of_each_test_image(runs: Path) -> None:
    for name in ("whole", "bare"):
        run = open_run(runs / name)
        predicted, labels = run.predictions()
        assert predicted.dtype == np.int64
        assert len(predicted) == 40
        assert np.mean(predicted == labels) == run.stored.summary["test_accuracy"]  # type: ignore[index]
        np.testing.assert_array_equal(predicted, run.readout().predict(run.features("test")[0]))
    assert not open_run(runs / "bare").network.metadata["recurrence"]
    assert len(open_run(runs / "bare").weights) < len(open_run(runs / "whole").weights)
    assert not np.array_equal(*(open_run(runs / n).features("test")[0] for n in ("whole", "bare")))


def test_runs_that_kept_no_predictions_are_predicted_again(runs: Path) -> None:
    run = open_run(runs / "whole")
    wanted = run.predictions()[0]
    (runs / "whole" / "predictions_test.npy").unlink()
    np.testing.assert_array_equal(run.predictions()[0], wanted)


def test_the_input_is_counted_as_the_liquid_is_shown_it(runs: Path) -> None:
    data = open_dataset(TINY)
    events = data.source("test", np.arange(40), derive_seed(TINY.seed, "features")).events(TINY.duration)
    wanted = sum(events.at(t) for t in range(TINY.duration))
    np.testing.assert_array_equal(event_counts(data, "test", TINY), wanted)
    stored = read_run(runs / "input", package="nalsm")
    np.testing.assert_array_equal(stored.array("features_test", shape=wanted.shape), wanted)  # type: ignore[union-attr]
    assert stored.summary is not None
    before = (runs / "input" / "summary.json").read_bytes()
    assert train_on_input(runs / "input", TINY) == json.loads(before)  # only read
    with pytest.raises(UserError, match="seed"):
        train_on_input(runs / "input", replace(TINY, seed=3))


def test_an_interrupted_count_of_the_input_continues(runs: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from nalsm.reproduce import raw_input

    original, counted = raw_input.event_counts, []

    def dies(data: Any, split: Any, config: Config) -> np.ndarray:
        counted.append(split)
        if len(counted) == 2:
            raise KeyboardInterrupt
        return original(data, split, config)

    monkeypatch.setattr(raw_input, "event_counts", dies)
    with pytest.raises(KeyboardInterrupt):
        train_on_input(tmp_path / "run", TINY)
    train_on_input(tmp_path / "run", TINY)
    assert counted == ["train", "validation", "validation", "test"]
    for name in ("features_train.npy", "predictions_test.npy"):
        assert (tmp_path / "run" / name).read_bytes() == (runs / "input" / name).read_bytes()


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 0), (7, 2), (2, 7), (5, 5), (40, 61)])
def test_mcnemar_by_its_definition(b: int, c: int) -> None:
    labels = np.zeros(b + c + 4, int)
    first, second = labels.copy(), labels.copy()
    second[:b] = 1  # only the first is right
    first[b : b + c] = 1
    first[-1] = second[-1] = 1  # both are wrong
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    found = mcnemar(first, second, labels)
    assert (found.only_first, found.only_second) == (b, c)
    assert found.p_value == pytest.approx(min(1.0, 2 * tail))


def test_mcnemar_wants_the_same_samples() -> None:
    with pytest.raises(
        UserError, match=r"predictions have shapes \(3,\) and \(2,\).*give three of the same length"
    ):
        mcnemar(np.zeros(3), np.zeros(2), np.zeros(3))


def small(scale: str, data: str, networks: Any = ()) -> list[Experiment]:
    """The plan with runs of a second."""
    names = ("dims", "duration", "initial_samples", "train_samples", "validation_samples", "test_samples", "readout",
             "record", "weight")  # fmt: skip
    few = {name: getattr(TINY, name) for name in names}
    return [replace(e, config=replace(e.config, **few)) for e in experiments(scale, data, networks)]  # type: ignore[arg-type]


def table_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_the_part_recurrence_leaves_rows_and_paired_tests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(plan, "experiments", small)
    assert reproduce(ReproduceOptions(only=("recurrence",), out=tmp_path)) == 0
    assert "waits for nalsm-1-" in capsys.readouterr().out  # the runs with recurrence are of another part
    rows = table_of(tmp_path / "results.csv")
    assert [(row["experiment"], row["model"]) for row in rows] == [
        ("recurrence", "nalsm"), ("recurrence", "lsm"), ("raw-input", "raw input"),
    ]  # fmt: skip
    assert not (tmp_path / "paired.csv").exists() or len(table_of(tmp_path / "paired.csv")) == 2
    assert reproduce(ReproduceOptions(only=("recurrence", "nalsm", "lsm"), out=tmp_path)) == 0
    tests = table_of(tmp_path / "paired.csv")
    assert sorted((test["first"], test["second"]) for test in tests) == [
        ("lsm", "lsm without recurrence"), ("lsm", "raw input"), ("lsm without recurrence", "raw input"),
        ("nalsm", "nalsm without recurrence"), ("nalsm", "raw input"), ("nalsm without recurrence", "raw input"),
    ]  # fmt: skip
    rows = table_of(tmp_path / "results.csv")
    accuracy = {row["experiment"] + row["model"]: float(row["test_accuracy"]) for row in rows}
    for test in tests:
        name = (
            f"recurrence{test['first'].split()[0]}"
            if "without" in test["first"]
            else f"models{test['first']}"
        )
        assert float(test["first_accuracy"]) == accuracy[name]
        difference = float(test["first_accuracy"]) - float(test["second_accuracy"])
        assert difference * 40 == pytest.approx(int(test["only_first"]) - int(test["only_second"]))
    branching = {row["model"] + row["recurrence"]: row for row in table_of(tmp_path / "branching.csv")}
    assert set(branching) == {"nalsmtrue", "nalsmfalse", "lsmtrue", "lsmfalse"}
    by_id = {row["run_id"]: row for row in rows}
    for row in branching.values():
        run = json.loads(row["config"])["run"]
        assert row["branching_factor"] == by_id[run_id(run)]["branching_test"]
    assert float(branching["lsmfalse"]["branching_factor"]) == 0.0  # no neuron has a partner
    reproduce(ReproduceOptions(only=("recurrence", "nalsm", "lsm"), out=tmp_path))
    assert table_of(tmp_path / "paired.csv") == tests


def test_thresholds_are_chosen_on_the_validation_part_of_each_network() -> None:
    base = experiments("paper", "mnist", (1, 2))
    candidates = [e for e in base if e.name == "ap-stdp-threshold"]
    assert len(candidates) == 2 * len(plan.THRESHOLDS) * len(plan.RANGES)
    assert all(e.extra and e.part == "ap-stdp" for e in candidates)
    whole = next(e.config for e in base if e.name == "models" and e.config.model == "lsm-apstdp")
    rows = [
        {"run_id": run_id(plan._identity(e, "paper")), "validation_accuracy": 0.5, "test_accuracy": 0.9}
        for e in candidates
    ]
    rows[3]["validation_accuracy"] = 0.6  # of network 1; the test part says nothing
    rows[-2]["validation_accuracy"] = 0.7
    found = chosen_thresholds(candidates, rows, "paper", whole)
    assert [e.config for e in found] == [
        replace(whole, network_seed=seed, ap_theta=best.config.ap_theta, ap_range=best.config.ap_range)
        for seed, best in ((1, candidates[3]), (2, candidates[-2]))
    ]
    assert [e.config.network_seed for e in chosen_thresholds(candidates, rows[:-1], "paper", whole)] == [1]


@pytest.mark.slow
def test_the_part_ap_stdp_ends_with_the_chosen_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "experiments", small)
    assert reproduce(ReproduceOptions(only=("ap-stdp",), out=tmp_path)) == 0
    rows = table_of(tmp_path / "results.csv")
    assert [row["experiment"] for row in rows] == ["ap-stdp-threshold"] * 6 + ["ap-stdp-chosen"]
    best = max(rows[:6], key=lambda row: float(row["validation_accuracy"]))
    for name in ("ap_theta", "ap_range"):
        assert json.loads(rows[-1]["config"])[name] == json.loads(best["config"])[name]


def test_a_part_of_n_mnist_is_called_so() -> None:
    named = [e for e in experiments("paper", "mnist") if e.part == "n-mnist-part"]
    assert [e.config.model for e in named] == ["nalsm", "lsm", "lsm-apstdp", "lsm-stdp", *["nalsm"] * 8]
    assert [e.config.dims for e in named].count((20, 20, 20)) == 1
    sweep = {e.config.astrocyte_weight for e in named if e.name == "n-mnist-astrocyte-weight"}
    assert sweep == set(plan.SWEEP)
    assert {e.config.train_samples for e in named} == {10_000}
    own = [e for e in experiments("paper", "part.zip") if e.part == "n-mnist-part"]
    assert {(e.config.data, e.config.train_samples) for e in own} == {("part.zip", None)}
    assert all("part of N-MNIST" in plan._label(e) for e in named)


def test_a_model_s_name_chooses_no_run_on_other_data() -> None:
    tasks = [plan._task(e, "paper") for e in experiments("paper", "mnist")]
    named = chosen_tasks(tasks, ("nalsm", "lsm", "lsm-apstdp", "lsm-stdp"))
    assert {task.config["data"] for task in named} == {"mnist"}
    whole = chosen_tasks(tasks, ("n-mnist",))
    assert {(task.config["data"], task.part) for task in whole} == {("n-mnist", "n-mnist")}
    assert all("part of N-MNIST" in task.label for task in chosen_tasks(tasks, ("n-mnist-part",)))
    labels = [task.label for task in tasks]
    assert len(set(labels)) == len(labels)


def test_the_row_of_the_input_has_no_liquid(tmp_path: Path) -> None:
    (raw,) = [e for e in small("smoke", "digits") if e.raw]
    row = run_one(plan._identity(raw, "smoke"), runs=tmp_path, scale="smoke")
    assert (row["model"], row["neurons"]) == ("raw input", 64)
    assert row["weight"] is row["rate_hz"] is row["branching_test"] is None
    assert 0 < row["test_accuracy"] <= 1
    assert row["data_digest"]
