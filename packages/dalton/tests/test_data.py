import json
import logging
import zipfile

import numpy as np
import pytest
import torch
from dalton.data import cache as image_cache
from dalton.data import loading as data
from dalton.data.cache import decoded_images
from dalton.data.loading import load
from dalton.data.splits import stratified
from event_samples import REAL_DATA, needs_real_data, write_recordings
from reprokit import UserError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")
    monkeypatch.delenv("REPROKIT_MIRROR", raising=False)


@pytest.fixture
def images(tmp_path):
    """25 training and 7 test images of 3 classes, image i filled with the number i."""
    numbers = np.arange(32, dtype=np.uint8)
    pixels = np.broadcast_to(numbers[:, None, None, None], (32, 3, 6, 6))
    path = tmp_path / "own.npz"
    np.savez(
        path, train_images=pixels[:25], train_labels=numbers[:25] % 3, test_images=pixels[25:],
        test_labels=numbers[25:] % 3,
    )  # fmt: skip
    return path


@pytest.fixture
def recordings(tmp_path):
    return write_recordings(tmp_path / "recordings", train=5, test=2)


def numbers(batches):
    """The number that fills each image."""
    return [[round(255 * float(image[0, 0, 0])) for image in inputs] for inputs, _ in batches]


def joined(lists):
    return [number for part in lists for number in part]


def test_static_batches_are_pixels_between_0_and_1(images):
    splits = load(images)
    assert (splits.name, splits.classes, splits.input_shape, splits.events) == ("own", 3, (3, 6, 6), False)
    assert (len(splits.train), len(splits.test), splits.validation) == (25, 7, None)
    inputs, labels = next(splits.test.batches(5))
    assert inputs.dtype == torch.float32
    assert inputs[:, 0, 0, 0].tolist() == [torch.tensor(k / 255.0).item() for k in range(25, 30)]
    assert labels.dtype == torch.int64
    assert labels.tolist() == [k % 3 for k in range(25, 30)]
    assert splits.train.static_steps == 60


def test_orders_are_functions_of_seed_and_epoch(images):
    train = load(images, seed=3).train
    first = numbers(train.batches(10, epoch=1))
    assert sorted(joined(first)) == list(range(25))
    assert [len(batch) for batch in first] == [10, 10, 5]  # the ragged last batch is kept
    assert first == numbers(load(images, seed=3).train.batches(10, epoch=1))
    assert first != numbers(train.batches(10, epoch=2))
    assert first != numbers(load(images, seed=4).train.batches(10, epoch=1))
    assert numbers(train.batches(10, shuffle=False)) == [
        list(range(10)),
        list(range(10, 20)),
        list(range(20, 25)),
    ]
    assert numbers(train.batches(10, epoch=1, drop_last=True)) == first[:2]


def test_a_run_goes_on_at_any_batch_as_if_it_had_not_stopped(images):
    train = load(images, augment=True, seed=1).train
    whole = [inputs for inputs, _ in train.batches(4, epoch=2)]
    rest = [inputs for inputs, _ in train.batches(4, epoch=2, first=3)]
    assert all(torch.equal(a, b) for a, b in zip(whole[3:], rest, strict=True))
    index = train.batch_indices(4, epoch=2)
    assert torch.equal(train.take(index[5], 2, 5)[0], whole[5])


def test_validation_samples_are_stratified_and_not_trained_on(images):
    splits = load(images, validation=0.25, seed=2, augment=True)
    assert splits.validation is not None
    assert (len(splits.train), len(splits.validation)) == (19, 6)
    assert torch.bincount(splits.validation.labels).tolist() == [2, 2, 2]
    held = joined(numbers(splits.validation.batches(50)))  # in order, not augmented
    left = sorted(splits.train.rows.tolist())
    assert held == sorted(held)
    assert sorted(held + left) == list(range(25))
    assert splits.validation.rows.tolist() == load(images, validation=6, seed=2).validation.rows.tolist()
    assert splits.validation.rows.tolist() != load(images, validation=6, seed=5).validation.rows.tolist()


def test_stratified_choices_keep_every_class_share():
    labels = np.repeat([0, 1, 2, 7], [10, 20, 30, 1])
    for count in (0, 1, 5, 30, 60, 61):
        chosen = stratified(labels, count, np.random.default_rng(count))
        assert len(set(chosen.tolist())) == count
        exact = np.array([10, 20, 30, 1]) * count / 61
        found = np.array([np.sum(labels[chosen] == label) for label in (0, 1, 2, 7)])
        assert (np.abs(found - exact) < 1).all()


