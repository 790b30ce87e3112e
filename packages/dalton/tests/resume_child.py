"""A run in a process of its own that kills itself: run directory, options as JSON, the fatal function, its call.

The function is ``module:name`` or ``module:class.name`` and is not called any more when its turn has come.
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
    die_in(sys.argv[3], int(sys.argv[4]))
    train(small(out=Path(sys.argv[1]), **json.loads(sys.argv[2])))
