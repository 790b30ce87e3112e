#!/usr/bin/env bash
# Compiles the four C++ cores for 64-bit ARM and runs their tests in an emulator: NEON code, other denormal numbers,
# another character type. Needs Debian's g++-aarch64-linux-gnu and qemu-user, which it installs where it may. CORES
# chooses: CORES="sbs dalton" .ci/cross.sh
set -euo pipefail
cd "$(dirname "$0")/.."
cores=${CORES:-sbs dalton nalsm denram}
compiler=aarch64-linux-gnu-g++ emulator=qemu-aarch64
if ! { command -v "$compiler" && command -v "$emulator"; } >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        (apt-get update -qq && apt-get install -y -qq g++-aarch64-linux-gnu qemu-user) >/dev/null 2>&1 || true
    fi
fi
cmake=${CMAKE:-$(command -v cmake || echo .venv/bin/cmake)}
for program in "$compiler" "$emulator" "$cmake"; do
    if ! command -v "$program" >/dev/null; then
        echo "$program is missing, so the cores were not tried on ARM: apt-get install g++-aarch64-linux-gnu qemu-user cmake"
        exit 0
    fi
done
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
for core in $cores; do
    "$cmake" -S "packages/$core" -B "$build/$core" -DCORE_TESTS=ON -DCORE_DEVELOPER=ON -DCMAKE_SYSTEM_NAME=Linux \
        -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER="$compiler" >/dev/null
    "$cmake" --build "$build/$core" --parallel 2 >/dev/null
    echo "== $core on ARM"
    "$emulator" -L /usr/aarch64-linux-gnu "$build/$core/core_test"
done
