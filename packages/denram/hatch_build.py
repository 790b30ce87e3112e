"""Builds the native event engine into the wheel; without a C++ compiler the package installs without it."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "native.so"
FLAGS = ["-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wconversion"]
VARIANTS = {
    "avx2": (8, ["-mavx2", "-mfma"]),
    "avx512": (
        16,
        ["-mavx512f", "-mavx512vl", "-mavx512dq", "-mavx512bw", "-mfma", "-mprefer-vector-width=512"],
    ),
}


class NativeEngine(BuildHookInterface):
    """Compiles ``cpp/`` with the compiler found; without a working one the package stays pure Python."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile and hand the library to the wheel, or beside the sources for an editable install."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        self.scratch = tempfile.TemporaryDirectory(prefix="denram-build-")
        place = root / "src" / "denram" if version == "editable" else Path(self.scratch.name)
        compiler = find_compiler()
        if compiler is None:
            self.app.display_warning(
                "denram: no C++ compiler ($CXX, g++, clang++); the `events` engine is left out."
            )
            return
        try:
            library = compile_library(compiler, root / "cpp", place / LIBRARY)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", "") or error
            self.app.display_warning(
                f"denram: {compiler[0]} failed; the `events` engine is left out.\n{detail}"
            )
            return
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
        if version != "editable":  # an editable install finds the library beside the sources
            build_data["force_include"][str(library)] = f"denram/{LIBRARY}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 hatchling's
        """Remove what was compiled outside the source tree."""
        if scratch := getattr(self, "scratch", None):
            scratch.cleanup()


def find_compiler() -> list[str] | None:
    """Command of the compiler to use: ``$CXX`` (with its options), else g++, else clang++."""
    if sys.platform == "win32":
        return None
    candidates = [shlex.split(os.environ["CXX"])] if os.environ.get("CXX") else [["g++"], ["clang++"]]
    return next((command for command in candidates if command and shutil.which(command[0])), None)


def compile_library(compiler: list[str], sources: Path, library: Path) -> Path:
    """Compile all sources, the kernels once per instruction set, link, and replace the library at once."""
    x86 = run([*compiler, "-dumpmachine"]).startswith(("x86_64", "amd64"))
    with tempfile.TemporaryDirectory(prefix="denram-objects-") as folder:
        exact = ["-ffp-contract=off", *(["-DDENRAM_DISPATCH"] if x86 else [])]
        jobs = [(name, exact) for name in ("engine", "passes", "forward", "backward", "membrane")]
        jobs += [("plan", []), ("kernels", ["-ffp-contract=fast"])]
        objects = [
            build_object(compiler, sources / f"{name}.cpp", Path(folder) / f"{name}.o", more)
            for name, more in jobs
        ]
        for variant, (lanes, flags) in VARIANTS.items() if x86 else ():
            more = ["-ffp-contract=fast", *flags, f"-DDENRAM_VARIANT={variant}", f"-DDENRAM_LANES={lanes}"]
            target = Path(folder) / f"kernels_{variant}.o"
            objects.append(build_object(compiler, sources / "kernels.cpp", target, more))
        fresh = library.with_suffix(f".{os.getpid()}.tmp")
        run([*compiler, "-shared", "-pthread", "-o", str(fresh), *map(str, objects)])
        fresh.replace(library)
    return library


def build_object(compiler: list[str], source: Path, target: Path, more: list[str]) -> Path:
    """Compile one file."""
    run([*compiler, *FLAGS, *more, "-c", str(source), "-o", str(target)])
    return target


def run(command: list[str]) -> str:
    """Run the compiler, pass its warnings on and return what it prints."""
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 the builder's own compiler
    sys.stderr.write(done.stderr)
    return done.stdout
