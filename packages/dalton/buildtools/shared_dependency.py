"""Where the shared package comes from: this checkout, or an index when built from an sdist."""

import os
from pathlib import Path


def dynamic_metadata(_settings: object, _project: object) -> dict[str, list[str]]:
    """Return the requirement on reprokit."""
    checkout = Path.cwd().resolve().parent.parent / "shared"
    inside = (checkout / "pyproject.toml").is_file()
    default = f"@ {checkout.as_uri()}" if inside else ">=0.1,<0.2"
    return {"dependencies": [f"reprokit {os.environ.get('REPROKIT_SOURCE', default)}"]}
