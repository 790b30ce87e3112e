import numpy as np
from dalton.data.samples import window_starts

FRAMES = np.array([300, 480, 700, 500])


def starts(seed, **options):
    given = {"random": True, "faithful": False} | options
    return window_starts(FRAMES, 400, generator=np.random.default_rng(seed), **given)


def test_without_draws_every_window_starts_at_the_first_frame():
    assert starts(0, random=False).tolist() == [0, 0, 0, 0]


def test_windows_stay_within_a_recordings_own_frames():
    """DEV-10."""
    drawn = np.array([starts(seed) for seed in range(2000)])
    assert drawn.min(axis=0).tolist() == [0, 0, 0, 0]
    assert drawn.max(axis=0).tolist() == [0, 80, 300, 100]  # the last valid start is drawn too
    assert len(set(map(tuple, drawn.tolist()))) > 1000


def test_the_original_shares_one_start_that_may_lie_in_padding():
    """DEV-10, faithful: one start in [0, longest - steps), whatever the length of the other recordings."""
    drawn = np.array([starts(seed, faithful=True) for seed in range(5000)])
    assert (drawn == drawn[:, :1]).all()
    assert drawn.min() == 0
    assert drawn.max() == 299
    short = window_starts(FRAMES[:1], 400, random=True, faithful=True, generator=np.random.default_rng(0))
    assert short.tolist() == [0]


def test_draws_are_a_function_of_the_generators_seed():
    assert starts(3).tolist() == starts(3).tolist()
    assert starts(3).tolist() != starts(4).tolist()
