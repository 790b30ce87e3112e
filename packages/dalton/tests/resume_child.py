"""A run in a process of its own, to be killed: arguments are the run directory and options as JSON."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

if __name__ == "__main__":
    import torch
    from dalton import train
    from small_runs import small

    torch.set_num_threads(1)
    train(small(out=Path(sys.argv[1]), **json.loads(sys.argv[2])))
