"""The real 8x8 handwritten digits that ship with scikit-learn."""

import numpy as np

from reprokit.errors import UserError
from reprokit.types import ImageSet, ImageSplits

TEST_SAMPLES = 360


def load_digits() -> ImageSplits:
    """Load 1,437 training and 360 test digits, 1 x 8 x 8, offline.

    The grey levels 0 to 16 are scaled to 0 to 255 and rounded. The test set is the end of the file, which
    holds other writers than its beginning.

    Returns:
        The splits, named ``digits``.

    Raises:
        UserError: scikit-learn is not installed.

    Source: Alpaydin and Kaynak 1998, UCI "Optical Recognition of Handwritten Digits" (test part).
    """
    try:
        from sklearn.datasets import load_digits as load
    except ImportError as error:
        raise UserError(
            "the data set 'digits' needs scikit-learn; install it with: pip install scikit-learn"
        ) from error
    levels, labels = load(return_X_y=True)
    images = np.rint(np.asarray(levels).reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    labels = np.asarray(labels, np.int64)
    return ImageSplits(
        ImageSet(images[:-TEST_SAMPLES], labels[:-TEST_SAMPLES]),
        ImageSet(images[-TEST_SAMPLES:], labels[-TEST_SAMPLES:]),
        "digits",
        tuple("0123456789"),
    )
