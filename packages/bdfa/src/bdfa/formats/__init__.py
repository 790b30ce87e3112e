"""Foreign formats: the command line of the original Torch7 program.

Open `lua_flags`. May import the configuration and all rooms below `training`; knows nothing of runs.
"""
