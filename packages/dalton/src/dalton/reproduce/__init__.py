"""The comparison with the original: which runs support which claim, sweeps of runs, figures of the study.

May import everything but `cli`. Open `plan.py` first.
"""
