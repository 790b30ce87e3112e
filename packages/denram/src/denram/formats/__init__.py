"""What strangers can read: the files of the original program, NIR graphs. Knows arrays and settings, never a run.

May import `rules` and what lies below it. Open `original.py` or `nir.py`.
"""
