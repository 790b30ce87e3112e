"""Data files: the catalogue, fetching and verifying, archives, the cache, decoded events.

May import `errors`, `terminal`, `types` and `files`. Open `fetch.py` first.
"""
