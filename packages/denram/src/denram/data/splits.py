"""Which samples are for training or validation, and in what order, for both profiles.

`FaithfulOrder` repeats the original's streams: torch's generator splits by sample (DEV-13), shuffles training
and validation samples each epoch, drops the last partial batch (DEV-14), and discards one number for each pass
over the test set (DEV-15), so later epochs depend on how often a new best was found.

`FixedOrder` uses whole speakers for validation if speakers are known, keeps partial batches, and makes the
order of an epoch depend only on seed and epoch.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from reprokit import UserError

from denram.randomness import TorchGenerator

SPLIT_STREAM, SHUFFLE_STREAM = 0, 1  # independent NumPy streams of one seed


class Order(Protocol):
    """Batches of each epoch, with a JSON-able state for checkpoints."""

    train: np.ndarray
    validation: np.ndarray

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Training and validation batches of an epoch, as arrays of sample indices."""
        ...

    def test_pass(self) -> list[np.ndarray]:
        """Batches of one pass over the test set."""
        ...

    def state(self) -> dict[str, object]:
        """The state on which the next epoch depends."""
        ...

    def restore(self, state: dict[str, object]) -> None:
        """Restore what `state` returned."""
        ...


def make_order(
    *,
    faithful: bool,
    n_train: int,
    n_test: int,
    speakers: np.ndarray | None,
    seed: int,
    batch_size: int,
    validation: float,
    n_validation: int = 0,
) -> Order:
    """The order of one run.

    Args:
        faithful: Whether to repeat the original's streams.
        n_train: Number of training samples, some of which are used for validation.
        n_test: Number of test samples.
        speakers: Speaker of each training sample, int `(sample,)`, or None if unknown.
        seed: Seed of the run.
        batch_size: Samples per batch.
        validation: Share of the training samples used for validation.
        n_validation: Number of last training samples used for validation instead of a share; 0: use the share.

    Raises:
        UserError: If a part would have no batch, or `faithful` is given a validation part.
    """
    if faithful and n_validation:
        raise UserError(
            "The data have a validation part, but the faithful profile draws its own from the training samples; "
            "use profile fixed, or remove the validation file."
        )
    if faithful:
        return FaithfulOrder(n_train, n_test, seed, batch_size, validation)
    return FixedOrder(n_train, n_test, speakers, seed, batch_size, validation, n_validation)


class FaithfulOrder:
    """The original's split and shuffles; see `make_order` for the arguments."""

    def __init__(
        self, n_train: int, n_test: int, seed: int, batch_size: int, validation: float = 0.2
    ) -> None:
        self.batch_size, self.n_test = batch_size, n_test
        n_fit = int((1 - validation) * n_train)
        for part, count in (("training", n_fit), ("validation", n_train - n_fit), ("test", n_test)):
            if count < batch_size:
                raise UserError(
                    f"The {part} set has {count} samples, fewer than one batch of {batch_size}, and the "
                    "faithful profile drops partial batches; use a smaller batch size, more data or profile fixed."
                )
        self._generator = TorchGenerator(seed)
        self.train, self.validation = self._generator.split((n_fit, n_train - n_fit))

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Training and validation batches of the next epoch, both shuffled."""
        del epoch  # the stream keeps count itself
        train = self.train[self._generator.shuffled_order(len(self.train))]
        validation = self.validation[self._generator.shuffled_order(len(self.validation))]
        return self._full_batches(train), self._full_batches(validation)

    def test_pass(self) -> list[np.ndarray]:
        """Full test batches in file order; advances the generator as a pass of the original does."""
        self._generator.sequential_pass()
        return self._full_batches(np.arange(self.n_test))

    def _full_batches(self, order: np.ndarray) -> list[np.ndarray]:
        count = len(order) // self.batch_size
        return np.split(order[: count * self.batch_size], count)

    def state(self) -> dict[str, object]:
        """State of the generator."""
        return self._generator.state

    def restore(self, state: dict[str, object]) -> None:
        """Restore what `state` returned."""
        self._generator.state = state


class FixedOrder:
    """Speaker-disjoint split and stateless shuffles; see `make_order` for the arguments."""

    def __init__(
        self,
        n_train: int,
        n_test: int,
        speakers: np.ndarray | None,
        seed: int,
        batch_size: int,
        validation: float,
        n_validation: int = 0,
    ) -> None:
        self.seed, self.batch_size, self.n_test = seed, batch_size, n_test
        generator = np.random.default_rng([seed, SPLIT_STREAM])
        kept = None if n_validation else _validation_speakers(speakers, validation, generator)
        if n_validation:
            self.train, self.validation = np.split(np.arange(n_train), [n_train - n_validation])
        elif kept is None or speakers is None:
            permutation = generator.permutation(n_train)
            n_fit = n_train - max(1, round(validation * n_train))
            self.train, self.validation = np.sort(permutation[:n_fit]), np.sort(permutation[n_fit:])
        else:
            validates = np.isin(speakers, kept)
            self.train, self.validation = np.flatnonzero(~validates), np.flatnonzero(validates)
        for part, count in (
            ("training", len(self.train)),
            ("validation", len(self.validation)),
            ("test", n_test),
        ):
            if count < 1:
                raise UserError(
                    f"The {part} set is empty ({n_train} training and {n_test} test samples); add data."
                )

    def epoch(self, epoch: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Shuffled training batches and unshuffled validation batches; the last ones may be smaller."""
        shuffled = np.random.default_rng([self.seed, SHUFFLE_STREAM, epoch]).permutation(self.train)
        return self._batches(shuffled), self._batches(self.validation)

    def test_pass(self) -> list[np.ndarray]:
        """All test samples in file order."""
        return self._batches(np.arange(self.n_test))

    def _batches(self, order: np.ndarray) -> list[np.ndarray]:
        return np.split(order, range(self.batch_size, len(order), self.batch_size))

    def state(self) -> dict[str, object]:
        """Nothing: the order follows from seed and epoch."""
        return {}

    def restore(self, state: dict[str, object]) -> None:
        """Restore what `state` returned."""
        del state


def _validation_speakers(
    speakers: np.ndarray | None, share: float, generator: np.random.Generator
) -> np.ndarray | None:
    """Random speakers that together have about `share` of the samples; None if that is impossible."""
    names, counts = np.unique(np.zeros(0) if speakers is None else speakers, return_counts=True)
    if len(names) < 2:
        return None
    order = generator.permutation(len(names))
    held = np.cumsum(counts[order]) / counts.sum()
    best = int(np.argmin(np.abs(held[:-1] - share)))  # at least one speaker remains for training
    return names[order[: best + 1]]
