"""Training: the loop of a run, its tests, and the content of a run directory.

`loop` trains and resumes; open it first. `learner` does one update, `optimizers` has its parts,
`evaluation` counts correct images, `runs` reads a run back, `tracking` writes TensorBoard events.
"""
