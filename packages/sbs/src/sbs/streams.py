"""Random numbers of a run; each stream depends only on the seed and a position.

Nothing carries over from one update to the next, so a resumed run needs no generator state, and a run's k-th
batch is the same whether or not the run was interrupted.
"""

import numpy as np
import numpy.typing as npt
import torch

WEIGHTS, ORDER, AUGMENTATION, SPIKES, TEST = range(5)


def derived_seed(seed: int, stream: int, *position: int) -> int:
    """Return a 63-bit seed for one place of one stream."""
    words = np.random.SeedSequence([seed, stream, *position]).generate_state(2, np.uint32)
    return (int(words[0]) << 31) ^ int(words[1])


def torch_generator(seed: int, stream: int, *position: int) -> torch.Generator:
    """Return a torch generator for one place of one stream."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, *position))


class SampleOrder:
    """The order in which training images are shown: one random permutation per epoch, one after another.

    Batches are taken from this endless sequence, so none is ever short and no image is left out.

    Args:
        samples: Number of training images.
        seed: Seed of the run.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self.samples = samples
        self.seed = seed
        self._epoch = -1
        self._permutation: npt.NDArray[np.int64] = np.empty(0, np.int64)

    def batch(self, number: int, size: int) -> npt.NDArray[np.int64]:
        """Return the image numbers of the ``number``-th batch of ``size`` images, int64 ``(size,)``."""
        first, parts, missing = number * size, [], size
        while missing:
            epoch, place = divmod(first, self.samples)
            part = self._of_epoch(epoch)[place : place + missing]
            parts.append(part)
            first, missing = first + len(part), missing - len(part)
        return np.concatenate(parts)

    def _of_epoch(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch != self._epoch:
            generator = np.random.default_rng([self.seed, ORDER, epoch])
            self._permutation = generator.permutation(self.samples)
            self._epoch = epoch
        return self._permutation
