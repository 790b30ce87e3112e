"""What strangers read and write: the original's checkpoints and dumps, NIR graphs. Knows arrays and networks, no run.

May import `rules` and what lies below. Open `original.py` first.
"""
