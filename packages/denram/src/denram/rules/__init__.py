"""The learning rule: the gradient at weights with read noise, and Adam.

May import `engines` and the rooms below it. Open `noise_aware.py` first (the paper's rule), then `adam.py`.
"""
