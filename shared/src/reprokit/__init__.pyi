from . import bench, cli
from .claims import Claim, Verdict, judge, load_claims
from .data.fetch import fetch
from .errors import UserError
from .load import load_events, load_images, load_recordings
from .readers.aedat import read_aedat
from .readers.cifar import read_cifar_binary
from .readers.dvs import read_dvs_gesture
from .readers.idx import read_idx
from .readers.image_folder import read_image_folder
from .readers.nmnist import read_nmnist, read_nmnist_file, write_nmnist_file
from .readers.npz import read_npz
from .readers.shd import read_shd, write_shd
from .readers.stl10 import read_stl10
from .readers.svhn import read_svhn
from .run.checkpoint import Checkpoint, Checkpoints
from .run.directory import RunDirectory
from .run.identity import DataIdentity
from .run.ledger import LEDGER_COLUMNS, Ledger
from .run.prediction import Prediction, Predictor, read_samples
from .run.provenance import environment, git_commit, peak_memory_mb, run_id, standard_row
from .run.stored import StoredRun, read_config, read_run
from .run.sweep import Job, SweepReport, run_jobs
from .terminal import progress
from .types import EventSet, EventSplits, ImageSet, ImageSplits, Recordings, RecordingSplits

__all__ = [
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
    "Prediction",
    "Predictor",
    "RecordingSplits",
    "Recordings",
    "RunDirectory",
    "StoredRun",
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
    "read_run",
    "read_samples",
    "read_shd",
    "read_stl10",
    "read_svhn",
    "run_id",
    "run_jobs",
    "standard_row",
    "write_nmnist_file",
    "write_shd",
]
