"""The slice of sbs runs on the CPU at tiny size and says what it is."""

import json

import pytest

from benchmarks.programs import gpu_sbs


def test_the_slice_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_sbs.main(["--device", "cpu", "--tiny"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["package"] == "sbs"
    assert found["slices"] * gpu_sbs.TINY["updates"] * gpu_sbs.TINY["batch"] == gpu_sbs.TARGET
    assert min(found["seconds"], found["compile_seconds"]) > 0
    assert found["agreement"] is None
