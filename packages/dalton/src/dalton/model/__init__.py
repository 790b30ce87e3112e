"""The network: architectures, the neuron, linear layers, initial weights, dropout, memory.

May import `config` and `data`. Open `neuron.py` first for the equations, then `architectures.py` and `network.py`.
"""
