"""What strangers can read: the files of the original program. Knows arrays and settings, never a run.

May import `rules` and what lies below it. Open `original.py`.
"""