def test_limits_are_stratified_and_keep_the_order(images):
    splits = load(images, train_size=9, test_size=3, validation=4)
    assert (len(splits.train), len(splits.test)) == (9, 3)
    assert torch.bincount(splits.train.labels).tolist() == [3, 3, 3]
    assert splits.train.rows.tolist() == sorted(splits.train.rows.tolist())


def test_subsets_are_taken_in_their_order(images, tmp_path):
    path = tmp_path / "subset.json"
    path.write_text(json.dumps({"train": ["train/1/00004.png", 20, 0], "test": ["test/2/26.png", "25.png"]}))
    splits = load(images, subset=path)
    assert numbers(splits.train.batches(5, shuffle=False)) == [[4, 20, 0]]
    assert numbers(splits.test.batches(5)) == [[26, 25]]  # numbered on from the training set's 25
    assert numbers(load(images, subset={"test": [6, 0]}).test.batches(5)) == [[31, 25]]


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (
            {"train": [25]},
            "the train list has 1 entries, and each must be the number of one of the 25 train samples",
        ),
        ({"train": []}, "the train list has 0 entries"),
        ({"test": [32]}, "must be the number of one of the 7 test samples"),
        ({"train": ["a/b.png"]}, "'a/b.png' of the train list is not a number"),
        ({"other": [1]}, "subset has the lists other; allowed: train and test"),
        ("no-such-file.json", "subset no-such-file.json is not a JSON file that can be read"),
    ],
)
def test_bad_subsets_are_named(images, subset, message):
    with pytest.raises(UserError, match=message):
        load(images, subset=subset)


def test_subset_files_of_endless_brackets_are_named(images, tmp_path):
    (tmp_path / "subset.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="is not a JSON file that can be read"):
        load(images, subset=tmp_path / "subset.json")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"validation": 1.5}, "validation is 1.5, that is 1 of 25 training samples"),
        ({"validation": 25}, "validation is 25, that is 25 of 25"),
        ({"validation": -0.1}, "validation is -0.1"),
        ({"validation": 0.001}, "that is 0 of 25"),
        (
            {"validation": 5, "train_size": 21},
            "has 20 train samples after the validation split; give 1 to 20",
        ),
        ({"test_size": 8}, "test_size is 8, but own has 7 test samples"),
        ({"test_size": 0}, "test_size is 0"),
        ({"steps": 0}, "steps is 0; it must be a positive integer"),
        ({"profile": "exact"}, "profile is 'exact'; it must be fixed or faithful"),
    ],
)
def test_bad_options_are_named(images, options, message):
    with pytest.raises(UserError, match=message):
        load(images, **options)


def test_unknown_data_sets_get_a_suggestion():
    with pytest.raises(UserError, match=r"unknown data set 'mnsit' \(did you mean 'mnist'\?\)"):
        load("mnsit")


def test_too_large_batches_that_are_dropped_are_an_error(images):
    train = load(images).train
    with pytest.raises(UserError, match="batch_size 26 leaves no complete batch of 25 samples"):
        train.batch_indices(26, drop_last=True)
    with pytest.raises(UserError, match="batch_size is 0"):
        train.batch_indices(0)


def test_digits_are_mirrored_only_in_the_original(images):
    """DEV-13."""
    pytest.importorskip("sklearn", reason="needs scikit-learn")

    def mirrored(source, **options):
        return load(source, augment=True, **options).train.samples.flip

    assert not mirrored("digits")
    assert mirrored("digits", profile="faithful")
    assert mirrored("digits", flip=True)
    assert mirrored(images)
    assert not load("digits", augment=True).test.samples.augment


def test_recordings_become_counts_per_frame(recordings):
    splits = load(recordings)
    assert (splits.name, splits.classes, splits.input_shape, splits.events) == (
        "recordings",
        10,
        (2, 34, 34),
        True,
    )
    inputs, labels = next(splits.train.batches(4, shuffle=False))
    assert inputs.shape == (300, 4, 2, 34, 34)
    assert inputs.dtype == torch.uint8
    assert labels.tolist() == [0, 0, 0, 0]
    assert splits.train.static_steps is None
    shorter = load(recordings, steps=50, test_steps=20)
    assert torch.equal(next(shorter.train.batches(4, shuffle=False))[0], inputs[:50])
    assert (shorter.test.steps, load(recordings, steps=50).test.steps) == (20, 50)
    held = load(recordings, steps=50, test_steps=20, validation=3).validation
    assert held is not None
    assert next(held.batches(3))[0].shape[:2] == (20, 3)


def test_recordings_shorter_than_the_window_are_padded(tmp_path):
    """DEV-11: the original ends with an IndexError."""
    short = write_recordings(tmp_path / "short", end=120_000)
    for profile in ("fixed", "faithful"):
        inputs, _ = next(load(short, profile=profile).train.batches(4))
        assert len(inputs) == 300
        assert inputs[:120].sum() > 0
        assert inputs[120:].sum() == 0


