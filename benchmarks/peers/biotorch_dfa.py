"""BioTorch's DFA through its own wrapper, which takes the targets and the loss."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from benchmarks.programs.bdfa import CLASSES, Data, network, pytorch_optimiser


def step(optimiser: str, device: str) -> Callable[[], dict[str, np.ndarray]]:
    """Return one training step; it returns how many weights are trained.

    Args:
        optimiser: "sgd" or "rmsprop".
        device: PyTorch's device.
    """
    warnings.filterwarnings("ignore", message=".*full_backward_hook.*")
    warnings.filterwarnings("ignore", message=".*non-full backward hooks.*")
    from biotorch.module.biomodule import BioModule

    torch.set_num_threads(1)
    place = torch.device(device)
    data, plain = Data(place), network(place)
    count = sum(parameter.numel() for parameter in plain.parameters())
    with contextlib.redirect_stdout(io.StringIO()):
        model = BioModule(plain, mode="dfa", output_dim=CLASSES).to(place)
    criterion = nn.BCEWithLogitsLoss(reduction="sum")
    stepper = pytorch_optimiser(optimiser, list(model.parameters()))

    def train() -> dict[str, np.ndarray]:
        images, labels = data.next()
        target = nn.functional.one_hot(labels, CLASSES).float()
        stepper.zero_grad()
        criterion(model(images, target, criterion), target).backward()
        stepper.step()
        if place.type != "cpu":
            torch.accelerator.synchronize(place)
        return {"weights": np.array(count)}

    return train
