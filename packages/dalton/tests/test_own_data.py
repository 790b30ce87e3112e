"""Own data from Python: what is understood, what is reported, what is refused; DataLoader with our data sets."""

from dataclasses import replace

import dalton
import numpy as np
import pytest
import torch
from dalton.data import load, splits_of
from reprokit import UserError
from small_runs import TINY, small
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset


@pytest.fixture(scope="module")
def digits():
    return load("digits", steps=8)


@pytest.fixture(scope="module")
def arrays(digits):
    """Images in [0, 1] and labels of both parts."""
    return {part: getattr(digits, part).take(slice(0, 200)) for part in ("train", "test")}


class Pairs(Dataset):
    """A map-style data set of frames of different length."""

    def __init__(self, frames, labels, noise=0.0):
        self.frames, self.labels, self.noise = frames, labels, noise

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.frames[index] + self.noise * torch.rand(1), int(self.labels[index])


def frames(count=12, length=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.poisson(torch.full((length or 5 + k % 3, 2, 8, 8), 0.1), generator=generator)
        for k in range(count)
    ]


def test_tensors_train_as_the_data_set_they_came_from(arrays, digits, tmp_path):
    """Images, labels, order and validation samples are the same: so are all numbers."""
    own = splits_of(arrays["train"], arrays["test"], name="digits", steps=8, flip=False)
    cut = replace(
        digits, train=digits.train.subset(torch.arange(200)), test=digits.test.subset(torch.arange(200))
    )
    config = small(dataset="digits", epochs=1, steps=None, train_size=None, test_size=None)
    results = [
        dalton.train(replace(config, out=tmp_path / name), data=data).summary
        for name, data in (("own", own), ("cut", cut))
    ]
    same = [{k: v for k, v in one.items() if k not in ("seconds", "peak_memory_mb")} for one in results]
    assert same[0] == same[1]
    assert same[0]["train_samples"] == 180
    net = dalton.load_run(tmp_path / "own", data=own).net
    found = dalton.evaluate(net, own)
    assert found.accuracy == dalton.evaluate_run(tmp_path / "own", data=own).accuracy
    assert dalton.evaluate(net, own.test).accuracy == found.accuracy


def test_uint8_and_floats_are_the_same_images(arrays):
    images, labels = arrays["train"]
    whole = (images * 255).round().to(torch.uint8)
    for given in (
        list(whole),
        list(whole.numpy()),
        whole,
        whole.numpy(),
        whole.long(),
        whole.float() / 255,
        whole.double() / 255,
        whole[:, 0],
    ):
        x, y = splits_of((given, labels)).train.take(slice(0, 20))
        expected, truth = splits_of((whole, labels.numpy())).train.take(slice(0, 20))
        assert torch.equal(x, expected)
        assert torch.equal(y, truth)


def test_a_fifth_of_every_class_is_the_test_set_where_there_is_none():
    labels = np.repeat([0, 1, 2], [50, 30, 20])  # sorted by class
    own = splits_of((torch.rand(100, 1, 8, 8), labels), seed=3)
    assert torch.bincount(own.test.labels).tolist() == [10, 6, 4]
    assert torch.bincount(own.train.labels).tolist() == [40, 24, 16]
    assert any("no test set is given; 20 of 100 samples" in line for line in own.notes)
    again = splits_of((torch.rand(100, 1, 8, 8), labels), seed=3)
    assert torch.equal(own.test.rows, again.test.rows)
    assert not torch.equal(own.test.rows, splits_of((torch.rand(100, 1, 8, 8), labels), seed=4).test.rows)


@pytest.mark.parametrize("labels", [np.arange(1, 11), np.arange(10) * 7 + 3, -np.arange(10)])
def test_labels_from_1_or_with_gaps_are_numbered_and_it_is_said(labels):
    given = np.tile(labels, 6)
    own = splits_of((torch.rand(60, 1, 8, 8), given))
    assert own.classes == 10
    assert own.class_names == tuple(str(label) for label in np.sort(labels))
    _, y = own.train.take(slice(0, 48))
    assert [own.class_names[k] for k in y.tolist()] == [str(label) for label in given[own.train.rows]]
    assert any("are the classes 0 to 9" in line for line in own.notes)


def test_named_classes_may_lack_samples():
    own = splits_of((torch.rand(20, 1, 8, 8), np.arange(20) % 2), class_names=("a", "b", "c"))
    assert own.classes == 3
    with pytest.raises(UserError, match="label 3 belongs to no class; class_names names 0 to 2"):
        splits_of((torch.rand(20, 1, 8, 8), np.arange(20) % 4), class_names=("a", "b", "c"))


