"""kill -9 at named points of a run, also in the middle of an epoch: the run continues and ends with the same bits."""

import importlib
import itertools
import os
import signal
from operator import attrgetter

import pytest
import torch
from dalton import train
from small_runs import assert_same, small

OPTIONS = {
    "arch": "small_runs:DROPPED",
    "epochs": 4,
    "train_size": 120,
    "checkpoint_batches": 3,
    "batch_size": 10,
}
POINTS = (  # a function, and which of its calls is never made
    ("dalton.training.loop:train_step", 8),  # between two checkpoints of the first epoch
    ("dalton.training.loop:_Loop._save", 3),  # after the first epoch's record, before its checkpoint
    ("reprokit.run.checkpoint:atomic_write", 2),  # inside a checkpoint
    ("reprokit:RunDirectory.log", 1),  # weights of the best epoch saved, its record not
    ("dalton.training.loop:train_step", 2),  # just after a resumption
    ("reprokit:RunDirectory.finish", 1),  # all is done but the summary
)


def die_in(place: str, call: int) -> None:
    """Let the process kill itself at the given call of a function, counted from 1."""
    module, _, path = place.partition(":")
    owner_path, _, name = path.rpartition(".")
    owner = importlib.import_module(module)
    owner = attrgetter(owner_path)(owner) if owner_path else owner
    real, calls = getattr(owner, name), itertools.count(1)

    def counted(*arguments, **named):
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(owner, name, counted)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_run_ends_bit_equal(tmp_path):
    killed = tmp_path / "killed"
    torch.optim.Adam([torch.zeros(1)])  # loads much of torch, once for all children
    for place, call in POINTS:
        child = os.fork()
        if child == 0:
            try:
                die_in(place, call)
                train(small(out=killed, **OPTIONS))
            finally:
                os._exit(99)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, place
    assert not (killed / "summary.json").exists()
    train(small(out=killed, **OPTIONS))
    train(small(out=tmp_path / "whole", **OPTIONS))
    assert_same(tmp_path / "whole", killed)
