"""Colour conversion, normalisation and whitening of images, fitted on the training set.

With ``x`` a training image: ``scale`` is ``(x − min) / (max − min)``, ``simple``, ``channel`` and ``image``
are
``(x − mean) / std`` with one number, one per channel, or one per pixel (unbiased standard deviations).
Whitening uses the covariance ``C = V diag(λ) Vᵀ`` (divisor n − 1) of the flattened images:
``zca: P = V diag(1/√(λ + 1e-5)) Vᵀ``, ``pca: P = V diag(1/√(λ + 1e-5))``, output ``(x − mean) P``.
A test set is always transformed with the training set's numbers.
"""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from reprokit import UserError
from reprokit.files import write_file
from torch import Tensor

Mode = Literal["none", "scale", "simple", "channel", "image", "zca", "pca"]
MODES: tuple[str, ...] = get_args(Mode)
WHITENING_EPSILON = 1e-5
CACHE_VERSION = "1"
_YUV = ((0.299, 0.587, 0.114), (-0.14713, -0.28886, 0.436), (0.615, -0.51499, -0.10001))


@dataclass(frozen=True)
class Preprocessing:
    """A fitted transformation ``(x − shift) / scale``, then ``P`` for whitening.

    Attributes:
        mode: How it was fitted.
        shift: Subtracted; broadcasts over (sample, channel, height, width), or (pixels,) for whitening.
        scale: Divisor, broadcasts in the same way.
        projection: Whitening matrix ``P`` (pixels, pixels), None otherwise.
        inverse: Matrix ``invP`` that undoes ``P``, None otherwise.
    """

    mode: str
    shift: Tensor
    scale: Tensor
    projection: Tensor | None = None
    inverse: Tensor | None = None

    def apply(self, images: Tensor) -> Tensor:
        """Transform images.

        Args:
            images: (sample, channel, height, width), any real dtype.

        Returns:
            Same shape, dtype and device of the fitted numbers.

        Raises:
            UserError: When the images do not have the shape that was fitted.
        """
        values = images.to(self.shift)
        if self.projection is None:
            self._check(values.shape[1:], self.shift.shape[1:] if self.shift.ndim == 4 else ())
            return (values - self.shift) / self.scale
        flat = values.flatten(1)
        if flat.shape[1] != self.projection.shape[0]:
            raise UserError(
                f"images have {flat.shape[1]} values, the whitening was fitted on "
                f"{self.projection.shape[0]}; "
                "fit it on images of the same shape."
            )
        return ((flat - self.shift) @ self.projection).reshape(values.shape)

    def invert(self, images: Tensor) -> Tensor:
        """Undo :meth:`apply`, e.g. to show generated images."""
        if self.inverse is None:
            return images.to(self.shift) * self.scale + self.shift
        flat = images.to(self.shift).flatten(1) @ self.inverse + self.shift
        return flat.reshape(images.shape)

    def to(self, *, device: torch.device | str, dtype: torch.dtype) -> Preprocessing:
        """Move the fitted numbers to a device and a floating dtype."""

        def move(value: Tensor | None) -> Tensor | None:
            return None if value is None else value.to(device=device, dtype=dtype)

        shift, scale = self.shift.to(device=device, dtype=dtype), self.scale.to(device=device, dtype=dtype)
        return Preprocessing(self.mode, shift, scale, move(self.projection), move(self.inverse))

    def _check(self, shape: torch.Size, fitted: torch.Size | tuple[int, ...]) -> None:
        if any(wanted not in (1, got) for wanted, got in zip(fitted, shape, strict=False)):
            raise UserError(
                f"images of shape {tuple(shape)} do not fit the {self.mode!r} normalisation of shape "
                f"{tuple(fitted)}."
            )


