"""Networks of one size computed by one program: each is the same as alone."""

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import denram
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from denram import EventBatch, TrainConfig, cli, from_arrays, train, train_together
from denram.data.binning import Samples
from denram.data.loading import DataSet
from denram.engines import fft
from denram.engines.together import Batches, BatchResult, Resident, differentiated, judged, timing_of
from denram.model import neuron
from denram.model.readout import undecided
from denram.reproduce import plan
from denram.reproduce.plan import COLUMNS, Protocol, reproduce
from denram.reproduce.together import joint
from denram.rules.together import LOST, SILENT, Pass
from denram.training import together
from denram.training.trainer import make_trainer
from reprokit import Checkpoints, Ledger, UserError
from reprokit.run.study import ReproduceOptions, Task

SMALL = TrainConfig(
    data="mine", n_in=6, n_delays=2, steps=24, duration=0.12, max_delay=9, r_mu=25e9, batch_size=8, lr=5e-3,
    nb_epochs=2, devices=2, engine="fft",
)  # fmt: skip
CLOSE = 2e-5


@pytest.fixture(scope="module")
def data() -> DataSet:
    """60 and 20 samples of three classes, whose channels are live at different times; no part fills its batches."""
    rng = np.random.default_rng(0)

    def part(count: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
        labels = np.arange(count) % 3
        samples = [
            (rng.uniform(0.03 * label, 0.06 + 0.03 * label, 12), rng.integers(0, 6, 12)) for label in labels
        ]
        return samples, labels

    return from_arrays(part(60), part(20), SMALL.binning, time_unit="s", name="mine")


def group_of(base: TrainConfig, folder: Path) -> list[TrainConfig]:
    """Three runs: without noise, with noise, and one of another seed that ends an epoch earlier."""
    settings = ((1, 0.0, 2), (1, 0.1, 2), (2, 0.1, 1))
    return [
        replace(base, seed=seed, noise_std=noise, nb_epochs=epochs, out=folder / str(n))
        for n, (seed, noise, epochs) in enumerate(settings)
    ]


def case(profile: str = "fixed"):
    """Two networks with other delays, and samples that one channel never reaches."""
    spec = denram.NetworkSpec(
        n_in=5, n_delays=3, n_out=4, steps_in=20, max_delay=9, r_mu=25e9, weight_scale=2.0, profile=profile
    )
    rng = np.random.default_rng(0)
    drawn = [denram.initialise(spec, seed) for seed in (3, 4)]
    networks = [denram.DelayNetwork(each.delays, spec, engine="fft") for each in drawn]
    networks[1].lines = denram.DelayNetwork(np.minimum(drawn[1].delays, 6), spec, engine="fft").lines
    spikes = (rng.random((9, 20, 5)) < 0.15).astype(np.uint8)
    spikes[0] = 0
    events, labels = EventBatch.from_dense(spikes), rng.integers(0, 4, 9)
    weights = [each.weights - np.float32(0.3) for each in drawn]  # some outputs are clamped, some silent
    return networks, weights, events, labels


def test_long_stretches_of_time_give_the_membrane_of_single_steps():
    rng = np.random.default_rng(0)
    drive = rng.normal(size=(23, 3, 4)).astype(np.float32)
    drive[:, 0], drive[:4, 1], drive[11:, 1] = 0, 0, 0
    plain = neuron.membrane(drive, 0.8)
    found = neuron.membrane(drive, 0.8, parallel=True)
    np.testing.assert_allclose(found, plain, atol=2e-6)
    np.testing.assert_array_equal(found == 0, plain == 0)  # clamped or silent steps stay exactly so
    np.testing.assert_allclose(
        neuron.current_gradient(drive, plain, 0.8, 5e-7, parallel=True),
        neuron.current_gradient(drive, plain, 0.8, 5e-7),
        atol=1e-6,
    )


@pytest.mark.parametrize("profile", ["faithful", pytest.param("fixed", marks=pytest.mark.slow)])
def test_networks_side_by_side_as_on_a_gpu_give_what_each_gives_alone(profile):
    networks, weights, events, labels = case(profile)
    data = Resident.of(Samples(events, labels, None))
    rows = np.array([[0, 4, 2, 8, 1], [3, 5, 7, 0, 0]], np.int32)
    sizes = np.array([5, 3], np.int32)  # the second batch is padded
    timing = fft.for_accelerator(timing_of(networks), len(networks))
    assert timing.parallel
    assert timing.cells == fft.ACCELERATOR_CELLS // 2
    lags = jnp.stack([jnp.asarray(network.lines.lags) for network in networks])
    run = jax.jit(jax.vmap(partial(differentiated, timing=timing), in_axes=(0, 0, None, 0, 0)))
    results, gradients = run(jnp.stack([jnp.asarray(w) for w in weights]), lags, data, rows, sizes)
    for n, network in enumerate(networks):
        chosen = rows[n, : sizes[n]]
        alone = denram.DelayNetwork(
            np.asarray(network.lines.lags, np.float32), replace(network.spec, profile="fixed"), engine="auto"
        )
        wanted = alone.loss_and_gradient(weights[n], events.take(chosen), labels[chosen])
        assert float(results.loss[n]) == pytest.approx(wanted.loss, rel=1e-5)
        assert float(results.accuracy[n]) == pytest.approx(wanted.accuracy)
        assert float(results.top[n]) == pytest.approx(float(np.max(wanted.scores)), rel=1e-5)
        largest = np.abs(wanted.gradient).max()
        np.testing.assert_allclose(gradients[n], wanted.gradient, atol=1e-5 * largest)


def test_only_near_ties_of_the_two_largest_scores_are_undecided():
    scores = np.array([[1, 2, 3], [3, 1, 3], [0, 0, 0], [3, 3.00001, 0], [3, 3.1, 0]], np.float32)
    assert undecided(scores) == 3
    assert undecided(scores, 0.1) == 4
    assert undecided(scores[:, :1]) == 0


def test_padding_has_no_part_even_where_its_loss_would_overflow():
    scores = jnp.asarray([[1.0, 2.0], [1e4, 0.0]], jnp.float32)
    timing = fft.Timing(1, 2, 1, 0.5, "faithful")
    judge = jax.jit(jax.value_and_grad(partial(judged, timing=timing), has_aux=True))
    whole, part = (judge(scores, np.array([1, 1], np.int32), np.int32(size)) for size in (2, 1))
    assert not np.isfinite(whole[0][0])
    (loss, result), gradient = part
    assert float(loss) == pytest.approx(np.log1p(np.exp(-1.0)), rel=1e-6)
    assert (float(result.accuracy), float(result.top)) == (1.0, 2.0)
    assert np.isfinite(gradient).all()
    assert not np.any(gradient[1])


def test_batches_of_unequal_numbers_and_sizes_are_padded_to_one_shape():
    first = Batches.of([[np.array([3, 1]), np.array([2])], [], [np.array([5])]])
    assert first.samples.shape == (3, 2, 2)
    np.testing.assert_array_equal(first.sizes, [[2, 1], [0, 0], [1, 0]])
    np.testing.assert_array_equal(first.samples[0], [[3, 1], [2, 0]])
    later = Batches.of([[], [], [np.array([4])]], like=first)
    assert later.samples.shape == first.samples.shape
    assert later.samples.dtype == later.sizes.dtype == np.int32
    assert later.sizes.sum() == 1


def test_a_pass_is_averaged_like_that_of_one_network_and_says_what_is_wrong():
    sizes = np.array([[4, 1], [2, 0], [0, 0]], np.int32)
    batches = Batches(np.zeros((3, 2, 4), np.int32), sizes)

    def of(loss: list[float], top: float = 1.0, finite: bool = True) -> Pass:
        rows = np.array([loss, [2.0, np.nan], [np.nan, np.nan]], np.float32)
        return Pass(BatchResult(rows, rows, np.full((3, 2), top)), batches, np.full((3, 2), finite))

    sound = of([1.0, 6.0])
    assert sound.mean(0, weighted=True) == (2.0, 2.0)
    assert sound.mean(0, weighted=False) == (3.5, 3.5)
    assert sound.mean(1, weighted=False) == (2.0, 2.0)  # the batch that it has not got has no part
    assert [sound.fault(n, faithful=False) for n in range(3)] == ["", "", ""]
    assert of([1.0, np.inf]).fault(0, faithful=False) == LOST
    assert of([1.0, np.inf]).fault(0, faithful=True) == ""
    assert of([1.0, np.nan]).fault(0, faithful=True) == LOST
    assert of([1.0, 6.0], finite=False).fault(0, faithful=True) == LOST
    assert of([1.0, 6.0], top=0.0).fault(0, faithful=False) == SILENT


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([], "configs is empty"),
        ([{}, {"tau_mem": 0.01}], "differ in tau_mem; they may differ in seed, noise_std"),
        ([{"layers": 2, "engine": "auto"}], "trained one network at a time; use denram.train"),
        ([{"engine": "events"}], "engine is 'events'.*trained together by the FFT engine; give engine 'fft'"),
    ],
)
def test_networks_that_cannot_be_trained_together_are_refused_before_anything_is_written(
    changes, message, data, tmp_path
):
    configs = [replace(SMALL, **{"out": tmp_path / f"{n}", **change}) for n, change in enumerate(changes)]
    with pytest.raises(UserError, match=message):
        train_together(configs, data)
    assert not any(tmp_path.iterdir())


