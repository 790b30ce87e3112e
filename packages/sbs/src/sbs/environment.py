"""What the package runs on, for ``sbs info`` and bug reports."""

import os
import platform

import torch
from reprokit.run.provenance import versions

from sbs.engines import kernel


def describe() -> dict[str, str]:
    """Return engine, vector instructions, processors and versions as text."""
    engine = (
        "compiled kernel" if kernel.kernel_available() else "torch reference (slow): the kernel was not built"
    )
    return {
        "sbs": versions(("sbs",))["sbs"],
        "engine": engine,
        "instructions": kernel.kernel_instructions(),
        "processors": str(os.cpu_count() or 1),
        "torch": f"{torch.__version__}, {torch.get_num_threads()} threads",
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }
