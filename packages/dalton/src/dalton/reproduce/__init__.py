"""Is it what the paper says: which runs make which claim, sweeps of runs, figures of the study.

May import everything but `cli`. Open `plan.py` first.
"""
