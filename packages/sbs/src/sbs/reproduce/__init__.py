"""Is it what the paper says: `plan` lists the runs of each claim, `figures` draws the study.

Open `plan` first. This room may import every other room; nothing imports it but the command line.
"""