def rgb_to_yuv(images: Tensor) -> Tensor:
    """Convert RGB images to YUV: Y = .299R + .587G + .114B, U and V as in Torch7's ``image.rgb2yuv``.

    Args:
        images: (sample, 3, height, width), values 0 to 255.

    Raises:
        UserError: When the images do not have three channels.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"color 'yuv' needs images of shape (sample, 3, height, width), got {tuple(images.shape)}; use "
            "color 'rgb'."
        )
    values = images if images.is_floating_point() else images.float()
    return torch.einsum("oc,nchw->nohw", values.new_tensor(_YUV), values)


def fit(images: Tensor, mode: Mode, *, zero_variance: Literal["error", "one"] = "error") -> Preprocessing:
    """Fit a normalisation or whitening on training images.

    Args:
        images: (sample, channel, height, width), floating, raw values.
        mode: One of ``none``, ``scale``, ``simple``, ``channel``, ``image``, ``zca``, ``pca``.
        zero_variance: What to do where a standard deviation is zero (the border pixels of MNIST under
            ``image``; the original divides by zero): raise, or divide by one (DEV-20).

    Raises:
        UserError: For an unknown mode, too few images, values that are not finite, or images without
            variation.
    """
    if mode not in MODES:
        raise UserError(f"normalisation {mode!r} is unknown; choose one of {', '.join(MODES)}.")
    if images.ndim != 4 or images.shape[0] == 0 or images[0].numel() == 0:
        raise UserError(
            f"images must have shape (sample, channel, height, width), got {tuple(images.shape)}."
        )
    if not torch.isfinite(images).all():
        raise UserError(
            "the training images contain values that are not finite; remove them before normalising."
        )
    if mode == "none":
        return Preprocessing(mode, images.new_zeros(()), images.new_ones(()))
    if images.max() == images.min():
        raise UserError(
            f"normalisation {mode!r} is undefined: every value of the training images is "
            f"{images.max().item():g}; "
            "check the data, or use normalisation 'none'."
        )
    if mode == "scale":
        low = images.min()
        return Preprocessing(mode, low, (images - low).max())
    if images.shape[0] < 2:
        raise UserError(f"normalisation {mode!r} needs at least two training images, got {images.shape[0]}.")
    if mode in ("zca", "pca"):
        return _fit_whitening(images, mode)
    return _fit_standard(images, mode, zero_variance)


def _fit_standard(images: Tensor, mode: str, zero_variance: str) -> Preprocessing:
    axes = {"simple": (0, 1, 2, 3), "channel": (0, 2, 3), "image": (0,)}[mode]
    exact = images.double()
    mean, std = exact.mean(axes, keepdim=True), exact.std(axes, keepdim=True)
    # Identical values leave rounding noise in the deviation, so the values themselves are compared.
    constant = images.amax(axes, keepdim=True) == images.amin(axes, keepdim=True)
    if constant.any() and zero_variance == "error":
        where = tuple(int(index) for index in constant.nonzero()[0][1:])
        raise UserError(
            f"normalisation {mode!r} divides by the deviation of each (channel, row, column), but "
            f"{int(constant.sum())} of {constant.numel()} positions, the first at {where}, never vary in the training "
            "images (as the borders of MNIST do); add --zero-variance one to divide these by one, or take "
            "normalisation 'scale' or 'simple'."
        )
    return Preprocessing(mode, mean.to(images.dtype), torch.where(constant, 1.0, std).to(images.dtype))


def _fit_whitening(images: Tensor, mode: str) -> Preprocessing:
    flat = images.flatten(1).double()
    mean = flat.mean(0)
    centred = flat - mean
    if not centred.any():
        raise UserError(f"whitening {mode!r} is undefined: the training images are all the same.")
    eigenvalues, vectors = torch.linalg.eigh(centred.T @ centred / (len(flat) - 1))
    # Rounding can leave eigenvalues of a singular covariance slightly below zero.
    root = (eigenvalues.clamp_min(0.0) + WHITENING_EPSILON).sqrt()
    projection, inverse = vectors / root, (vectors * root).T
    if mode == "zca":
        projection, inverse = projection @ vectors.T, vectors @ inverse
    kept = images.dtype
    return Preprocessing(mode, mean.to(kept), images.new_ones(()), projection.to(kept), inverse.to(kept))


def fit_cached(
    images: Tensor,
    mode: Mode,
    cache: Path | None,
    *,
    color: str = "rgb",
    zero_variance: Literal["error", "one"] = "error",
) -> Preprocessing:
    """Fit as :func:`fit` does, and keep the numbers in a directory keyed by the content of the images.

    The key hashes the images themselves with mode, colour and version, so a validation split, another data set
    of the same name or an edited image never gets stale statistics (DEV-21). Statistics in a damaged file are
    computed again.

    Args:
        images: Training images as for :func:`fit`, after colour conversion.
        mode: As for :func:`fit`.
        cache: Directory, created if missing; None: no cache.
        color: ``"rgb"`` or ``"yuv"``, part of the key.
        zero_variance: As for :func:`fit`.
    """
    if cache is None or mode == "none":
        return fit(images, mode, zero_variance=zero_variance)
    content = images.detach().cpu().contiguous().numpy()
    digest = hashlib.sha256(
        f"{CACHE_VERSION} {mode} {color} {zero_variance} {content.shape} {content.dtype}".encode()
    )
    digest.update(content.data)
    path = Path(cache) / f"{mode}-{digest.hexdigest()[:24]}.npz"
    if path.exists():
        found = _read_cache(path, mode, images)
        if found is not None:
            return found
        warnings.warn(f"{path} is damaged; its statistics are computed again.", stacklevel=2)
    fitted = fit(images, mode, zero_variance=zero_variance)
    _write_cache(path, fitted)
    return fitted


def _read_cache(path: Path, mode: str, images: Tensor) -> Preprocessing | None:
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]).to(images) for name in file.files}
        return Preprocessing(mode, **arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, fitted: Preprocessing) -> None:
    names = ("shift", "scale", "projection", "inverse")
    arrays = {name: getattr(fitted, name) for name in names if getattr(fitted, name) is not None}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: value.cpu().numpy() for name, value in arrays.items()})
    write_file(path, buffer.getvalue())