def test_frames_of_different_length_are_padded_or_refused_where_events_are_lost():
    data = Pairs(frames(), np.arange(12) % 2)
    own = splits_of(data, data)
    assert (own.events, own.train.steps, own.input_shape) == (True, 7, (2, 8, 8))
    x, _ = own.train.take(torch.tensor([0, 1]))
    assert x.shape == (7, 2, 2, 8, 8)
    assert torch.equal(x[:5, 0], data[0][0])
    assert not x[5:, 0].any()
    with pytest.raises(UserError, match=r"come after the 4 time-steps that are shown; give more steps"):
        splits_of(data, data, steps=4)
    with pytest.warns(UserWarning, match="come after the 4 time-steps"):
        shorter = splits_of(data, data, steps=4, allow_loss=True)
    assert torch.equal(shorter.train.take(torch.tensor([3]))[0][:, 0], data[3][0][:4])
    longer = splits_of(data, data, steps=9)
    assert longer.train.take(torch.tensor([0]))[0].shape[0] == 9


def test_a_tensor_of_frames_is_sample_first():
    given = torch.stack(frames(length=6))
    own = splits_of((given, np.arange(12) % 2), validation=3)
    x, _ = own.train.take(torch.tensor([0, 1]))
    assert torch.equal(x, given[own.train.rows[:2]].transpose(0, 1))
    assert own.validation is not None
    assert own.validation.take(torch.tensor([0]))[0].shape == (6, 1, 2, 8, 8)


def test_data_sets_of_pytorch_and_their_transforms():
    images, labels = torch.rand(40, 3, 8, 8), torch.arange(40) % 4
    plain = TensorDataset(images, labels)
    own = splits_of(plain, Subset(plain, range(8)))
    assert torch.equal(own.train.take(slice(0, 5))[0], images[:5])
    assert len(own.test) == 8
    random = Pairs(images * 0.5, labels, noise=0.5)
    moving = splits_of(random)
    assert not torch.equal(moving.train.take(slice(0, 5))[0], moving.train.take(slice(0, 5))[0])
    assert moving.identity is not None
    assert moving.identity.digest == splits_of(random).identity.digest  # of the labels alone
    assert own.identity.digest != splits_of(TensorDataset(images.flip(0), labels)).identity.digest


def test_images_of_pillow_keep_rows_columns_and_colours():
    image_module = pytest.importorskip("PIL.Image", reason="needs Pillow")
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 7, 3), np.uint8)

    class Pictures(Pairs):
        def __getitem__(self, index):
            return image_module.fromarray(pixels[index]), int(self.labels[index])

    own = splits_of(Pictures(pixels, [0, 1, 0, 1, 0, 1]), Pictures(pixels, [0, 1, 0, 1, 0, 1]))
    assert own.input_shape == (3, 5, 7)
    assert torch.equal(
        own.train.take(slice(0, 6))[0], torch.from_numpy(pixels.transpose(0, 3, 1, 2)).float() / 255
    )


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("events", [False, True])
def test_a_dataloader_over_ours_gives_what_batches_gives(events, workers):
    own = (
        load("digits-events", steps=10, train_size=20) if events else load("digits", steps=10, train_size=20)
    )
    expected = list(own.train.batches(10, shuffle=False))
    found = list(DataLoader(own.train, batch_size=10, num_workers=workers))
    assert len(found) == len(expected) == 2
    for (x, y), (inputs, labels) in zip(found, expected, strict=True):
        assert type(x) is torch.Tensor
        assert torch.equal(
            x, inputs
        )  # frames with time first, also where there are as many samples as time-steps
        assert torch.equal(y, labels)
    x, y = own.train[-1]
    assert torch.equal(x, expected[-1][0][:, -1] if events else expected[-1][0][-1])
    with pytest.raises(IndexError):
        own.train[20]


def test_a_network_learns_from_a_dataloader(arrays):
    own = splits_of(arrays["train"], arrays["test"])
    net = dalton.SpikingCNN(TINY, own.input_shape, own.classes)
    optimizer = torch.optim.Adam(net.parameters())
    for x, y in DataLoader(own.train, batch_size=50, shuffle=True):
        result = dalton.train_step("dalton", net, optimizer, x, y, steps=8)
    assert np.isfinite(result.loss)


