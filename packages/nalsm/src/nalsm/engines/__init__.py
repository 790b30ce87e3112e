"""Who works it out: the compiled event-driven core, and the PyTorch reference that is its oracle and its stand-in.

May import `config`, `data`, `model` and `rules`. Open `simulator.py` first: one call for both.
"""
