"""The comparison with the paper: which networks are trained, in which groups, and the rows they leave.

Open `plan` first: the three experiments. `groups` trains what the ledger lacks, `results` makes rows and the table.
May import everything but the command line.
"""