IMAGES, LABELS = torch.rand(20, 1, 8, 8), torch.arange(20) % 2


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ((IMAGES * 255, LABELS), r"images lie in \[0, 25\d.*\]; give uint8 from 0 to 255 or floats in \[0, 1\]"),
        ((IMAGES - 0.5, LABELS), "do not subtract a mean"),
        (((IMAGES * 16).byte(), LABELS), "the largest value of the images is 15, nearly black"),
        (((IMAGES > 0.5).byte(), LABELS), "is 1, nearly black on a scale to 255; scale them"),
        ((IMAGES / 255, LABELS), "nearly black on a scale to 1"),
        ((IMAGES.masked_fill(IMAGES > 0.9, torch.nan), LABELS), "NaN or infinite"),
        ((IMAGES.to(torch.complex64), LABELS), "complex"),
        ((torch.ones(20, 1, 8, 8), LABELS), "all 20 samples are the same"),
        ((torch.rand(20, 8, 8, 3), LABELS), "looks like channels; give channels first"),
        ((torch.rand(20, 64), LABELS), r"inputs have shape \(20, 64\)"),
        ((IMAGES[:0], LABELS[:0]), "a sample or more"),
        ((IMAGES, LABELS[:19]), r"labels have shape \(19,\) for 20 samples"),
        ((IMAGES, torch.eye(20)), "for one-hot rows their argmax"),
        ((IMAGES, LABELS.float()), "labels are float32; each must be a whole number"),
        ((IMAGES, ["a", "b"] * 10), "labels are <U1"),
        ((IMAGES, LABELS * 0), "label 1 belongs to no class; the training set has 0"),
        ((torch.stack(frames(20, 5)) * -1, LABELS), "give the two polarities as channels"),
        ((torch.randint(0, 255, (20, 5, 1, 8, 8)), LABELS), "grey levels rather than event counts"),
        (("a", "b"), "inputs are not an array of numbers"),
        (7, "is int; give .inputs, labels., or a map-style Dataset"),
        (IMAGES, "is Tensor"),
        (Pairs([torch.rand(1, 8, 8), torch.rand(1, 9, 8)], [0, 1]), r"sample 1 has shape \(1, 9, 8\), the first"),
        (Subset(TensorDataset(IMAGES, LABELS), []), "the data set is empty"),
        (TensorDataset(IMAGES), "an item is tuple; it must be a pair"),
    ],
)  # fmt: skip
def test_what_can_be_understood_in_two_ways_is_refused(train, message):
    with pytest.raises(UserError, match=message):
        splits_of(train, (torch.rand(4, 1, 8, 8), LABELS[:4]))


def test_parts_must_agree(arrays):
    with pytest.raises(UserError, match="all training samples are of one class"):
        splits_of((IMAGES, LABELS * 0), (IMAGES, LABELS * 0))
    with pytest.raises(UserError, match=r"own test: images are \(1, 9, 8\), those of the training set"):
        splits_of((IMAGES, LABELS), (torch.rand(4, 1, 9, 8), LABELS[:4]))
    with pytest.raises(UserError, match="own test: label 5 belongs to no class; the training set has 0, 1"):
        splits_of((IMAGES, LABELS), (torch.rand(4, 1, 8, 8), LABELS[:4] + 5))
    with pytest.raises(UserError, match=r"steps is 2\.5; it must be a whole number"):
        splits_of((IMAGES, LABELS), steps=2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(UserError, match="augment is for images"):
        splits_of((torch.stack(frames(20, 5)), LABELS), augment=True)
    net = dalton.SpikingCNN(TINY, (1, 8, 8), 2)
    with pytest.raises(UserError, match="label 9 is beyond the network's classes 0 to 1"):
        dalton.evaluate(net, splits_of(arrays["train"], arrays["test"]))
    with pytest.raises(UserError, match="evaluate was given tuple"):
        dalton.evaluate(net, (IMAGES, LABELS))  # pyright: ignore[reportArgumentType]


def test_empty_samples_are_counted():
    images = IMAGES.clone()
    images[:3] = 0
    assert any("3 are empty or constant" in line for line in splits_of((images, LABELS)).notes)


def test_options_that_read_data_are_refused_where_data_are_given(digits):
    config = small(train_size=None, test_size=None, steps=None)
    for name, value in (("steps", 8), ("augment", True), ("reader", "tonic"), ("time_window", 5)):
        with pytest.raises(UserError, match=f"{name} is {value!r}, which acts when data are read"):
            dalton.train(replace(config, **{name: value}), data=digits)
    with pytest.raises(UserError, match="dataset is 'cifar10', but data named 'digits' are given"):
        dalton.train(replace(config, dataset="cifar10"), data=digits)
    with pytest.raises(UserError, match="data is tuple"):
        dalton.train(config, data=(IMAGES, LABELS))  # pyright: ignore[reportArgumentType]


def test_a_run_does_not_go_on_with_other_data(tmp_path):
    config = small(dataset="own", epochs=0, steps=None, train_size=None, test_size=None, out=tmp_path / "run")
    dalton.train(config, data=splits_of((IMAGES, LABELS)))
    dalton.train(config, data=splits_of((IMAGES, LABELS)))
    with pytest.raises(UserError, match="the data set own changed since the run in"):
        dalton.train(config, data=splits_of((1 - IMAGES, LABELS)))
