"""The script for a GPU: what it does without one, and its flow with made-up parts."""

import json
import os
import subprocess
import sys
import tomllib

import pytest

from benchmarks import cases, environments, gpu


def script(*words, **variables):
    return subprocess.run(
        [cases.HERE / "gpu.sh", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", **variables},
    )


def test_without_a_gpu_it_ends_at_once_with_one_sentence(tmp_path):
    done = script(OUT=str(tmp_path / "out"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("no GPU: PyTorch of ")
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_claim_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        gpu.main(["claims", "none", "--dry"])
    assert ended.value.code == 2
    assert "claims takes one of fig4d" in capsys.readouterr().err


@pytest.fixture
def flow(monkeypatch, tmp_path):
    """A dry run whose parts are made up: a build log, tests, slices of two packages."""
    seen = []

    def run(self, words, most, log=None):
        words = [str(word) for word in words]
        seen.append(words)
        text = "built"
        if "pytest" in words:
            text = "1 failed in 1 s" if "packages/sbs" in " ".join(words) else "3 passed in 1 s"
        elif "benchmarks.programs.gpu_dalton" in words:
            text = 'a library talks\n{"what": "a step", "seconds": 2.0, "slices": 1, "ratio": 2.5}\nbye'
        elif any("gpu_" in word for word in words):
            text = '{"what": "an epoch", "seconds": 2.0, "slices": 100}'
        if log is not None:
            log.write(text)
        return (1 if "failed" in text else 0), text

    monkeypatch.setattr(gpu.Session, "run", run)
    monkeypatch.setattr(
        gpu.venv, "create", lambda place, **_: (place / "lib/python3/site-packages").mkdir(parents=True)
    )
    monkeypatch.setenv("OUT", str(tmp_path))
    return seen


def test_it_builds_tests_times_and_judges(flow, tmp_path, capsys):
    assert gpu.main(["--dry"]) == 1  # a test failed
    installed = [words[-1].rsplit("/", 1)[-1] for words in flow if "--no-build-isolation" in words]
    assert {"shared", *gpu.PACKAGES} <= set(installed)
    assert any("--no-deps" in words for words in flow)
    found = json.loads((tmp_path / "gpu.json").read_text())
    rows = {row["package"]: row for row in found["targets"]}
    assert (rows["dalton"]["verdict"], rows["dalton"]["kind"]) == ("missed", "measured")
    assert found["tests"]["sbs"].startswith(("1 failed", "no tests"))
    assert len(list(tmp_path.iterdir())) <= 8
    text = (tmp_path / "gpu.md").read_text()
    assert "A dry run on the CPU with tiny slices: the times mean nothing" in text
    assert "| a step | 2 | 1 | 2.5x | missed |" in text
    assert "dalton: missed: a step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "verdict", "whole"), [(0.1, "ok", 10.0), (0.15, "missed", 15.0), (None, "not measured", None)]
)
def test_slices_are_extrapolated_and_say_so(seconds, verdict, whole):
    target = {"package": "sbs", "text": "one epoch", "seconds": 15}
    found = {"error": "x"} if seconds is None else {"what": "w", "seconds": seconds, "slices": 100}
    row = gpu.judged(target, found)
    assert (row["kind"], row["verdict"], row["extrapolated_seconds"]) == ("extrapolated", verdict, whole)


def test_nothing_begins_when_the_time_is_over(tmp_path):
    session = gpu.Session(tmp_path, "cpu", limit=0.0)
    assert session.run([sys.executable, "-c", "raise SystemExit(3)"], 9.0) == (
        None,
        "not run: no time is left",
    )
    session = gpu.Session(tmp_path, "cpu")
    status, text = session.run(
        [sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)"], 0.5
    )
    assert (status, text.splitlines()[-1]) == (None, "ended after 0 s")


def test_parts_see_no_index_and_leave_memory_to_each_other(tmp_path):
    found = gpu.Session(tmp_path, "cuda").environment()
    assert (found["PIP_NO_INDEX"], found["REPROKIT_OFFLINE"]) == ("1", "1")
    assert found["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_what_is_carried_is_pinned_and_agrees_with_the_peers():
    lines = [line for line in (cases.HERE / "gpu.txt").read_text().splitlines() if line and line[0] != "#"]
    assert all(line.count("==") == 1 for line in lines)
    pins = dict(line.split("==") for line in lines)
    assert pins["spikingjelly"] == environments.pinned("spikingjelly")
    assert pins["loguru"] == environments.pinned("spikingjelly", "loguru")


def test_targets_and_claims_name_what_exists():
    table = tomllib.loads((cases.HERE / "gpu.toml").read_text())
    assert {target["package"] for target in table["target"]} == set(gpu.PACKAGES)
    for words in table["claim"].values():
        assert words[0] in gpu.PACKAGES
        assert words[1:3] == ["reproduce", "--scale"]
