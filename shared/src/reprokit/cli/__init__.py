"""Command lines: one kind of program for all packages, one sentence for an error, exit codes.

May import every other room. Open `app.py` first; `running.py` holds the exit codes.
"""

from reprokit.cli.app import App, unchecked
from reprokit.cli.reprokit import main
from reprokit.cli.running import run
from reprokit.terminal import say

__all__ = ["App", "main", "run", "say", "unchecked"]
