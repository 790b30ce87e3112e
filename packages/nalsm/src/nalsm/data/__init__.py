"""The input: data sets, their splits, and the input events shown to a liquid.

May import `config` and its neighbours (`parameters`, `names`). Open `loading.py` first, then `encoding.py`.
"""
