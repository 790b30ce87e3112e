#!/usr/bin/env bash
# Everything that needs a GPU, in at most five minutes, on a machine without an index; results in $OUT (runs/gpu).
#   benchmarks/gpu.sh carry          collect wheels and MNIST in benchmarks/carried, once, with the internet
#   benchmarks/gpu.sh                build, run the tests marked gpu, time a slice of each target
#   benchmarks/gpu.sh claims NAME    run a claim of gpu.toml at the paper's scale in the time that is left
#   benchmarks/gpu.sh --dry          the same steps on the CPU with tiny slices: proves the flow, times mean nothing
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec "${PYTHON:-python3}" benchmarks/gpu.py "$@"
