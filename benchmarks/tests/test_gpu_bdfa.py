"""The slice of bdfa for a GPU runs on a CPU at its smallest size."""

from benchmarks.programs import gpu_bdfa


def test_the_slice_is_an_epoch_of_every_network_and_rule() -> None:
    found = gpu_bdfa.slice_("cpu", tiny=True)
    assert found["slices"] == 300
    assert found["seconds"] > 0
    assert found["together_seconds"] > 0
    assert "2 networks under 5 rules" in found["what"]
