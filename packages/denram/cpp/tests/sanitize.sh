#!/bin/sh
# Builds the core with AddressSanitizer + UndefinedBehaviorSanitizer, then with ThreadSanitizer, and runs its test.
set -eu
here=$(CDPATH= cd -- "$(dirname -- "$0")/../.." && pwd)
cmake=${CMAKE:-cmake}
for kind in address,undefined thread; do
    build=$(mktemp -d)
    trap 'rm -rf "$build"' EXIT
    "$cmake" -S "$here" -B "$build" -DCORE_DEVELOPER=ON -DCORE_SANITIZE="$kind" -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null
    "$cmake" --build "$build" --parallel >/dev/null
    echo "== $kind"
    "$build/core_test"
    rm -rf "$build"
done
