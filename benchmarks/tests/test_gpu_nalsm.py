"""The slice of nalsm runs on the CPU at tiny size and says what it is."""

import json

import pytest

from benchmarks.programs import gpu_nalsm


def test_the_slice_prints_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_nalsm.main(["--device", "cpu", "--tiny"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["package"] == "nalsm"
    assert found["slices"] * gpu_nalsm.TINY["samples"] == gpu_nalsm.TARGET
    assert min(found["seconds"], found["fixed_seconds"], found["compile_seconds"]) > 0
    assert found["agreement"]["plastic"]["samples"] == 2
    assert found["agreement"]["plastic"]["apart"] == found["agreement"]["static"]["apart"] == 0
