"""Only the published protocol on the published data counts as published."""

import dataclasses

import numpy as np
import pytest
from reprokit import DataIdentity, ImageSet, ImageSplits, load_images, read_npz, standard_row
from reprokit.data.catalog import CATALOG, DIGESTS
from reprokit.run import published
from reprokit.run.published import honest_scale, published_digest


def scale(data, dataset="digits", asked="paper", **more):
    common = {"package": "p", "claim": "c", "seed": 1, "seconds": 1.0, "threads": 1, "packages": ()}
    return standard_row({}, dataset=dataset, scale=asked, data=data, **common, **more)["scale"]


@pytest.fixture(autouse=True)
def _forget():
    published_digest.cache_clear()


def test_the_recorded_digest_is_that_of_the_set():
    assert DataIdentity.of(load_images("digits")).digest == DIGESTS["digits"] == published_digest("digits")
    assert set(DIGESTS) - {"digits", "spoken-digits"} <= set(CATALOG)


def test_paper_scale_needs_the_published_data_and_the_whole_protocol():
    digits = load_images("digits")
    assert scale(DataIdentity.of(digits)) == "paper"
    assert scale(DataIdentity.of(digits), reduced=True) == "reduced"
    assert scale(None) == "own"
    part = dataclasses.replace(digits, train=ImageSet(digits.train.images[:900], digits.train.labels[:900]))
    assert scale(DataIdentity.of(part)) == "own"
    assert scale(DataIdentity.of(digits), dataset="mnist") == "own"
    assert [scale(None, asked=asked) for asked in ("smoke", "reduced", "own")] == ["smoke", "reduced", "own"]


def test_an_own_file_of_the_set_s_name_is_not_the_set(tmp_path):
    digits = load_images("digits")
    arrays = {"train_images": digits.train.images, "train_labels": digits.train.labels}
    arrays |= {"test_images": digits.test.images, "test_labels": digits.test.labels}
    np.savez(tmp_path / "digits.npz", **arrays)
    same = read_npz(tmp_path / "digits.npz")
    assert same.name == "digits"
    assert scale(DataIdentity.of(same)) == "paper"  # the arrays decide, wherever they come from
    np.savez(tmp_path / "digits.npz", **(arrays | {"train_labels": digits.train.labels[::-1]}))
    assert scale(DataIdentity.of(read_npz(tmp_path / "digits.npz"))) == "own"


def test_the_row_carries_the_identity():
    data = DataIdentity.of(load_images("digits"))
    common = {"package": "p", "claim": "c", "seed": 1, "seconds": 1.0, "threads": 1, "packages": ()}
    row = standard_row({}, dataset="digits", scale="smoke", data=data, **common)
    assert (row["data_digest"], row["data_classes"]) == (data.digest, 10)
    assert row["data_samples"] == {"train": 1437, "test": 360}
    assert standard_row({}, dataset="digits", scale="smoke", **common)["data_digest"] == ""


def test_a_set_without_a_recorded_digest_is_taken_from_its_verified_files(monkeypatch):
    pixels = np.zeros((2, 3, 4, 4), np.uint8)
    splits = ImageSplits(*(ImageSet(pixels, np.arange(2)) for _ in "ab"), "cifar10", ("a", "b"))
    data = DataIdentity.of(splits)
    monkeypatch.setattr("reprokit.data.fetch.faults", lambda dataset: ["missing"])
    assert honest_scale("paper", "cifar10", data) == "own"
    published_digest.cache_clear()
    monkeypatch.setattr("reprokit.data.fetch.faults", lambda dataset: [])
    monkeypatch.setattr("reprokit.load.load_images", lambda name: splits)
    assert honest_scale("paper", "cifar10", data) == "paper"
    assert published.published_digest("nobody's") is None
