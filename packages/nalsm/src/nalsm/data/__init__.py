"""What goes in: data sets, their splits, and the input events that a liquid is shown.

May import `config` and its neighbours (`parameters`, `names`). Open `loading.py` first, then `encoding.py`.
"""
