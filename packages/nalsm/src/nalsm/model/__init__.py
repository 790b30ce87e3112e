"""The network: its random wiring and start weights, and the linear readout with its loss.

May import `config` and `data`. Open `network.py` first.
"""
