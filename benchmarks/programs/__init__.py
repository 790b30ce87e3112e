"""What the cases run: the programs of each package and the plain ones they are compared with.

Unlike the registry, these files import the packages and their frameworks.
"""
