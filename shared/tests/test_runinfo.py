import enum
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from reprokit import LEDGER_COLUMNS, UserError, environment, git_commit, peak_memory_mb, run_id, standard_row
from reprokit.run import provenance as runinfo


class Rule(enum.Enum):
    DFA = 1


@dataclass(frozen=True)
class Inner:
    rate: float
    folder: Path


def row(**changes):
    arguments = dict(
        package="p",
        claim="c",
        dataset="digits",
        scale="smoke",
        seed=1,
        seconds=2.0,
        threads=1,
        packages=("numpy",),
    )
    return standard_row({"seed": 1}, **(arguments | changes))


def test_run_id_is_stable_across_releases():
    # recorded ledgers depend on this very value
    assert run_id({"seed": 42, "noise": 0.1, "layers": [800, 800]}) == "f8d7a9f000580537"


def test_run_id_ignores_order_and_container_types():
    reference = run_id({"a": 1, "b": [1, 2], "c": {"x": 0.5}})
    assert run_id({"c": {"x": np.float64(0.5)}, "b": (np.int64(1), 2), "a": np.int32(1)}) == reference


@pytest.mark.parametrize(
    "other", [{"a": 2}, {"a": 1, "b": None}, {"a": "1"}, {"a": True}, {"a": [1]}, {"A": 1}, {"a": 1.0}]
)
def test_run_id_tells_configurations_apart(other):
    assert run_id({"a": 1}) != run_id(other)


def test_plain_covers_the_types_of_configurations():
    config = {
        "rule": Rule.DFA,
        "inner": Inner(1e-3, Path("out")),
        "array": np.array([1.5, np.inf]),
        "nan": float("nan"),
        "low": -np.inf,
        "set": {3, 1, 2},
        7: None,
        "flag": np.bool_(True),
    }
    assert runinfo.plain(config) == {
        "rule": "DFA",
        "inner": {"rate": 1e-3, "folder": "out"},
        "array": [1.5, "inf"],
        "nan": "nan",
        "low": "-inf",
        "set": [1, 2, 3],
        "7": None,
        "flag": True,
    }
    json.loads(runinfo.canonical_json(config))


def test_plain_names_the_leaf_it_cannot_store():
    with pytest.raises(TypeError, match=r"config\.model\.act\[1\] holds a builtin_function_or_method"):
        run_id({"model": {"act": [1, len]}})


def test_standard_row_fills_the_provenance():
    found = row()
    assert found["run_id"] == run_id({"seed": 1})
    assert found["config"] == {"seed": 1}
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"].startswith("3.")
    assert found["peak_memory_mb"] > 5
    assert found["started"].endswith("+00:00")
    assert set(found) == set(LEDGER_COLUMNS)


def test_standard_row_refuses_an_unknown_scale():
    with pytest.raises(UserError, match="scale is 'full'; it must be one of paper, own, reduced, smoke"):
        row(scale="full")


def test_environment_names_machine_and_versions():
    found = environment(("numpy", "no-such-package"))
    assert found["versions"]["no-such-package"] == "absent"
    assert found["cores"] == os.cpu_count()
    assert found["cpu"]
    assert found["git_commit"] == git_commit()


def test_peak_memory_grows_with_use_and_is_in_megabytes():
    code = (
        "import numpy, reprokit.run.provenance as r\n"
        "before = r.peak_memory_mb(); block = numpy.ones(25_000_000); print(r.peak_memory_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 180 < float(done.stdout) < 230


def test_peak_memory_without_proc(monkeypatch):
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert 5 < peak_memory_mb() < 1e5
    assert runinfo.cpu_model()


def _git(folder, *arguments):
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_git_commit_of_a_checkout_clean_dirty_and_untracked(tmp_path, monkeypatch):
    module = tmp_path / "runinfo.py"
    module.write_text("1\n")
    _git(tmp_path, "init")
    monkeypatch.setattr(runinfo, "__file__", str(module))
    ask = git_commit.__wrapped__
    monkeypatch.setattr(runinfo.metadata, "distribution", lambda _: _Distribution(None))
    assert ask() == "unknown"  # a copy inside somebody's repository is not that repository's commit
    _git(tmp_path, "add", ".")
    assert ask() == "unknown"  # tracked, but there is no commit yet
    _git(tmp_path, "commit", "-m", "one")
    clean = ask()
    assert len(clean) == 40
    (tmp_path / "sub").mkdir()
    written = [tmp_path / "sub" / f"results.{kind}" for kind in ("csv", "md", "pdf", "png", "svg")]
    for file in written:
        file.write_text("a\n")
    _git(tmp_path, "add", ".")
    _git(tmp_path, "commit", "-m", "two")
    clean = ask()
    for file in written:
        file.write_text("a\nb\n")
    assert ask() == clean  # rows and figures of a run do not change the code of the next
    module.write_text("2\n")
    assert ask() == f"{clean}-dirty"


class _Distribution:
    def __init__(self, text):
        self.text = text

    def read_text(self, _):
        return self.text


def test_git_commit_of_an_install_from_an_address(tmp_path, monkeypatch):
    monkeypatch.setattr(runinfo, "__file__", str(tmp_path / "runinfo.py"))
    text = json.dumps({"url": "https://x", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}})
    monkeypatch.setattr(runinfo.metadata, "distribution", lambda _: _Distribution(text))
    assert git_commit.__wrapped__() == "c0ffee"

    def absent(_):
        raise runinfo.metadata.PackageNotFoundError

    monkeypatch.setattr(runinfo.metadata, "distribution", absent)
    assert git_commit.__wrapped__() == "unknown"


def test_git_commit_without_git(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(runinfo.metadata, "distribution", lambda _: _Distribution(None))
    assert git_commit.__wrapped__() == "unknown"


def _install(folder, distribution, version, *files, command=None):
    info = folder / f"{distribution.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    for name in files:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    if command:
        (info / "entry_points.txt").write_text(f"[console_scripts]\n{command} = {command}.cli:main\n")


def test_versions_find_our_packages_by_import_name(tmp_path, monkeypatch):
    _install(tmp_path, "brainrules-spikes", "0.2.0")
    _install(tmp_path, "spikes", "7.0")
    monkeypatch.syspath_prepend(tmp_path)
    assert runinfo.versions(("spikes",))["spikes"] == "0.2.0"


def test_a_package_of_two_distributions_is_named(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    _install(tmp_path, "brainrules-spikes", "0.2.0", "spikes/__init__.py", "spikes/cli.py", command="spikes")
    assert runinfo.installed_twice("spikes") == []
    assert runinfo.installed_twice("no_such_package") == []
    _install(tmp_path, "spikes", "0.1.0", "_editable_spikes.pth", command="spikes")  # version 0.1, editable
    assert runinfo.installed_twice("spikes") == ["brainrules-spikes", "spikes"]
    _install(tmp_path, "stranger", "3.0", "spikes/__init__.py")
    assert runinfo.installed_twice("spikes") == ["brainrules-spikes", "spikes", "stranger"]
