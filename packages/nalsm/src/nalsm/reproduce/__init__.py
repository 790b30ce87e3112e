"""The comparison with the paper: which runs make which published figure, sweeps, figures of the study.

May import every room but the command line. Open `plan.py` first.
"""
