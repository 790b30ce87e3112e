"""The slice of denram for a GPU runs on a CPU at its smallest size."""

import pytest

from benchmarks.programs import gpu_denram


@pytest.mark.slow
def test_the_slice_is_two_epochs_of_all_runs() -> None:
    found = gpu_denram.slice_("cpu", tiny=True)
    assert found["slices"] == 100
    assert found["seconds"] == pytest.approx(found["D1_seconds"] + found["D2_seconds"])
    assert "15 runs each" in found["what"]
    assert found["device"].startswith("cpu")
