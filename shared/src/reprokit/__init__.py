"""Shared tools of the repository: data sets, run directories, checkpoints, result ledgers and claims."""

# Data side: verified files, readers, embedded sets.
# State side: errors, provenance, run directories, checkpoints, ledger, claims, sweeps.
from reprokit import bench, cli
from reprokit.claims import Claim, Verdict, judge, load_claims
from reprokit.data.fetch import fetch
from reprokit.errors import UserError
from reprokit.load import load_events, load_images, load_recordings
from reprokit.readers.aedat import read_aedat
from reprokit.readers.cifar import read_cifar_binary
from reprokit.readers.dvs import read_dvs_gesture
from reprokit.readers.idx import read_idx
from reprokit.readers.image_folder import read_image_folder
from reprokit.readers.nmnist import read_nmnist, read_nmnist_file, write_nmnist_file
from reprokit.readers.npz import read_npz
from reprokit.readers.shd import read_shd, write_shd
from reprokit.readers.stl10 import read_stl10
from reprokit.readers.svhn import read_svhn
from reprokit.run.checkpoint import Checkpoint, Checkpoints
from reprokit.run.directory import RunDirectory, read_config
from reprokit.run.ledger import LEDGER_COLUMNS, Ledger
from reprokit.run.provenance import environment, git_commit, peak_memory_mb, run_id, standard_row
from reprokit.run.sweep import Job, SweepReport, run_jobs
from reprokit.terminal import progress
from reprokit.types import EventSet, EventSplits, ImageSet, ImageSplits, Recordings, RecordingSplits

__all__ = [
    "LEDGER_COLUMNS",
    "Checkpoint",
    "Checkpoints",
    "Claim",
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
]
