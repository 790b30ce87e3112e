"""The comparison with the paper: `plan` lists the runs of each claim, `figures` draws the study.

Open `plan` first. This room may import every other room; only the command line imports it.
"""
