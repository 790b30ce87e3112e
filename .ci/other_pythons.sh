#!/usr/bin/env bash
# The newer Pythons: reprokit and denram with their whole suites; of the packages on PyTorch, which has no small build
# for every Python everywhere, the wheel: its compiled core is imported without PyTorch, --help and --version answer.
# usage: [PARTS="suites without_torch"] .ci/other_pythons.sh [3.12 3.13 ...]
# A Python that is not there is skipped, saying so.
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 3.12 3.13
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export REPROKIT_OFFLINE=1 MPLBACKEND=Agg PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

interpreter() { # version: a Python of that version that starts
  local candidate
  for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$1"*/bin/python; do
    if "$candidate" -c "import sys; assert '%d.%d' % sys.version_info[:2] == '$1'" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

suites() { # python: reprokit and denram, editable, with all extras, and their tests
  local venv="$work/suites" failures=0
  rm -rf "$venv"
  "$1" -m venv "$venv"
  REPROKIT_SOURCE='' "$venv/bin/pip" install -qq -c constraints.txt -e 'shared[all]' -e 'packages/denram[all]' \
    beartype hypothesis pytest pytest-httpserver scikit-learn
  for folder in shared packages/denram; do
    echo "== $("$venv/bin/python" -V), $folder"
    "$venv/bin/python" -m pytest -q -m 'not network and not gpu' "$folder/tests" || failures=1
  done
  return $failures
}

without_torch() { # python, package: built, installed alone, and asked what it can do
  local venv="$work/bare" start=$SECONDS
  rm -rf "$venv" "$work/wheels"
  "$1" -m venv "$venv"
  "$venv/bin/pip" wheel -qq --no-deps -w "$work/wheels" ./shared "packages/$2"
  "$venv/bin/pip" install -qq "$work"/wheels/brainrules_reprokit-*.whl
  "$venv/bin/pip" install -qq --no-deps "$work/wheels/brainrules_$2"-*.whl
  (
    cd "$work"
    if [ "$2" != bdfa ]; then "$venv/bin/python" -c "import $2._kernel"; fi
    "$venv/bin/$2" --help >/dev/null
    "$venv/bin/$2" --version
    "$venv/bin/python" -c "import importlib.util as u; assert u.find_spec('torch') is None"
  )
  printf 'ok  %s %-8s wheel without PyTorch %4d s\n' "$("$venv/bin/python" -V)" "$2" "$((SECONDS - start))"
}

failed=0
attempt() {
  set +e # inside `if` or `||` bash would not stop at the first failure
  (set -e; "$@")
  [ $? = 0 ] || { echo "FAIL $*"; failed=1; }
  set -e
}

for version in "$@"; do
  python="$(interpreter "$version")"
  if [ -z "$python" ]; then
    echo "skipped: no Python $version here (pyenv install $version)"
    continue
  fi
  for part in ${PARTS:-suites without_torch}; do
    if [ "$part" = suites ]; then attempt suites "$python"; continue; fi
    for package in sbs dalton nalsm bdfa; do attempt without_torch "$python" "$package"; done
  done
done
exit "$failed"
