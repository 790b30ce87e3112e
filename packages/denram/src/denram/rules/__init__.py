"""How the network learns: the gradient at weights disturbed by read noise, and Adam.

May import `engines` and what lies below it. Open `noise_aware.py` first (the paper's rule), then `adam.py`.
"""
