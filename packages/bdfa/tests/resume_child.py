"""A run that kills itself at named steps and is started again, each time in a fork of this process.

Arguments: the run directory, its options as JSON, and the steps before which it dies; 0 lets it end. Prints a line for
each: how the process ended and the step of the newest checkpoint.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import torch
from bdfa.config import TrainConfig
from bdfa.engines.engine import FastEngine, ModuleEngine
from bdfa.training.loop import train
from reprokit import Checkpoints


def kill_before(step: int, engine: type) -> None:
    """Let an engine's class kill the process when it is asked for a step."""
    whole = engine.step

    def dying(self, images, labels, number):
        if number == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(self, images, labels, number)

    engine.step = dying


def attempt(config: TrainConfig, step: int) -> int:
    """Train in a fork that dies before a step; returns how it ended. This process itself computes nothing."""
    child = os.fork()
    if child == 0:
        try:
            for engine in (FastEngine, ModuleEngine):
                kill_before(step, engine)
            train(config)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    torch.set_num_threads(1)
    path, options = Path(sys.argv[1]), json.loads(sys.argv[2])
    options["hidden"] = tuple(options["hidden"])
    for word in sys.argv[3:]:
        code = attempt(TrainConfig(out=path, plot=False, **options), int(word))
        newest = Checkpoints(path / "checkpoints").load_latest()
        print(code, newest and newest.step, flush=True)
