"""The engines: plain PyTorch (the reference), the compiled core, a GPU's kernels; one interface for all.

May import `model` and the rooms below it. Open `interface.py` first: what a rule needs from an engine; then
`reference.py`, the slow and plain form; `choice.py` decides which engine runs where.
"""
