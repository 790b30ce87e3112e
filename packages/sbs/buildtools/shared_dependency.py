"""The package's dependencies: fixed ones, and the shared package from this checkout or, in an sdist, an index."""

import os
from pathlib import Path
from typing import Any

FIXED = ["numpy>=2", "torch>=2.6", "tyro>=0.9"]


def dynamic_metadata(_settings: dict[str, Any], _project: dict[str, Any]) -> dict[str, list[str]]:
    """Return the dependency list; REPROKIT_SOURCE overrides where the shared package comes from."""
    checkout = Path.cwd().resolve().parent.parent / "shared"
    inside = (checkout / "pyproject.toml").is_file()
    default = f"@ {checkout.as_uri()}" if inside else ">=0.1,<0.2"
    return {"dependencies": [*FIXED, f"reprokit {os.environ.get('REPROKIT_SOURCE', default)}".strip()]}
