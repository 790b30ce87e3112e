"""How it learns: `plasticity.py` inside the liquid (STDP, AP-STDP, the astrocyte), `readout.py` behind it.

May import `config`, `data` and `model`; knows no engine. Open `plasticity.py` first.
"""
