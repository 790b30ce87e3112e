#!/usr/bin/env bash
# Other generations of JAX: denram, built as always with the headers of the oldest supported jaxlib, with the oldest
# JAX and with those named, and what touches XLA tested with each. A version that pip cannot get is skipped, saying so.
# usage: .ci/oldest_jax.sh [0.5.0 0.6.2 ...]
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 0.5.0
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export REPROKIT_OFFLINE=1 MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 JAX_PLATFORMS=cpu
tests=(suite/test_{engines,boundary,model,layer_spikes,layer_scores}.py)
failed=0
for version in "$@"; do
  venv="$work/$version"
  "${PYTHON:-python3}" -m venv "$venv"
  if ! "$venv/bin/pip" install -qq "jax==$version" "jaxlib==$version" 2>"$work/log"; then
    echo "skipped: pip finds no jax $version for this Python ($(tail -1 "$work/log"))"
    continue
  fi
  REPROKIT_SOURCE='' "$venv/bin/pip" install -qq ./shared ./packages/denram "jax==$version" "jaxlib==$version" \
    beartype hypothesis pytest scikit-learn
  rm -rf "$work/tests" && mkdir "$work/tests"
  cp pyproject.toml conftest.py "$work/tests"
  cp -r packages/denram/tests/. "$work/tests/suite"
  echo "== jax $("$venv/bin/python" -c "import jax; print(jax.__version__)")"
  "$venv/bin/python" -c "from denram.engines import operations; assert operations.registered(), 'XLA refuses the library'"
  (cd "$work/tests" && "$venv/bin/python" -m pytest -q -p no:cacheprovider --rootdir . "${tests[@]}") || failed=1
done
exit "$failed"
