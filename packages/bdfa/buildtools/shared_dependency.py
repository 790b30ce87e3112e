"""What a package depends on: its own list, and the shared package from this checkout, a git address or an index.

Every package that builds with scikit-build-core has the same file; `make lint` compares them. Decision 12.
"""

import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SHARED = "brainrules-reprokit"
RELEASED = ">=0.2,<0.3"  # moves with the versions of all packages


class Dependencies:
    """Provider of the field `dependencies` for scikit-build-core."""

    state = "wheel"

    def build_state(self, state: str) -> None:
        """Learn what is being built: sdist, wheel, editable or the metadata of one."""
        self.state = state

    def dynamic_metadata(self, settings: dict[str, Any], _project: dict[str, Any]) -> dict[str, list[str]]:
        """Return the package's own dependencies, as its pyproject.toml lists them, and the shared package."""
        source = shared_source(for_others=self.state == "sdist")
        return {"dependencies": [*settings["dependencies"], f"{SHARED} {source}".strip()]}


def shared_source(for_others: bool) -> str:
    """Say where the shared package comes from, as the end of a requirement.

    Args:
        for_others: The metadata leave this machine: no path of it may be in them.

    Returns:
        The value of REPROKIT_SOURCE where it is set (empty: whatever else the command installs); in a checkout
        the path of its folder shared/, or its commit where pip fetched the checkout for this build alone; for
        an sdist and in one the range of released versions.
    """
    chosen = os.environ.get("REPROKIT_SOURCE")
    if chosen is not None:
        return chosen
    package = Path.cwd().resolve()
    shared = package.parent.parent / "shared"
    if for_others or (package / "PKG-INFO").is_file() or not _is_ours(shared / "pyproject.toml"):
        return RELEASED
    return f"@ {_fetched_from(shared.parent) or shared.as_uri()}"


def _is_ours(project: Path) -> bool:
    return project.is_file() and f'name = "{SHARED}"' in project.read_text(encoding="utf-8")


def _fetched_from(checkout: Path) -> str | None:
    """Return address and commit where pip will delete the checkout after this build, so that no path would last.

    Addresses other than https, and those with a user's name or password, stay what they are today: a path.
    """
    temporary = any(part.startswith(("pip-req-build-", "pip-install-")) for part in checkout.parts)
    if not temporary or not (checkout / ".git").exists():
        return None
    address, commit = (
        _git(checkout, "config", "--get", "remote.origin.url"),
        _git(checkout, "rev-parse", "HEAD"),
    )
    parts = urlsplit(address)
    if parts.scheme != "https" or "@" in parts.netloc or not commit:
        return None
    return f"git+{address}@{commit}#subdirectory=shared"


def _git(checkout: Path, *arguments: str) -> str:
    command = ["git", "-C", str(checkout), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""
