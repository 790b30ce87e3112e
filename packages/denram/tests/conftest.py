"""JAX keeps what it compiles: all processes of one test session, children too, share the compiled programs."""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parent))  # for ecg_files

COMPILED = tempfile.mkdtemp(prefix="denram-tests-")
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)
# read by JAX when it is imported, so before any test module is; nothing is too small or too quick to be kept
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": COMPILED,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}
