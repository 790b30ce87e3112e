"""Feedback points: layers whose output is recorded and passed on without its gradient path.

A tapped layer keeps its class, attributes and names in the state dict; only its ``forward`` also records the
output. While recording in mode ``"cut"`` the next layer gets the detached output, so nothing flows back from
it and its input gradient is never computed; the signal enters at the recorded tensor instead. If a layer
returns several tensors, one of them is tapped. If time comes before batch, as in most recurrent layers, the
recorded tensor has them swapped, so that its dimensions match the scores'.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import torch
from reprokit import UserError
from torch import Tensor, nn

from bdfa.model.outputs import Path, put, take

IN_PLACE = (
    "an in-place operation changes the output of tap {name!r} after it was recorded; use inplace=False in the "
    "layer after it, or put the tap behind that layer."
)
Mode = Literal["off", "cut", "keep"]


@dataclass(frozen=True)
class Place:
    """The place of a tap in a layer's output.

    Attributes:
        path: Place of the tensor, see `bdfa.model.outputs`; empty for the output itself.
        swapped: Whether the first two dimensions are swapped before the tensor is recorded.
    """

    path: Path = ()
    swapped: bool = False

    def order(self, tensor: Tensor) -> Tensor:
        """The tensor as it is recorded, or the reverse."""
        return tensor.transpose(0, 1) if self.swapped else tensor


class Recorder:
    """Activations of the feedback points of one forward pass.

    Attributes:
        mode: ``"off"``, ``"cut"`` (record and detach) or ``"keep"`` (record only).
        values: Recorded tensors by the name of their tap.
        versions: Their in-place counters when they were recorded; empty under the compiler.
    """

    def __init__(self) -> None:
        self.mode: Mode = "off"
        self.values: dict[str, Tensor] = {}
        self.versions: dict[str, int] = {}

    @contextmanager
    def recording(self, mode: Mode) -> Iterator[dict[str, Tensor]]:
        """Record the taps inside the ``with`` block; afterwards the recorder keeps no tensor."""
        before = self.mode, self.values
        values: dict[str, Tensor] = {}
        self.mode, self.values, self.versions = mode, values, {}
        try:
            yield values
        finally:
            self.mode, self.values = before

    def check_untouched(self) -> None:
        """Refuse a tap whose output a later layer has changed in place.

        Raises:
            UserError: When one was changed.
        """
        for name, version in self.versions.items():
            if self.values[name]._version != version:
                raise UserError(IN_PLACE.format(name=name))

    def record(self, name: str, output: Any, place: Place) -> Any:
        """Record the output of a tap and return what the next layer should see."""
        if self.mode == "off":
            return output
        if not place.path:
            return place.order(self._record(name, place.order(output)))
        try:
            tensor = take(output, place.path)
        except LookupError as error:
            raise UserError(
                f"tap {name!r} returned a {type(output).__name__} without the tensor at "
                f"{'.'.join(map(str, place.path))} that it returned in the first pass; tap another layer, taps=[...]."
            ) from error
        return put(output, place.path, place.order(self._record(name, place.order(tensor))))

    def _record(self, name: str, output: Tensor) -> Tensor:
        if name in self.values:
            raise UserError(
                f"tap {name!r} runs more than once in a forward pass, so it marks no single place; give each "
                "use its own module (for example its own nn.Tanh())."
            )
        if self.mode == "cut" and not torch.is_grad_enabled():
            raise UserError(
                f"tap {name!r} runs with gradients switched off, inside a re-entrant checkpoint or torch.no_grad(), so "
                "nothing below it would learn; use use_reentrant=False, or tap a layer outside."
            )
        self.values[name] = output
        if not torch.compiler.is_compiling():
            self.versions[name] = output._version
        return output.detach() if self.mode == "cut" else output


class Tapped(nn.Module):
    """Mixed into the class of a tapped layer."""

    _tap: tuple[Recorder, str, Place]

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        """Run the layer and record its output."""
        output = super().forward(*inputs, **keywords)  # type: ignore[misc]
        recorder, name, place = self._tap
        return recorder.record(name, output, place)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle and copy as the original class, because the mixed class has no importable name."""
        return _rebuild, (untapped_class(type(self)),), self.__dict__


def tap(module: nn.Module, recorder: Recorder, name: str, place: Place) -> None:
    """Make `module`, in place, record the tensor at a place of its output under `name`.

    Raises:
        UserError: When the module is already tapped.
    """
    if isinstance(module, Tapped):
        raise UserError(
            f"layer {name!r} already carries a feedback point; wrap a fresh copy of the network "
            "(copy.deepcopy it before the first FeedbackModel)."
        )
    module.__class__ = tapped_class(type(module))
    module._tap = (recorder, name, place)  # type: ignore[assignment]


@cache
def tapped_class(original: type[nn.Module]) -> type[nn.Module]:
    """Return the class `original` with recording added."""
    return type(f"Tapped{original.__name__}", (Tapped, original), {"__module__": original.__module__})


def untapped_class(kind: type[nn.Module]) -> type[nn.Module]:
    """Return the class from which a tapped class was made; other classes are returned as they are."""
    return kind.__mro__[2] if issubclass(kind, Tapped) else kind


def _rebuild(original: type[nn.Module]) -> nn.Module:
    mixed = tapped_class(original)
    return mixed.__new__(mixed)
