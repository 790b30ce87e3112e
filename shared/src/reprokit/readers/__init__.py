"""Readers of published data formats: every byte is checked, nothing is unpickled, errors name the file.

May import `data` and what lies below it. Open `idx.py` first, the shortest; `nmnist.py` for events.
"""
