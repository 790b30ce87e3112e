"""Running sums of loss, errors and images."""

from dataclasses import dataclass


@dataclass
class Totals:
    """Sums over batches.

    Attributes:
        loss: Sum of the batches' losses.
        wrong: Images classified wrongly.
        images: Images seen.
    """

    loss: float = 0.0
    wrong: int = 0
    images: int = 0

    def add(self, loss: float, wrong: int, images: int) -> None:
        """Add one batch."""
        self.loss += loss
        self.wrong += wrong
        self.images += images

    @property
    def loss_per_image(self) -> float:
        """Loss divided by the number of images, the value the original's schedules see."""
        return self.loss / self.images

    @property
    def error(self) -> float:
        """Wrongly classified images in percent."""
        return 100.0 * self.wrong / self.images

    def values(self) -> list[float]:
        """Return the sums in the order of the constructor."""
        return [self.loss, self.wrong, self.images]
