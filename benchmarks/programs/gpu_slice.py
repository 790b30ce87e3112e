"""The command line of every slice for a GPU: ``python -m benchmarks.programs.gpu_<package> [--device] [--tiny]``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any


def print_slice(
    measure: Callable[..., dict[str, Any]], about: str, arguments: Sequence[str] | None, *, data: bool = False
) -> None:
    """Measure a slice and print it as one line of JSON.

    Args:
        measure: Called with the device, whether a tiny one is wanted, and with `data` the folder of the data.
        about: The program's docstring; its first line is shown by ``--help``.
        arguments: Words of the command line; None: those of this process.
        data: Whether there is an option ``--data``.
    """
    line = argparse.ArgumentParser(description=about.splitlines()[0])
    line.add_argument("--device", default="cuda")
    line.add_argument("--tiny", action="store_true")
    if data:
        line.add_argument("--data", default="")
    options = line.parse_args(arguments)
    print(json.dumps(measure(options.device, options.tiny, *([options.data] if data else []))))
