"""A training run in a process of its own that kills itself: run directory, options as JSON, and the step before which.

Step 0 never comes, so the run ends.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from bdfa.config import TrainConfig
from bdfa.engines.engine import FastEngine, ModuleEngine
from bdfa.training.loop import train


def kill_before(step: int, engine: type) -> None:
    """Let an engine's class kill the process when it is asked for a step."""
    whole = engine.step

    def dying(self, images, labels, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, images, labels, number)

    engine.step = dying


if __name__ == "__main__":
    torch.set_num_threads(1)
    path, options, step = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
    options["hidden"] = tuple(options.get("hidden", (16, 16)))
    for engine in (FastEngine, ModuleEngine):
        kill_before(step, engine)
    train(TrainConfig(out=path, plot=False, **options))
