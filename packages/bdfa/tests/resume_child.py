"""A training run in a process of its own, to be killed: arguments are the run directory and options as JSON."""

import json
import sys
from pathlib import Path

import torch
from bdfa.config import TrainConfig
from bdfa.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    options = json.loads(sys.argv[2])
    options["hidden"] = tuple(options.get("hidden", (16, 16)))
    train(TrainConfig(out=Path(sys.argv[1]), plot=False, **options))
