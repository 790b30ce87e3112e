"""Foreign formats: files of the original program, in and out.

`original_config` reads its JSON files and `translate` turns one into our configuration; `weights` reads and writes
its .npy files. Open `original_config` first. This room works on arrays and networks and knows no runs.
"""
