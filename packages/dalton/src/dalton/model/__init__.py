"""What the network is: architectures, the neuron, linear layers, the network, initial weights, dropout, memory.

May import `config` and `data`. Open `neuron.py` first, the equations; then `architectures.py` and `network.py`.
"""
