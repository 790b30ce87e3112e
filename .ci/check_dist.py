"""Check what is about to be handed out: no path of this machine, and everything a wheel must carry."""

import sys
import tarfile
import zipfile
from pathlib import Path


def metadata_of(path: Path) -> tuple[str, list[str]]:
    """Return the metadata and the names of all files of a wheel or sdist."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names = wheel.namelist()
            (place,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            return wheel.read(place).decode(), names
    with tarfile.open(path) as sdist:
        names = sdist.getnames()
        place = next(name for name in names if name.count("/") == 1 and name.endswith("/PKG-INFO"))
        return sdist.extractfile(place).read().decode(), names


def faults(path: Path) -> list[str]:
    """Name what is wrong with a wheel or sdist."""
    text, names = metadata_of(path)
    head = text.split("\n\n", 1)[0]
    package = path.name.split("-")[0].removeprefix("brainrules_")
    wanted = ["Author:", "License-Expression:", "Project-URL:", "Classifier:"]
    found = [f"no {field[:-1]}" for field in wanted if f"\n{field}" not in head]
    if "file:" in head:
        found.append("a path of this machine")
    if package != "reprokit" and "brainrules-reprokit<0.3,>=0.2" not in head:
        found.append("no range of brainrules-reprokit")
    found += [
        f"no {name}" for name in ("LICENSE", "py.typed") if not any(n.endswith("/" + name) for n in names)
    ]
    if path.suffix == ".whl" and any(name.split("/")[0] in ("tests", "cpp", "buildtools") for name in names):
        found.append("files that belong to the sources")
    if path.suffix == ".whl" and package not in ("reprokit", "bdfa"):
        found += [] if any(name.endswith((".so", ".pyd")) for name in names) else ["no compiled core"]
    return [f"{path.name}: {fault}" for fault in found]


everything = [fault for path in map(Path, sys.argv[1:]) for fault in faults(path)]
sys.exit("\n".join(everything) or 0)
