"""PyTorch's Adam, ready a second sooner.

Methods of the optimisers in `torch.optim` are marked for PyTorch's compiler, and the first call of one imports it
(`torch._dynamo`), which takes as long as importing PyTorch. The optimisers here call the same methods without the
mark. Do not compile their step with `torch.compile`; `torch.optim.Adam` is made for that.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.optim import Optimizer


def _unmarked(method: Callable[..., Any]) -> Any:
    """Return a method without what wraps it; itself if nothing does."""
    return inspect.unwrap(method)


class Unmarked:
    """The first base of an optimiser whose own step is unmarked."""

    add_param_group = _unmarked(Optimizer.add_param_group)
    zero_grad = _unmarked(Optimizer.zero_grad)
    state_dict = _unmarked(Optimizer.state_dict)
    load_state_dict = _unmarked(Optimizer.load_state_dict)


class Adam(Unmarked, torch.optim.Adam):
    """`torch.optim.Adam` with the same arguments, state and numbers."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Do one step."""
        return _unmarked(torch.optim.Adam.step)(self, closure)
