#!/bin/sh
# Builds the core with AddressSanitizer + UndefinedBehaviorSanitizer, then with ThreadSanitizer, and runs its test. The
# module itself is called with wrong arrays under the first two: PYTHON needs pybind11, pytest and NumPy.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
cmake=${CMAKE:-cmake}
python=${PYTHON:-python3}
for kind in address,undefined thread; do
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    "$cmake" -S "$here" -B "$build" -DCORE_DEVELOPER=ON -DCORE_SANITIZE="$kind" -DCMAKE_BUILD_TYPE=RelWithDebInfo --no-warn-unused-cli \
        -DPython_EXECUTABLE="$(command -v "$python")" -Dpybind11_DIR="$("$python" -m pybind11 --cmakedir)" >/dev/null
    "$cmake" --build "$build" --parallel >/dev/null
    echo "== $kind"
    "$build/core_test"
    if [ "$kind" != thread ]; then
        LD_PRELOAD="$(${CXX:-c++} -print-file-name=libasan.so) $(${CXX:-c++} -print-file-name=libstdc++.so)" \
            ASAN_OPTIONS=detect_leaks=0 PYTHONPATH="$build" DALTON_KERNEL=_kernel \
            "$python" -m pytest -q -s -p no:cacheprovider "$here/tests/test_compiled_core.py"
    fi
    rm -rf "$build"
done
