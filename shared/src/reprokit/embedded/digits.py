"""Real 8x8 handwritten digits, in a file of this package."""

from importlib.resources import files

import numpy as np

from reprokit.types import ImageSet, ImageSplits

TEST_SAMPLES = 360


def digit_levels() -> tuple[np.ndarray, np.ndarray]:
    """Load the 1,797 digits as published, the same as scikit-learn's ``load_digits``.

    Returns:
        Grey levels 0 to 16, float64 (sample, row x column), and labels 0 to 9, int64 (sample,).

    Source: Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (test part), CC BY 4.0.
    """
    with files("reprokit.embedded").joinpath("digits.npz").open("rb") as file, np.load(file) as stored:
        return stored["levels"].astype(np.float64), stored["labels"].astype(np.int64)


def load_digits() -> ImageSplits:
    """Load 1,437 training and 360 test digits, 1 x 8 x 8, offline.

    The grey levels 0 to 16 are scaled to 0 to 255 and rounded. The test set is the end of the file, whose
    writers differ from those at its beginning.

    Returns:
        The splits, named ``digits``.
    """
    levels, labels = digit_levels()
    images = np.rint(levels.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    return ImageSplits(
        ImageSet(images[:-TEST_SAMPLES], labels[:-TEST_SAMPLES]),
        ImageSet(images[-TEST_SAMPLES:], labels[-TEST_SAMPLES:]),
        "digits",
        tuple("0123456789"),
    )
