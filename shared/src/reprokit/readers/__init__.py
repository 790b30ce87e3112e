"""Readers of published data formats: every byte is checked, nothing is unpickled, errors name the file.

May import `data` and the rooms below it. Open `idx.py`, the shortest, first; then `nmnist.py` for events.
"""
