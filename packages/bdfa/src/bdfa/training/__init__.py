"""Training: the loop, the schedule of the learning rate, evaluation, and reading run directories back.

Open `loop` first; `runs` reads what it wrote. May import `formats`, `engines` and everything below.
"""
