"""The network: delays, membranes, scores and their loss, initial weights.

May import `data` and the rooms below it. Open `neuron.py` first (the membrane), then `delays.py`.
"""