def test_networks_of_other_sizes_are_refused():
    networks = case()[0]
    other = denram.DelayNetwork(np.zeros((4, 15), np.float32), replace(networks[0].spec, tau_mem=0.01))
    with pytest.raises(UserError, match=r"leak is 0.* in one network and 0.* in another"):
        timing_of([networks[0], other])
    tails = [replace(networks[0].spec, bias_in_tail=True)] * 2
    lines = [np.full((4, 15), longest, np.float32) for longest in (3, 5)]
    with pytest.raises(UserError, match="bias_in_tail is True and the longest delays differ"):
        timing_of([denram.DelayNetwork(delays, spec) for delays, spec in zip(lines, tails, strict=True)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "events"], "needs the FFT engine, and these runs are of engine 'events'"),
        (["--engine", "fft", "--jobs", "2"], "leave out --jobs and --scheduler"),
    ],
)
def test_a_study_that_cannot_be_trained_together_says_why(words, message, tmp_path, capsys):
    assert cli.main(["reproduce", "--together", "yes", "--out", str(tmp_path), *words]) == 2
    assert message in capsys.readouterr().err
    assert cli.main(["reproduce", "--only", "delays", "--together", "no", "--out", str(tmp_path)]) == 2
    assert "--together does not act on the delays study" in capsys.readouterr().err


