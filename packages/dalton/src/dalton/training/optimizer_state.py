"""The state of an optimiser as named arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Array = NDArray[Any]


def moments(parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Array]:
    """State of each parameter as arrays ``<parameter>/<key>``, for Adam step, exp_avg and exp_avg_sq."""
    return {
        f"{name}/{key}": np.array(torch.as_tensor(value).detach().cpu().numpy())
        for name, parameter in parameters.items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_moments(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer, arrays: Mapping[str, Array]
) -> None:
    """Give an optimiser the state that :func:`moments` returned."""
    for name, parameter in parameters.items():
        own = below(arrays, f"{name}/")
        if own:
            optimizer.state[parameter] = {
                # the counter stays on the CPU, as Adam keeps it
                key: torch.from_numpy(value).to("cpu" if key == "step" else parameter.device)
                for key, value in own.items()
            }


def below(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """Arrays whose name starts with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
