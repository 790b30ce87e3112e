"""Names that users' code, the README and ledger rows use stay where they are."""

import pkgutil
import subprocess
import sys

import pytest
import reprokit

ROOT = (
    "LEDGER_COLUMNS",
    "Checkpoint",
    "Checkpoints",
    "Claim",
    "DataIdentity",
    "EventSet",
    "EventSplits",
    "ImageSet",
    "ImageSplits",
    "Job",
    "Ledger",
    "RecordingSplits",
    "Recordings",
    "RunDirectory",
    "SweepReport",
    "UserError",
    "Verdict",
    "bench",
    "cli",
    "environment",
    "fetch",
    "git_commit",
    "judge",
    "load_claims",
    "load_events",
    "load_images",
    "load_recordings",
    "peak_memory_mb",
    "progress",
    "read_aedat",
    "read_cifar_binary",
    "read_config",
    "read_dvs_gesture",
    "read_idx",
    "read_image_folder",
    "read_nmnist",
    "read_nmnist_file",
    "read_npz",
    "read_shd",
    "read_stl10",
    "read_svhn",
    "run_id",
    "run_jobs",
    "standard_row",
    "write_nmnist_file",
    "write_shd",
)
DOTTED = (
    "reprokit.bench.compare",
    "reprokit.cli:main",
    "reprokit.cli.run",
    "reprokit.cli.say",
)


@pytest.mark.parametrize("name", ROOT)
def test_root_name(name: str) -> None:
    assert name in reprokit.__all__
    assert getattr(reprokit, name) is not None


@pytest.mark.parametrize("path", DOTTED)
def test_dotted_name(path: str) -> None:
    assert pkgutil.resolve_name(path) is not None


def test_a_fresh_process_finds_all_root_names() -> None:
    """A fresh process: submodules that other tests have loaded would hide a name that the root does not load."""
    program = f"import reprokit; [getattr(reprokit, name) for name in {ROOT}]"
    subprocess.run([sys.executable, "-c", program], check=True)