def test_only_a_gpu_trains_together_unless_told_otherwise(tmp_path, monkeypatch):
    tasks = [Task({"engine": "fft"}, "fig4d", "D2", "one")]
    options = ReproduceOptions(out=tmp_path)
    assert not joint("auto", options, tasks, "cpu")
    assert joint("yes", options, tasks, "cpu")
    assert not joint("yes", replace(options, dry_run=True), tasks, "cpu")
    monkeypatch.setattr("denram.reproduce.together.platform", lambda: "gpu")
    assert joint("auto", options, tasks, "auto")
    assert not joint("no", options, tasks, "auto")
    assert not joint("auto", replace(options, jobs=2), tasks, "auto")
    assert not joint("auto", replace(options, scheduler="dask"), tasks, "auto")
    assert not joint("auto", options, [*tasks, Task({"engine": "events"}, "fig4d", "D2", "two")], "auto")


def records(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def assert_same_run(one: Path, other: Path) -> None:
    """Equal but for rounding: files, selection, accuracies, losses, weights; the streams are the same."""
    for name in ("config.json", "delays.npy"):
        assert (one / name).read_bytes() == (other / name).read_bytes()
    assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}
    for mine, theirs in zip(records(one), records(other), strict=True):
        assert mine.keys() == theirs.keys()
        for name, value in theirs.items():
            assert mine[name] == (value if value is None else pytest.approx(value, abs=CLOSE)), name
    summaries = [json.loads((path / "summary.json").read_text()) for path in (one, other)]
    assert summaries[0].pop("inference") == summaries[1].pop("inference")
    assert summaries[0] == pytest.approx(summaries[1], abs=CLOSE)
    mine, theirs = (Checkpoints(path / "checkpoints").load_latest() for path in (one, other))
    for name, array in theirs.arrays.items():
        if name == "key":
            np.testing.assert_array_equal(mine.arrays[name], array)
        else:
            np.testing.assert_allclose(mine.arrays[name], array, atol=CLOSE, err_msg=name)
    for name in ("order", "adam_count"):
        assert mine.state[name] == theirs.state[name]


