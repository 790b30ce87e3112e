"""Speed and growth of the five methods, measured by `runner.py`; start with `make bench` or ``--help``."""
