"""Shared tools of the repository: data sets, run directories, checkpoints, result ledgers and claims."""

# Data side: verified files, readers, embedded sets.
from reprokit.events import EventSet, EventSplits, load_events
from reprokit.fetching import fetch
from reprokit.images import ImageSet, ImageSplits, load_images
from reprokit.readers.idx import read_idx
from reprokit.readers.nmnist import read_nmnist, read_nmnist_file, write_nmnist_file
from reprokit.readers.shd import read_shd, write_shd
from reprokit.recordings import Recordings, RecordingSplits, load_recordings

# State side: errors, provenance, run directories, checkpoints, ledger, claims, sweeps.
from reprokit import bench, cli
from reprokit.checkpoint import Checkpoint, Checkpoints
from reprokit.claims import Claim, Verdict, judge, load_claims
from reprokit.errors import UserError
from reprokit.ledger import LEDGER_COLUMNS, Ledger
from reprokit.progress_bar import progress
from reprokit.rundir import RunDirectory, read_config
from reprokit.runinfo import environment, git_commit, peak_memory_mb, run_id, standard_row
from reprokit.sweep import Job, SweepReport, run_jobs

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
    "read_config",
    "read_idx",
    "read_nmnist",
    "read_nmnist_file",
    "read_shd",
    "run_id",
    "run_jobs",
    "standard_row",
    "write_nmnist_file",
    "write_shd",
]
