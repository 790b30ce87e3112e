"""The engines: the compiled event-driven core, and the PyTorch reference, its oracle and fallback.

May import `config`, `data`, `model` and `rules`. Open `simulator.py` first: one call for both.
"""
