"""The function that the tests' sweeps run; a separate module, so that worker processes can import it."""

import os
import signal
import time
from pathlib import Path

from reprokit import Job, standard_row


def make_row(config):
    standard = standard_row(
        config,
        package="p",
        claim="c",
        dataset="none",
        scale="smoke",
        seed=config["seed"],
        seconds=0.0,
        threads=1,
    )
    return standard | {"value": config["seed"] ** 2}


def work(config):
    """One run; settings in the configuration make it misbehave."""
    if config.get("fail"):
        raise ValueError("seed is bad")
    if config.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if "folder" in config:
        with (Path(config["folder"]) / f"ran-{config['seed']}").open("a") as file:
            file.write("x")
    time.sleep(config.get("sleep", 0))
    return make_row(config)


def jobs_of(*configs):
    return [Job(config, f"seed {config['seed']}") for config in configs]
