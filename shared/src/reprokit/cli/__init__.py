"""Command lines: one sentence for an error, exit codes, the program `reprokit`.

May import every other room. Open `app.py` first.
"""

from reprokit.cli.app import main, run
from reprokit.terminal import say

__all__ = ["main", "run", "say"]
