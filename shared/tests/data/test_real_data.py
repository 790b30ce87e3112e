"""The real files next to the checkout, if there are any, through the public interface."""

import numpy as np
import pytest
import reprokit as rk
from reprokit import UserError


@pytest.fixture(autouse=True)
def offline(real_data, monkeypatch):
    monkeypatch.setenv("REPROKIT_MIRROR", str(real_data))
    monkeypatch.setenv("REPROKIT_OFFLINE", "1")


def test_mnist_from_the_mirror():
    mnist = rk.load_images("mnist")
    assert mnist.train.images.shape == (60000, 1, 28, 28)
    assert mnist.test.images.shape == (10000, 1, 28, 28)
    assert np.bincount(mnist.test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert mnist.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert round(mnist.train.images.mean() / 255, 4) == 0.1307
    assert mnist.name == "mnist"


@pytest.mark.parametrize("name", ["fashion-mnist", "shd"])
def test_other_files_of_the_same_name_are_not_taken(name, real_data):
    with pytest.raises(UserError, match=r"tried: .*(expected 26421880|its MD5 is)"):
        rk.fetch(name)


def test_nmnist_recordings(real_data):
    events = rk.load_events(real_data / "nmnist-small.zip")
    assert (len(events.train), len(events.test)) == (1000, 100)
    assert events.train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3]  # MNIST's order
    assert events.train.offsets[1] == 23405 // 5
    assert 3000 < len(events.train.t) / 1000 < 6000
    assert events.name == "nmnist-small"


def test_spoken_digits(real_data):
    spoken = rk.load_recordings(real_data / "spoken-digits")
    assert (len(spoken.train), len(spoken.test), spoken.channels) == (2250, 750, 700)
    assert spoken.class_names[:3] == ("zero", "one", "two")
    assert spoken.train.times.dtype == np.float32
    assert float(spoken.train.times.max()) == pytest.approx(2.188, abs=1e-3)
    assert spoken.train.speakers is not None
    assert spoken.test.speakers is not None
    assert len(set(spoken.test.speakers) - set(spoken.train.speakers)) == 1
    assert spoken.name == "spoken-digits"


@pytest.mark.slow  # decodes 30,000 images
def test_cifar10_jpeg(real_data):
    images = rk.load_images(real_data / "cifar10-jpeg.zip")
    assert images.train.images.shape == (25000, 3, 32, 32)
    assert np.bincount(images.test.labels).tolist() == [500] * 10
    assert images.class_names[:2] == ("airplane", "automobile")
    assert images.name == "cifar10-jpeg"
