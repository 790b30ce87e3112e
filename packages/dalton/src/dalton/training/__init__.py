"""What happens in a run: the step by sequence and online, the loop, evaluation, what a run directory holds.

May import `formats`, `rules` and what lies below. Open `loop.py` first, then `step.py`; `sequence.py` and `stepwise.py`
are the paper's two settings.
"""
