"""What happened so far: the loop, the schedule of the learning rate, the evaluation.

Open `loop` first. May import `engines` and everything below.
"""
