"""Your own data: no class is lost, one odd sample changes nothing for the others, and losses are reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nalsm import Config, Run, save_event_arrays
from nalsm.data import own
from nalsm.data.encoding import image_scale, image_shares, input_scale
from nalsm.data.loading import EventRecordings, RateImages, load_dataset
from nalsm.reproduce.plan import run_one
from nalsm.training.evaluation import evaluate
from nalsm.training.liquid import check_activity
from nalsm.training.runs import open_run
from reprokit import UserError, load_images, run_id

SMALL: dict[str, Any] = {
    "dims": (4, 4, 4), "duration": 60, "initial_samples": 20, "readout": "ridge", "record": 0, "model": "lsm",
    "weight": 1.5,
}  # fmt: skip


def digits_file(path: Path, *, ordered: bool = True, **changes: np.ndarray) -> str:
    """Write digits as an .npz file, sorted by class as image folders are."""
    splits = load_images("digits")
    arrays = {}
    for name, part in (("train", splits.train), ("test", splits.test)):
        order = np.argsort(part.labels, kind="stable") if ordered else np.arange(len(part))
        arrays[f"{name}_images"], arrays[f"{name}_labels"] = part.images[order], part.labels[order]
    np.savez(path, **(arrays | changes))
    return str(path)


def test_limits_keep_every_class_in_proportion(tmp_path: Path) -> None:
    file = digits_file(tmp_path / "own.npz")
    limits = {"train": 300, "validation": 100, "test": 100}
    data = load_dataset(file, limits=limits)
    for split, count in limits.items():
        sizes = np.bincount(data.labels(split), minlength=10)  # type: ignore[arg-type]
        assert sizes.sum() == count
        assert sizes.min() > 0.08 * count
    assert not np.array_equal(data.images["train"], load_dataset(file, seed=1, limits=limits).images["train"])
    np.testing.assert_array_equal(data.images["test"], load_dataset(file, limits=limits).images["test"])
    with pytest.raises(UserError, match="test_samples is 7; give 10"):
        load_dataset(file, limits={"test": 7})
    everything = load_dataset(file, limits={"train": 10**6})
    assert len(everything.labels("train")) + len(everything.labels("validation")) == len(
        load_images("digits").train
    )


def test_named_sets_keep_their_first_samples() -> None:
    whole, part = load_dataset("digits"), load_dataset("digits", limits={"test": 50})
    np.testing.assert_array_equal(part.labels("test"), whole.labels("test")[:50])
    np.testing.assert_array_equal(part.some("test", 5), np.arange(5))


def test_what_is_recorded_and_measured_has_every_class(tmp_path: Path) -> None:
    data = load_dataset(digits_file(tmp_path / "own.npz"))
    for count in (10, 20):
        assert len(np.unique(data.labels("test")[data.some("test", count)])) == 10
    assert len(np.unique(data.labels("test")[data.some("test", 4)])) == 4
    assert len(data.some("test", 10**6)) == len(data.labels("test"))
    shown: list[np.ndarray] = []
    config = Config(**(SMALL | {"data": str(tmp_path / "own.npz"), "record": 10, "test_samples": 60}))
    with Run(tmp_path / "run", config) as run:
        features = run.liquid.features

        def watched(data: Any, split: Any, index: np.ndarray, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("record"):
                shown.append(data.labels(split)[index])
            return features(data, split, index, *args, **kwargs)

        run.liquid.features = watched  # type: ignore[method-assign]
        run.train()
    assert [len(np.unique(labels)) for labels in shown] == [10, 10]


def test_a_folder_called_mnist_and_read_class_by_class_keeps_its_classes(tmp_path: Path) -> None:
    images = np.full((60_000, 1, 1), 9, np.uint8)
    labels = np.repeat(np.arange(10), 6000)
    file = tmp_path / "mnist.npz"
    np.savez(
        file, train_images=images, train_labels=labels, test_images=images[:10], test_labels=np.arange(10)
    )
    assert (np.bincount(load_dataset(str(file)).labels("train")) == 5000).all()


class TestScale:
    """One bright pixel among 800 digits used to bring 0.89 down to 0.46 and 30 Hz to 0.5 Hz."""

    def test_one_odd_image_does_not_silence_the_others(self, tmp_path: Path) -> None:
        images = load_images("digits").train.images.copy()
        odd = images.copy()
        odd[0] = 0
        odd[0, 0, 2, 4] = 255
        files = {
            "plain": digits_file(tmp_path / "plain.npz", ordered=False),
            "odd": digits_file(tmp_path / "odd.npz", ordered=False, train_images=odd),
        }
        limits = {"train_samples": 800, "validation_samples": 50, "test_samples": 300}
        settings = SMALL | limits | {"dims": (6, 6, 6), "duration": 100}
        found = {}
        for name, file in files.items():
            with Run(tmp_path / name, Config(data=file, **settings)) as run:
                found[name] = run.train()
        assert found["odd"]["test_accuracy"] > found["plain"]["test_accuracy"] - 0.02 > 0.84
        assert found["odd"]["rate_hz"] > 0.9 * found["plain"]["rate_hz"] > 10
        with (
            Run(tmp_path / "max", Config(data=files["odd"], **(settings | {"input_scale": "max"}))) as run,
            pytest.warns(UserWarning, match="so its counts carry little information"),
        ):
            assert run.train()["test_accuracy"] < 0.7

    def test_what_is_held_out_does_not_move_it(self, tmp_path: Path) -> None:
        splits = load_images("digits")
        first = load_dataset(digits_file(tmp_path / "a.npz"), limits={"train": 300})
        order = np.argsort(splits.train.labels, kind="stable")
        whole = splits.train.images[order]
        used = {image.tobytes() for image in first.images["train"]}
        held = np.array([image.tobytes() not in used for image in whole])
        whole = whole.copy()
        whole[held] = 0
        whole[held, 0, 0, 0] = 255
        test = np.zeros_like(splits.test.images)
        test[:, 0, 0, 0] = 255
        other = load_dataset(
            digits_file(tmp_path / "b.npz", train_images=whole, test_images=test), limits={"train": 300}
        )
        assert first.maximum == other.maximum
        index = np.arange(300)
        np.testing.assert_array_equal(
            first.source("train", index, 0).probability, other.source("train", index, 0).probability
        )

    def test_the_quantile_of_images_is_numpy_s(self) -> None:
        stream = np.random.default_rng(0)
        for count in (1, 3, 5000, 9001):
            images = stream.integers(0, 3, (count, 1, 3, 3)).astype(np.uint8)
            images[0, 0, 0, 0] = 1
            shares = image_shares(images, blank=True)
            assert image_scale(images, "quantile") == pytest.approx(input_scale(shares), rel=1e-12)
            assert image_scale(images, "max") == input_scale(shares, "max") == shares.max()
        assert image_scale(np.zeros((3, 1, 2, 2), np.uint8), "quantile") == 1.0
        with pytest.raises(UserError, match="choose quantile or max"):
            input_scale(np.ones(3), "mean")  # type: ignore[arg-type]

    def test_an_input_rate_is_in_hertz(self) -> None:
        full, slow = load_dataset("digits"), load_dataset("digits", input_rate=200.0)
        index = np.arange(30)
        np.testing.assert_allclose(
            slow.source("train", index, 0).probability, 0.2 * full.source("train", index, 0).probability
        )

    def test_faithful_takes_the_largest_share_and_named_sets_do(self, tmp_path: Path) -> None:
        """DEV-11."""
        file = digits_file(tmp_path / "own.npz")
        largest = image_scale(load_dataset(file, faithful=True).images["train"], "max")
        assert load_dataset(file, faithful=True).maximum["train"] == largest
        assert load_dataset(file).maximum["train"] < largest
        assert load_dataset("digits").maximum["train"] == image_scale(
            load_images("digits").train.images, "max"
        )


def test_a_liquid_that_hardly_fires_is_warned_of() -> None:
    counts = np.zeros((10, 100), np.uint8)
    with pytest.raises(UserError, match="silent on all 10 test samples"):
        check_activity(counts, "test", 250)
    counts[0, :20] = 1
    with pytest.warns(UserWarning, match=r"fires at 0\.08 Hz on test samples"):
        check_activity(counts, "test", 250)
    check_activity(np.ones_like(counts), "test", 250)


def test_blank_images_send_no_events_and_many_are_refused(tmp_path: Path) -> None:
    images = load_images("digits").train.images.copy()
    images[7] = 0
    data = load_dataset(digits_file(tmp_path / "own.npz", ordered=False, train_images=images))
    assert any("are used; 1 are constant zero and send no events" in note for note in data.notes)
    images[:200] = 0
    file = digits_file(tmp_path / "own.npz", ordered=False, train_images=images)
    with pytest.raises(UserError, match="are constant zero and send no events; remove them, or --allow-loss"):
        load_dataset(file)
    with pytest.warns(UserWarning, match="constant zero"):
        load_dataset(file, allow_loss=True)


def test_labels_from_one_are_said(tmp_path: Path) -> None:
    splits = load_images("digits")
    kept = splits.train.labels > 0
    file = tmp_path / "own.npz"
    np.savez(file, train_images=splits.train.images[kept], train_labels=splits.train.labels[kept],
             test_images=splits.test.images, test_labels=splits.test.labels)  # fmt: skip
    assert load_dataset(str(file)).notes == (
        "own: labels 0 to 9, without a training sample of 0; they are never predicted correctly",
    )


def test_a_class_that_validation_would_take_whole_is_refused() -> None:
    labels = np.array([0] * 20 + [1])
    seed = next(s for s in range(99) if 20 in np.random.default_rng(s).permutation(21)[:3])
    with pytest.raises(UserError, match="class 1 has too few training samples"):
        own.held_out(labels, seed)
    train, held = own.held_out(np.repeat(np.arange(5), 6), 0)
    assert (np.bincount(np.repeat(np.arange(5), 6)[held]) == 1).all()
    assert len(np.intersect1d(train, held)) == 0


def test_noise_is_in_proportion_to_the_range(tmp_path: Path) -> None:
    """Pixels of 0 to 16 used to drown in noise of 125."""
    splits = load_images("digits")
    dark = {f"{s}_images": p.images // 16 for s, p in (("train", splits.train), ("test", splits.test))}
    data, bright = load_dataset(digits_file(tmp_path / "own.npz", **dark)), load_dataset("digits")
    assert data.usual_noise == 125.0 * data.top / 255.0
    assert 14 < data.top < 17
    assert bright.usual_noise == 125.0
    index = np.arange(40)
    noisy = data.source("test", index, 0, noise=data.usual_noise).probability
    clean = data.source("test", index, 0).probability
    assert np.corrcoef(noisy.ravel(), clean.ravel())[0, 1] > 0.5


def recordings(
    count: int, seed: int, *, shift_us: int = 0, polarity: int | None = None
) -> dict[str, np.ndarray]:
    """Return recordings of 100 ms, of 40 channels in a row, class by class; class 1 has its events on the right."""
    stream = np.random.default_rng(seed)
    labels = np.repeat(np.arange(2), count // 2)
    offsets = np.arange(count + 1) * 300
    x = stream.integers(0, 20, offsets[-1]) + 20 * np.repeat(labels, 300)
    t = np.concatenate([np.sort(stream.integers(0, 100_000, 300)) for _ in range(count)]) + shift_us
    p = stream.integers(0, 2, offsets[-1]) if polarity is None else np.full(offsets[-1], polarity)
    return {"t": t, "x": x, "y": np.zeros_like(x), "p": p, "offsets": offsets, "labels": labels}


def event_file(path: Path, **changes: Any) -> str:
    return str(save_event_arrays(path, recordings(40, 0, **changes), recordings(20, 1, **changes), (1, 40)))


class TestClocks:
    """Clocks that begin elsewhere silently lost events, or needed 437 TiB."""

    def test_what_is_lost_is_refused_or_said(self, tmp_path: Path) -> None:
        late = event_file(tmp_path / "late.npz", shift_us=80_000)
        with pytest.raises(UserError, match=r"come after the first 100 ms .*give --start first-event"):
            load_dataset(late, duration=100)
        with pytest.warns(UserWarning, match="come after the first 100 ms"):
            load_dataset(late, duration=100, allow_loss=True)
        with pytest.raises(UserError, match=r"first 50 ms; give a longer --duration, or --allow-loss"):
            load_dataset(event_file(tmp_path / "own.npz"), duration=50)

    def test_time_may_begin_with_the_first_event(self, tmp_path: Path) -> None:
        plain = load_dataset(event_file(tmp_path / "a.npz"), duration=100, start="first-event")
        for shift in (80_000, 4_000_000, 10**15):
            moved = load_dataset(
                event_file(tmp_path / "b.npz", shift_us=shift), duration=100, start="first-event"
            )
            index = np.arange(20)
            for a, b in (
                (plain.source("test", index, 0), moved.source("test", index, 0)),
                (plain.window(index, index, 0, 20), moved.window(index, index, 0, 20)),
            ):
                np.testing.assert_array_equal(a.channels, b.channels)
                np.testing.assert_array_equal(a.first, b.first)

    def test_absurd_spans_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"at most 3600 s are allowed; give start first-event"):
            load_dataset(event_file(tmp_path / "own.npz", shift_us=10**15))

    def test_a_run_says_it_on_the_command_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from nalsm.cli import main

        file = event_file(tmp_path / "own.npz", shift_us=80_000)
        words = f"--data {file} --duration 100 --dims 4 4 4 --record 0 --readout ridge --weight 6".split()
        out = ["--out", str(tmp_path / "run")]
        assert main(["train", "lsm", *words, *out]) == 2
        assert "--start first-event" in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
        assert main(["train", "lsm", *words, *out, "--start", "first-event"]) == 0
        said = capsys.readouterr().out
        assert "own train: 12000 of 12000 events kept" in said
        assert main(["eval", "branching", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(("polarity", "inputs"), [(None, 80), (0, 40), (1, 40)])
def test_one_polarity_has_no_dead_channels(tmp_path: Path, polarity: int | None, inputs: int) -> None:
    data = load_dataset(event_file(tmp_path / "own.npz", polarity=polarity), duration=100)
    assert isinstance(data, EventRecordings)
    assert data.inputs == inputs
    assert len(np.unique(data.source("train", np.arange(30), 0).channels)) == inputs


class TestRevisions:
    def test_named_data_have_the_ids_they_had(self) -> None:
        assert "revision" not in Config().content()
        assert run_id(Config(revision=1).content()) == run_id(Config().content())
        assert {"input_scale", "input_rate", "start", "allow_loss"}.isdisjoint(Config().content())
        with pytest.raises(UserError, match="revision 1 only"):
            Config(revision=2)

    def test_own_data_say_how_they_were_read(self, tmp_path: Path) -> None:
        file = digits_file(tmp_path / "own.npz")
        newest = Config(data=file)
        assert newest.content()["revision"] == 2
        assert run_id(newest.content()) != run_id(replace(newest, revision=1).content())
        assert run_id(newest.content()) == run_id(replace(newest, allow_loss=True).content())
        first = load_dataset(file, revision=1, limits={"train": 60})
        assert isinstance(first, RateImages)
        assert first.maximum["train"] == image_scale(load_images(file).train.images, "max")
        assert len(np.unique(first.labels("train"))) == 1

    def test_old_runs_are_opened_as_they_were_made(self, tmp_path: Path) -> None:
        file = digits_file(tmp_path / "own.npz", ordered=False)
        config = Config(
            data=file, revision=1, train_samples=100, validation_samples=30, test_samples=30, **SMALL
        )
        with Run(tmp_path / "old", config) as run:
            run.train()
        assert "revision" not in (tmp_path / "old" / "config.json").read_text()
        assert open_run(tmp_path / "old").config.revision == 1
        assert evaluate("accuracy", tmp_path / "old").values["test accuracy"] > 0
        with pytest.raises(UserError, match="revision 1 and this one is of revision 2"):
            Run(tmp_path / "old", replace(config, revision=None))
        about = {"experiment": "sweep", "kernel": False, "scale": "paper"}
        row = run_one(about | config.content(), runs=tmp_path / "runs", scale="paper")
        assert row["train_samples"] == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_scale": "mean"}, "input_scale is 'mean'; choose max or quantile"),
        ({"input_rate": 0.0}, r"input_rate is 0\.0 Hz"),
        ({"input_rate": 1001.0}, "at most 1000"),
        ({"start": "late"}, "start is 'late'"),
        ({"start": "first-event"}, "the published one"),
        ({"revision": 3}, "revision is 3; choose 1 or 2"),
    ],
)
def test_settings_that_mean_nothing(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Config(**settings)


def test_settings_of_the_other_kind_of_data_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="input_scale is for images"):
        load_dataset(event_file(tmp_path / "events.npz"), duration=100, input_scale="max")
    with pytest.raises(UserError, match="start is for event recordings"):
        load_dataset(digits_file(tmp_path / "own.npz"), start="first-event")
