"""Who computes: plain PyTorch (the reference), the compiled core, a GPU's kernels; one interface for all.

May import `model` and what lies below it. Open `interface.py` first: what a rule asks of an engine; then
`reference.py`, the slow and plain form; `choice.py` says which engine runs where.
"""
