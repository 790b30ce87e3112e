"""Command lines: the same for all packages, with one sentence per error, and exit codes.

May import every other room. Open `app.py` first; `running.py` has the exit codes.
"""

from reprokit.cli.app import App, unchecked
from reprokit.cli.reprokit import main
from reprokit.cli.running import run
from reprokit.terminal import say

__all__ = ["App", "main", "run", "say", "unchecked"]
