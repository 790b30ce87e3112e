"""The engines for currents, scores and gradients: pure JAX or compiled C++, behind one interface.

May import `model` and the rooms below it. Open `network.py` first (the interface), then `fft.py` (the plain engine)
and `compiled.py` (C++ through ctypes).
"""
