"""Runs: directory, data, checkpoints, provenance, the ledger of results, sweeps of many runs.

May import `errors`, `terminal`, `types` and `files`. Open `directory.py` first.
"""
