"""Runs that kill themselves, each in a fork of this process: run directory, options, points as JSON.

A point is a function, ``module:name`` or ``module:class.name``, and the call of it, from 1, that is never made. What
became of the forks is printed as JSON: the signals that ended them, 0 for one that reached its end.
"""

import importlib
import itertools
import json
import os
import signal
import sys
from operator import attrgetter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


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


if __name__ == "__main__":
    import torch
    from dalton import train
    from small_runs import small

    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1)])  # loads much of torch, once for all forks
    ends = []
    for place, call in json.loads(sys.argv[3]):
        child = os.fork()
        if child == 0:
            die_in(place, call)
            train(small(out=Path(sys.argv[1]), **json.loads(sys.argv[2])))
            os._exit(0)
        ends.append(os.WTERMSIG(os.waitpid(child, 0)[1]))
    print(json.dumps(ends))
