"""Files: written completely or not at all, locked, and read with errors that name them.

Imports `reprokit.errors` only. Open `atomic.py` first.
"""

from reprokit.files.atomic import write_array, write_file

__all__ = ["write_array", "write_file"]
