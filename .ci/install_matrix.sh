#!/usr/bin/env bash
# Install one package in every supported way, each in a fresh virtual environment, and use it once.
# usage: .ci/install_matrix.sh [pip version | latest] [package ...]
set -euo pipefail
cd "$(dirname "$0")/.."
pip_version="${1:-latest}"
shift || true
packages=("$@")
[ "${#packages[@]}" -gt 0 ] || mapfile -t packages < <(ls packages)
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
root="$(pwd)"

fresh() { # a new environment with the wanted pip
  rm -rf "$work/venv"
  python3 -m venv "$work/venv"
  if [ "$pip_version" = latest ]; then wanted=pip; else wanted="pip==$pip_version"; fi
  "$work/venv/bin/pip" install --quiet --upgrade "$wanted"
}

try() { # label, package to use afterwards, then the arguments of pip install
  local label="$1" package="$2" start=$SECONDS
  shift 2
  fresh
  "$work/venv/bin/pip" install --quiet -c "$root/constraints.txt" "$@"
  (cd "$work" && "$work/venv/bin/$package" --help >/dev/null && "$work/venv/bin/python" -c "import $package, reprokit")
  if [ "$package" = denram ] && [ "$label" != "two at once" ]; then
    "$work/venv/bin/python" -c "import importlib.util as u; assert u.find_spec('torch') is None, 'torch came along'"
  fi
  printf 'ok  %-10s %-22s %4d s\n' "$package" "$label" "$((SECONDS - start))"
}

for package in "${packages[@]}"; do
  try "install" "$package" "packages/$package"
  try "editable" "$package" -e "packages/$package"
  try "git subdirectory" "$package" "git+file://$root#subdirectory=packages/$package"
done
if [ "${#packages[@]}" -gt 1 ]; then
  try "two at once" "${packages[0]}" "packages/${packages[0]}" "packages/${packages[1]}"
fi