def test_the_original_drops_and_shuffles_batches_of_recordings(recordings):
    """DEV-23."""
    fixed, faithful = load(recordings, steps=10), load(recordings, steps=10, profile="faithful")
    assert [len(y) for _, y in fixed.train.batches(4)] == [4, 4, 4, 3]
    assert [len(y) for _, y in faithful.train.batches(4)] == [4, 4, 4]
    assert [len(y) for _, y in fixed.test.batches(4)] == [4, 2]
    tests = [faithful.test.batch_indices(4, epoch)[0].tolist() for epoch in (1, 2, 3)]
    assert all(len(batch) == 4 for batch in tests)
    assert len({tuple(batch) for batch in tests}) > 1


def test_recordings_are_not_augmented(recordings):
    with pytest.raises(UserError, match="augment is for images"):
        load(recordings, augment=True)


def test_random_windows_are_functions_of_seed_epoch_and_batch(recordings):
    train = load(recordings, steps=40, seed=1).train
    moving = data.Portion(
        type(train.samples)(train.samples.frames, 40, True, False), train.rows, train.labels, 40, True, 1
    )
    index = torch.arange(4)
    once = moving.take(index, 1, 0)[0]
    assert torch.equal(once, moving.take(index, 1, 0)[0])
    assert not torch.equal(once, moving.take(index, 1, 1)[0])
    assert not torch.equal(once, moving.take(index, 2, 0)[0])


def test_folders_and_zips_of_images(tmp_path):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path / "pictures"
    for split, count in (("train", 3), ("test", 1)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for k in range(count):
                image_module.new("RGB", (8, 8), (k, 2, 200)).save(folder / split / name / f"{k}.png")
    archive = tmp_path / "pictures.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in folder.rglob("*.png"):
            file.write(path, path.relative_to(folder))
    for source in (folder, archive):
        splits = load(source)
        assert (splits.name, splits.class_names, splits.input_shape) == (
            "pictures",
            ("cat", "dog"),
            (3, 8, 8),
        )
        assert (len(splits.train), len(splits.test)) == (6, 2)


def test_decoded_images_are_kept_and_verified(tmp_path, monkeypatch, caplog):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path / "pictures"
    for split in ("train", "test"):
        for k, name in enumerate(("cat", "dog")):
            (folder / split / name).mkdir(parents=True)
            image_module.new("L", (4, 4), k + 1).save(folder / split / name / "a.png")
    first = decoded_images(str(folder))
    (kept,) = (tmp_path / "cache" / "dalton-images").iterdir()
    with monkeypatch.context() as patched:
        patched.setattr(image_cache, "load_images", None)  # must not be called
        again = decoded_images(str(folder))
    assert (again.name, again.class_names) == (first.name, first.class_names) == ("pictures", ("cat", "dog"))
    assert np.array_equal(again.train.images, first.train.images)
    content = bytearray(kept.read_bytes())
    content[content.index(bytes([2] * 16))] ^= 1  # a pixel
    kept.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        third = decoded_images(str(folder))
    assert "damaged and made again" in caplog.text
    assert np.array_equal(third.train.images, first.train.images)
    image_module.new("L", (4, 4), 9).save(folder / "train" / "cat" / "a.png")
    assert decoded_images(str(folder)).train.images[0, 0, 0, 0] == 9


def test_images_are_loaded_where_nothing_can_be_kept(tmp_path, monkeypatch, caplog):
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    folder = tmp_path / "pictures"
    for split in ("train", "test"):
        (folder / split / "cat").mkdir(parents=True)
        image_module.new("L", (4, 4), 7).save(folder / split / "cat" / "a.png")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("REPROKIT_DATA", str(tmp_path / "file" / "cache"))
    with caplog.at_level(logging.WARNING):
        assert decoded_images(str(folder)).train.images.max() == 7
    assert "the images are decoded at every start" in caplog.text


@needs_real_data
def test_the_originals_names_and_real_data(monkeypatch):
    monkeypatch.setenv("REPROKIT_MIRROR", str(REAL_DATA))
    splits = load("MNIST", validation=0.1)
    assert (splits.name, splits.input_shape, len(splits.train), len(splits.test)) == (
        "mnist",
        (1, 28, 28),
        54000,
        10000,
    )
    assert splits.train.steps == 40
    assert next(splits.test.batches(3))[1].tolist() == [7, 2, 1]
    with pytest.raises(UserError, match="n-mnist"):
        load("DVS_MNIST")  # not next to the repository, and the network is off
