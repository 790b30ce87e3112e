"""Whether it is what the paper says: which runs make which published figure, sweeps, figures of the study.

May import every room but the command line. Open `plan.py` first.
"""
