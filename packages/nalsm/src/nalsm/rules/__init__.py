"""How the readout learns; the weight rules of the liquid itself are in `engines/reference.py`.

May import `config`, `data` and `model`; knows no engine. Open `readout.py` first.
"""
