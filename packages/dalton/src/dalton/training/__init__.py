"""Training: the step by sequence and online, the loop, evaluation, the content of a run directory.

May import `formats`, `rules` and the rooms below them. Open `loop.py` first, then `step.py`; `sequence.py` and
`stepwise.py` are the paper's two settings.
"""
