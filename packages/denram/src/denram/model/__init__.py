"""What the network is: delays, membranes, scores and their loss, initial weights.

May import `data` and what lies below it. Open `neuron.py` first (the membrane), then `delays.py`.
"""
