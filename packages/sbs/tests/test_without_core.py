"""Without the compiled core everything works, slower, and says so once; asked for by name it is one sentence."""

import subprocess
import sys

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


def run(program, *words):
    return subprocess.run([sys.executable, "-c", HIDE + program, *words], capture_output=True, text=True)


def sbs(*words):
    return run("from sbs.cli import main; sys.exit(main())", *words)


def test_a_layer_learns_and_warns_once():
    done = run(
        """
import torch, sbs
assert not sbs.kernel_available() and sbs.kernel_instructions() == "none"
layer = sbs.SbSLayer(1, 3, [4, 4], [2, 2], 5)
for _ in range(2):
    layer(torch.rand(2, 1, 4, 4)).square().sum().backward()
assert layer.weights.grad.abs().sum() > 0
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("sbs runs its slow torch reference") == 1


def test_commands_run_and_warn_once(tmp_path):
    done = sbs("train", "digits-smoke", *QUICK, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("sbs runs its slow torch reference") == 1
    assert sbs("evaluate", str(tmp_path / "run"), "--limit", "10").returncode == 0
    assert "core: torch reference (slow)" in sbs("--version").stdout
    quiet = sbs("evaluate", str(tmp_path / "run"), "--limit", "10", "--engine", "reference")
    assert quiet.returncode == 0
    assert quiet.stderr == ""


def test_asked_for_by_name_it_is_one_sentence(tmp_path):
    done = sbs("train", "digits-smoke", *QUICK, "--engine", "kernel", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "engine is 'kernel', but the compiled kernel is missing" in done.stderr
