"""What happened in a run: its directory, checkpoints, provenance, the ledger of results, sweeps of many runs.

May import `errors`, `terminal` and `files`. Open `directory.py` first.
"""
