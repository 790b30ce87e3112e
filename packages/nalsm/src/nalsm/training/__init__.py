"""Training: the two phases of a liquid, the run directory, measures of the result.

May import everything below it: `config`, `data`, `model`, `rules`, `engines`. Open `pipeline.py` first.
"""
