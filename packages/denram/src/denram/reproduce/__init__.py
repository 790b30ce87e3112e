"""The comparison with the paper: the runs of figure 4d, their ledger, the verdicts and the figure.

May import everything but `cli`. Open `plan.py` first (which runs), then `figures.py` (table and figure).
"""
