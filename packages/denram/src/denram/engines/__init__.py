"""Who works out currents, scores and gradients: pure JAX or compiled C++, behind one call.

May import `model` and what lies below it. Open `network.py` first (the call), then `fft.py` (the plain engine)
and `compiled.py` (C++ through ctypes).
"""
