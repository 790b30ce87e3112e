"""What the network is: its random wiring and start weights, and the linear readout with its loss.

May import `config` and `data`. Open `network.py` first.
"""
