"""Data sets that need no download: real 8x8 digits, the same digits as events, and generated spikes.

May import `types` and `errors`. Open `digits.py` first.
"""
