r"""Loss and accuracy of a batch of scores.

.. math:: loss = -\frac{1}{B} \sum_b \ln p_{b, label_b}, \quad p = softmax(score)
"""

import jax
import jax.numpy as jnp
import numpy as np

from denram.spec import Profile


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, float32."""
    shifted = np.exp(scores - np.max(scores, axis=-1, keepdims=True))
    return shifted / np.sum(shifted, axis=-1, keepdims=True)


def sample_losses(scores: jax.Array, labels: jax.Array, profile: Profile) -> jax.Array:
    """Negative log-likelihood of each sample, shape (sample,).

    ``faithful`` (DEV-2) takes the logarithm of the softmax without guarding the exponential and is infinite
    or NaN for scores beyond the range of float32's exponential; ``fixed`` uses log-sum-exp.
    """
    if profile == "faithful":
        raised = jnp.exp(scores)
        logarithm = jnp.log(raised / jnp.sum(raised, axis=-1, keepdims=True))
    else:
        logarithm = jax.nn.log_softmax(scores, axis=-1)
    return -jnp.take_along_axis(logarithm, labels[:, None], axis=-1)[:, 0]


def loss_of_scores(
    scores: np.ndarray, labels: np.ndarray, profile: Profile
) -> tuple[float, float, np.ndarray]:
    """Mean loss, accuracy and gradient of the mean loss with respect to the scores.

    Args:
        scores: float32, shape (sample, n_out).
        labels: whole numbers, shape (sample,).
        profile: see `sample_losses`.

    Returns:
        The loss, the share of samples whose first largest score is at their label, and a float32 gradient of
        shape (sample, n_out).
    """
    rows = np.arange(len(scores))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        shift = np.float32(0) if profile == "faithful" else np.max(scores, axis=-1, keepdims=True)
        raised = np.exp(scores - shift)
        total = np.sum(raised, axis=-1, keepdims=True)
        gradient = raised / total
        if profile == "faithful":
            losses = -np.log(gradient[rows, labels])
        else:
            losses = np.log(total[:, 0]) - (scores - shift)[rows, labels]
    gradient[rows, labels] -= 1
    accuracy = float(np.mean(np.argmax(scores, axis=-1) == labels))
    return float(np.mean(losses)), accuracy, gradient / np.float32(len(scores))


def undecided(scores: np.ndarray, tolerance: float = 1e-5) -> int:
    """How many samples have two largest scores that differ by less than rounding.

    Engines agree to rounding, so only such samples may get another class, and only by them accuracies may differ.

    Args:
        scores: float32, shape (sample, n_out).
        tolerance: difference that counts as none, relative to the largest score.
    """
    if scores.shape[-1] < 2:
        return 0
    second, first = np.moveaxis(np.partition(scores, -2, axis=-1)[..., -2:], -1, 0)
    return int(np.count_nonzero(first - second <= tolerance * np.abs(first)))
