"""What happened so far: the loop, the schedule of the learning rate, the evaluation, run directories read back.

Open `loop` first; `runs` reads what it wrote. May import `formats`, `engines` and everything below.
"""
