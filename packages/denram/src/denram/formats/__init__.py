"""Foreign formats: the files of the original program, NIR graphs. Works on arrays and settings, knows no runs.

May import `rules` and the rooms below it. Open `original.py` or `nir.py`.
"""
