"""Environments of the peers: each library pinned in ``peers/<name>.txt`` is installed separately.

A file is what ``pip install -r`` reads. If its first line is ``# on top of ours``, the environment also sees the
packages of the one that runs the benchmarks, so that both sides use the same PyTorch or JAX, and only what the file
lists is installed, without dependencies. Otherwise it stands alone. The line ``# imports MODULE`` names what must be
importable then: a dependency that nobody listed is found when the environment is made. It is made once, below the
running environment's own folder, and again when the file or Python changes.
"""

from __future__ import annotations

import hashlib
import os
import re
import site
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.cases import HERE, LeftOut

PINS = HERE / "peers"
ON_TOP = "# on top of ours"
IMPORTS = "# imports "


def pinned(peer: str, package: str | None = None) -> str:
    """Return the version that a peer's file pins.

    Args:
        peer: Name of the file without suffix.
        package: Distribution; None: the peer itself.

    Raises:
        KeyError: The file does not pin it.
    """
    name = (package or peer).lower()
    for line in _text(peer).splitlines():
        found = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)", line.strip())
        if found and found[1].lower() == name:
            return found[2]
    raise KeyError(f"benchmarks/peers/{peer}.txt does not pin {name}")


def _text(peer: str) -> str:
    return (PINS / f"{peer}.txt").read_text(encoding="utf-8")


def imported(peer: str) -> str:
    """Return the module that a peer's environment must be able to import."""
    return next(line for line in _text(peer).splitlines() if line.startswith(IMPORTS)).removeprefix(IMPORTS)


def folder(peer: str) -> Path:
    """Return where a peer's environment is, or will be."""
    key = f"{_text(peer)}{sys.version}{sys.prefix}"
    return Path(sys.prefix) / "peers" / f"{peer}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"


def python(peer: str) -> Path:
    """Return the Python of a peer's environment; install it if it does not exist yet.

    Raises:
        LeftOut: It cannot be installed, for example without the internet, or not imported.
    """
    place = folder(peer)
    program = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (place / "complete").exists():
        return program
    print(f"{peer}: installing what benchmarks/peers/{peer}.txt lists", flush=True)
    venv.create(place, clear=True, with_pip=False)
    words = ["install", "--quiet", "--disable-pip-version-check", "-r", str(PINS / f"{peer}.txt")]
    if _text(peer).startswith(ON_TOP):
        words.append("--no-deps")
        paths = dict.fromkeys(
            path for path in (*site.getsitepackages(), *sys.path) if "site-packages" in path
        )
        lines = [f"import site; site.addsitedir({path!r})" for path in paths]
        inside = subprocess.run(
            [program, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        (Path(inside) / "zz_ours.pth").write_text("\n".join(lines) + "\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(program), *words], capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["pip says nothing"])[-1]
        raise LeftOut(f"benchmarks/peers/{peer}.txt cannot be installed: {reason}")
    done = subprocess.run([program, "-c", f"import {imported(peer)}"], capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise LeftOut(f"what benchmarks/peers/{peer}.txt lists cannot be imported: {reason}")
    (place / "complete").touch()
    return program
