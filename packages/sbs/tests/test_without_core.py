"""Without the compiled core everything works, but slower, and says so once; asking for it gives one sentence."""

import pytest
from forked_commands import in_processes

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == "sbs._kernel":
            raise ImportError("hidden")

sys.meta_path.insert(0, Hidden())
"""
QUICK = [
    "--learning.updates=2",
    "--learning.batch-size=8",
    "--network.number-of-spikes=5",
    "--data.limit-train=20",
    "--data.limit-test=10",
]


LAYER = """
import torch, sbs
assert not sbs.kernel_available() and sbs.kernel_instructions() == "none"
layer = sbs.SbSLayer(1, 3, [4, 4], [2, 2], 5)
for _ in range(2):
    layer(torch.rand(2, 1, 4, 4)).square().sum().backward()
assert layer.weights.grad.abs().sum() > 0
"""


@pytest.mark.slow
def test_it_works_warns_once_and_asked_for_by_name_it_is_one_sentence(tmp_path):
    run, slow = str(tmp_path / "run"), "sbs runs its slow torch reference"
    evaluate = ["evaluate", run, "--limit", "10"]
    layer, train, evaluated, version, quiet, named = in_processes(
        [
            (LAYER, []),
            ("", ["train", "digits-smoke", *QUICK, "--out", run]),
            ("", evaluate),
            ("", ["--version"]),
            ("", [*evaluate, "--engine", "reference"]),
            ("", ["train", "digits-smoke", *QUICK, "--engine", "kernel", "--out", str(tmp_path / "named")]),
        ],
        before=HIDE,
    )
    for done in (layer, train, evaluated):
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(slow) == 1
    assert "core: torch reference (slow)" in version.stdout
    assert quiet.returncode == 0
    assert quiet.stderr == ""
    assert named.returncode == 2
    assert named.stderr.count("\n") == 1
    assert "engine is 'kernel', but the compiled kernel is missing" in named.stderr
