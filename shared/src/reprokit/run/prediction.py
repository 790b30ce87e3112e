"""Predictions for samples without labels: read from a file, predicted, written as a table.

Every package has ``load(run)``, which returns a `Predictor`, and the command ``predict``.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from reprokit.errors import UserError
from reprokit.files.atomic import write_file
from reprokit.files.reading import guarded

Arrays = np.ndarray | Mapping[str, np.ndarray]
SAMPLES = "samples"  # the array to use from an .npz file with several


@dataclass(frozen=True)
class Prediction:
    """Classes and scores of some samples.

    Attributes:
        scores: float32 or float64 (sample, class), in the network's own units; larger is more likely.
        classes: int64 (sample,), the class of the largest score.
    """

    scores: np.ndarray
    classes: np.ndarray

    @classmethod
    def of(cls, scores: np.ndarray) -> "Prediction":
        """Return the prediction for scores (sample, class); among equal scores the first class counts.

        Raises:
            UserError: A score is not finite.
        """
        bad = np.flatnonzero(~np.isfinite(scores).all(1))
        if len(bad):
            raise UserError(f"the scores of sample {bad[0]} are not finite; check the sample, or train again")
        return cls(scores, scores.argmax(1).astype(np.int64))

    def __len__(self) -> int:
        return len(self.classes)

    def table(self) -> str:
        """Return a CSV table: index from 0, class, then ``score_0``, ``score_1``, ... in full precision."""
        text = io.StringIO()
        columns = ["index", "class", *(f"score_{k}" for k in range(self.scores.shape[1]))]
        text.write(",".join(columns) + "\n")
        for index, (label, row) in enumerate(zip(self.classes, self.scores, strict=True)):
            text.write(",".join([str(index), str(label), *(str(score) for score in row)]) + "\n")
        return text.getvalue()

    def write(self, path: str | Path) -> Path:
        """Write `table` in one piece and return the path."""
        return write_file(path, self.table())


class Predictor(Protocol):
    """A trained network of any package, as returned by ``load(run)``."""

    def predict(self, arrays: Any) -> Prediction:
        """Return scores and classes of samples; each package says what a sample is."""
        ...


def read_samples(path: str | Path) -> Arrays:
    """Read samples without labels from a .npy or .npz file.

    Args:
        path: The file. An .npz file with one array, or one called ``samples``, gives that array.

    Returns:
        The array, or all arrays of an .npz file by name.

    Raises:
        UserError: A wrong kind of file, a damaged one, or an array of Python objects.
    """
    path = Path(path)
    if path.suffix not in (".npy", ".npz"):
        raise UserError(f"cannot read samples from {path}; give a .npy or .npz file")
    with guarded(path, f"a {path.suffix} file"), path.open("rb") as file:
        content: Any = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        names = [SAMPLES] if SAMPLES in content.files else content.files
        arrays = {name: content[name] for name in names}
    return next(iter(arrays.values())) if len(arrays) == 1 else arrays


def one_array(arrays: Any, wanted: str) -> np.ndarray:
    """Return samples as one NumPy array.

    Args:
        arrays: An array, a tensor on the CPU, nested lists, or the result of `read_samples`.
        wanted: Description of valid samples, for the message.

    Raises:
        UserError: Several arrays, none called ``samples``, or something that is not an array of numbers.
    """
    if isinstance(arrays, Mapping):
        raise UserError(
            f"the samples are several arrays ({', '.join(arrays)}); give one, or call it {SAMPLES!r}: {wanted}"
        )
    try:
        array = np.asarray(arrays.detach().cpu() if hasattr(arrays, "detach") else arrays)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(f"the samples cannot be made an array ({error}); give {wanted}") from error
    if array.dtype.kind not in "biuf":
        raise UserError(f"the samples are {array.dtype} {array.shape}; give {wanted}")
    return array


def image_samples(arrays: Any, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Return images without labels in the form of a network's data set.

    Args:
        arrays: uint8 (sample, height, width), (sample, channel, height, width) or (sample, height, width, channel),
            0 to 255, with 1 or 3 channels; other whole numbers from 0 to 255 are accepted too.
        shape: (channel, height, width) of the network; None: any.

    Returns:
        uint8 (sample, channel, height, width). If both orders fit, channel first is assumed.

    Raises:
        UserError: Wrong shapes or values, or no sample.
    """
    array = channel_first(arrays, shape)
    if array.dtype == np.uint8:
        return array
    whole = array.dtype.kind in "iu" or bool((array == np.floor(array)).all())
    low, high = float(array.min()), float(array.max())
    if not (whole and low >= 0 and high <= 255) or (array.dtype.kind in "bf" and high <= 1):
        raise UserError(
            f"the images are {array.dtype} with values from {low:g} to {high:g}; give uint8 from 0 to 255, as the data "
            "set holds them (for example (255 * x).round().astype('uint8') where x lies in [0, 1])"
        )
    return array.astype(np.uint8)


def channel_first(arrays: Any, shape: tuple[int, int, int] | None = None) -> np.ndarray:
    """Return images of any numbers as (sample, channel, height, width); arguments and errors as `image_samples`."""
    takes = "" if shape is None else f"; the network takes (sample, {', '.join(map(str, shape))})"
    array = given = one_array(arrays, f"images, uint8 (sample, channel, height, width), 0 to 255{takes}")

    def fits(image: tuple[int, ...]) -> bool:
        return image == shape if shape else image[0] in (1, 3)

    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 4 and not fits(array.shape[1:]):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or not fits(array.shape[1:]) or not len(array):
        raise UserError(
            f"the images are {given.dtype} {given.shape}; give (sample, channel, height, width), one sample or more"
            f"{takes}"
        )
    return np.ascontiguousarray(array)
