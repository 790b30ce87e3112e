#!/bin/sh
# Build the engine with the address and undefined-behaviour sanitizers, then with the thread sanitizer, and run it on
# random liquids.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
program=$(mktemp)
trap 'rm -f "$program"' EXIT
for kind in address,undefined thread; do
    echo "== $kind"
    ${CXX:-g++} -std=c++20 -O1 -g -ffp-contract=off -fno-omit-frame-pointer -D_GLIBCXX_ASSERTIONS -DNALSM_SINGLE_TARGET \
        -fsanitize="$kind" -fno-sanitize-recover=all -pthread \
        "$here/sanitize.cpp" "$here/../liquid.cpp" "$here/../loops.cpp" "$here/../update_run.cpp" -o "$program"
    "$program"
done