def test_a_network_in_which_nothing_fires_is_given_up_with_a_sentence(data):
    trainer, _ = make_trainer(SMALL, data)
    assert together._sentence(trainer, "") == ""
    assert "epoch 0: every output stayed silent" in together._sentence(trainer, SILENT)
    assert "--lr, now 0.005" in together._sentence(trainer, SILENT)


def test_a_run_whose_weights_were_never_kept_is_named_and_the_others_are_finished(
    data, tmp_path, monkeypatch
):
    real, tried = together.finish, []

    def finish(trainer, run, data):
        tried.append(run.path)
        if run.path.name == "1":
            real(trainer, run, data)  # no epoch was kept: refused
        run.finish({})

    monkeypatch.setattr(together, "_train", lambda *_: None)
    monkeypatch.setattr(together, "finish", finish)
    with pytest.raises(UserError, match="1: no epoch of this run reached a validation accuracy"):
        train_together(group_of(SMALL, tmp_path), data)
    assert [path.name for path in tried] == ["0", "1", "2"]
    assert {path.parent.name for path in tmp_path.glob("*/summary.json")} == {"0", "2"}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["faithful", "fixed"])
def test_each_run_is_the_run_alone(profile, data, tmp_path):
    base = replace(SMALL, profile=profile, devices=2 if profile == "fixed" else TrainConfig().devices)
    found = train_together(group_of(base, tmp_path / "together"), data)
    for config, result in zip(group_of(base, tmp_path / "alone"), found, strict=True):
        alone = train(config, data)
        assert result.config == alone.config
        assert_same_run(result.path, alone.path)


@pytest.mark.slow
def test_either_way_continues_what_the_other_began(data, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    base = replace(SMALL, profile="faithful", devices=TrainConfig().devices)
    through = train_together(group_of(base, tmp_path / "through"), data)
    real, calls = together.note_epoch, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:  # two runs have finished their first epoch, the third has not
            raise Killed
        real(*arguments)

    monkeypatch.setattr(together, "note_epoch", killed)
    with pytest.raises(Killed):
        train_together(group_of(base, tmp_path / "killed"), data)
    monkeypatch.undo()
    alone = train(group_of(base, tmp_path / "killed")[1], data)  # continues one of them
    assert_same_run(alone.path, through[1].path)
    for mine, theirs in zip(train_together(group_of(base, tmp_path / "killed"), data), through, strict=True):
        assert_same_run(mine.path, theirs.path)


@pytest.mark.slow
def test_a_run_that_diverges_does_not_stop_the_others(data, tmp_path):
    configs = group_of(SMALL, tmp_path)[:2]
    configs[0] = replace(configs[0], lr=1e38)
    with pytest.raises(UserError, match=r"0: epoch [01]: the loss, its gradient or a weight is not.*1e\+38"):
        train_together(configs, data)
    assert not (tmp_path / "0/summary.json").exists()
    assert (tmp_path / "1/summary.json").exists()


@pytest.mark.slow
def test_a_study_trained_together_has_the_rows_of_one_trained_run_by_run(tmp_path, monkeypatch, capsys):
    tiny = Protocol((0.0, 0.2), (42,), {"nb_epochs": 1, "batch_size": 16, "n_delays": 1, "lr": 5e-3})
    monkeypatch.setitem(plan.PROTOCOLS, "smoke", tiny)
    rows = {}
    for way in ("no", "yes"):
        out = tmp_path / way
        assert reproduce(ReproduceOptions(out=out, only=("D2",)), engine="fft", together=way) == 0
        said = capsys.readouterr().out
        assert ("training 2 networks of 256 inputs as one program" in said) == (way == "yes")
        rows[way] = {row["run_id"]: row for row in Ledger.for_results(out / "results.csv", COLUMNS).rows()}
    assert rows["yes"].keys() == rows["no"].keys()
    assert len(rows["yes"]) == 2
    for identity, row in rows["yes"].items():
        assert row["test_acc"] == pytest.approx(rows["no"][identity]["test_acc"], abs=0.01)
    assert reproduce(ReproduceOptions(out=tmp_path / "yes", only=("D2",)), engine="fft", together="yes") == 0
    assert "0 done, 2 skipped" in capsys.readouterr().out
