"""Foreign formats: the original's checkpoints and dumps, NIR graphs. Works on arrays and networks, knows no runs.

May import `rules` and the rooms below it. Open `original.py` first.
"""
