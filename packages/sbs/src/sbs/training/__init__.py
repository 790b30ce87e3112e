"""What happened so far: the loop of a run, its tests, and what a run directory holds.

`loop` trains and resumes; open it first. `learner` does one update, `optimizers` and `schedules` hold its parts,
`evaluation` counts correct images, `runs` reads a run back, `tracking` writes TensorBoard events.
"""
