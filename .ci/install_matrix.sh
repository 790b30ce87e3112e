#!/usr/bin/env bash
# Install packages in every supported way, each in a fresh environment, and run the README's first example there,
# outside the source tree and with nothing else installed. Ends with a table.
# usage: [ROWS="wheel no-compiler"] .ci/install_matrix.sh [pip version | latest] [package ...]
# rows: clone editable git two-at-once wheel sdist uv no-compiler upgrade, and build: sdist and wheel are made and checked
set -euo pipefail
cd "$(dirname "$0")/.."
root="$(pwd)"
pip_version="${1:-latest}"
shift || true
packages=("$@")
[ "${#packages[@]}" -gt 0 ] || mapfile -t packages < <(ls packages)
read -ra rows <<<"${ROWS:-clone editable git two-at-once wheel sdist uv no-compiler upgrade}"
python="${PYTHON:-python3}"
old_commit=1ca07eb # the last one of version 0.1
work="$(mktemp -d)"
dist="${DIST:-$work/dist}" # what is built is kept in DIST, if that is given
trap 'rm -rf "$work"' EXIT
export REPROKIT_OFFLINE=1 REPROKIT_DATA="$work/data" MPLBACKEND=Agg PIP_DISABLE_PIP_VERSION_CHECK=1
unset REPROKIT_SOURCE
venv="$work/venv"
table=""

fresh() { # a new environment with the wanted pip
  rm -rf "$venv"
  "$python" -m venv "$venv"
  if [ "$pip_version" = latest ]; then wanted=pip; else wanted="pip==$pip_version"; fi
  "$venv/bin/pip" install -qq --upgrade "$wanted"
}

pip_install() { "$venv/bin/pip" install -qq -c "$root/constraints.txt" "$@"; }

use() { # package: its help, its library and the README's first example, in an empty folder
  local package="$1" folder="$work/use"
  rm -rf "$folder" && mkdir "$folder"
  "$python" "$root/.ci/first_block.py" "$root/packages/$package/README.md" >"$folder/example.py"
  (cd "$folder" && "$venv/bin/$package" --help >/dev/null && "$venv/bin/reprokit" data list >/dev/null &&
    "$venv/bin/python" example.py >printed 2>warnings) || { cat "$folder"/{printed,warnings}; return 1; }
}

alone() { # package: nothing came along that it does not need
  if [ "$1" = denram ]; then other=torch; else other=jax; fi
  "$venv/bin/python" -c "import importlib.util as u; assert u.find_spec('$other') is None, '$other came along'"
}

builder() { # an environment that builds wheels
  [ -x "$work/builder/bin/python" ] && return
  "$python" -m venv "$work/builder"
  "$work/builder/bin/pip" install -qq build twine uv
}

dist() { # package: its sdist, the wheel built from it, and the same for the shared package
  builder
  mkdir -p "$dist"
  local folder
  for folder in shared "packages/$1"; do
    compgen -G "$dist/brainrules_$(sed 's/shared/reprokit/' <<<"${folder##*/}")-*.whl" >/dev/null ||
      "$work/builder/bin/python" -m build "$folder" --outdir "$dist" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
  done
  "$work/builder/bin/twine" check --strict "$dist"/* >"$work/log" || { cat "$work/log"; return 1; }
  "$python" .ci/check_dist.py "$dist"/*
}

core_of() { # package: the file its compiled core lies in, empty without one
  find "$venv"/lib/python*/site-packages/"$1" -maxdepth 1 -name '*.so'
}

row_clone() {
  pip_install "packages/$1"
  use "$1"
  alone "$1"
}

row_editable() {
  pip_install -e "packages/$1"
  use "$1"
  alone "$1"
}

row_git() { # an https address, answered by this clone; freeze must name the commit, not a folder that is gone
  local address=https://git.invalid/brainrules commit
  commit="$(git rev-parse HEAD)"
  GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$root.insteadOf" GIT_CONFIG_VALUE_0=$address \
    pip_install "git+$address@$commit#subdirectory=packages/$1"
  "$venv/bin/pip" freeze | grep -qxF "brainrules-reprokit @ git+$address@$commit#subdirectory=shared"
  use "$1"
}

row_two-at-once() {
  [ "$1" = "${packages[0]}" ] && [ "${#packages[@]}" -gt 1 ] || return 77
  pip_install "packages/${packages[0]}" "packages/${packages[1]}"
  use "${packages[0]}"
  use "${packages[1]}"
}

row_build() { dist "$1"; }

row_wheel() {
  dist "$1"
  pip_install --find-links "$dist" "$dist"/brainrules_"$1"-*.whl
  "$venv/bin/pip" check >/dev/null
  use "$1"
  alone "$1"
}

row_sdist() {
  dist "$1"
  pip_install --find-links "$dist" --no-binary brainrules-reprokit "$dist"/brainrules_"$1"-*.tar.gz
  "$venv/bin/pip" check >/dev/null
  use "$1"
}

row_uv() {
  builder
  local links
  links="$("$venv/bin/pip" config get global.find-links 2>/dev/null || true)"
  UV_FIND_LINKS="${UV_FIND_LINKS:-$links}" "$work/builder/bin/uv" pip install --quiet --python "$venv/bin/python" \
    -c constraints.txt "packages/$1"
  use "$1"
}

row_no-compiler() { # the slower engine runs and says so, once
  [ "$1" != bdfa ] || return 77
  CXX=/bin/false pip_install --no-cache-dir "packages/$1"
  [ -z "$(core_of "$1")" ]
  use "$1"
  [ "$(grep -c 'Warning:' "$work/use/warnings")" = 1 ] || { cat "$work/use/warnings"; return 1; }
  grep -q 'slow' "$work/use/warnings"
}

row_upgrade() { # version 0.1, whose distributions bore the import names, then this one, then the remedy it names
  git cat-file -e "$old_commit^{commit}" 2>/dev/null || return 77 # a shallow clone
  rm -rf "$work/old" && mkdir "$work/old"
  git archive "$old_commit" | tar -x -C "$work/old"
  pip_install "$work/old/packages/$1"
  pip_install "packages/$1"
  told="$("$venv/bin/$1" --version 2>&1)" || true
  [[ $told == *"pip uninstall"* ]] || { echo "$1 --version names no remedy: $told"; return 1; }
  "$venv/bin/pip" uninstall -qq --yes "$1" reprokit
  pip_install "packages/$1"
  told="$("$venv/bin/$1" --version 2>&1)" || true
  [[ $told != *"pip uninstall"* ]] || { echo "$1 --version still names a remedy: $told"; return 1; }
  use "$1"
}

failed=0
for package in "${packages[@]}"; do
  for row in "${rows[@]}"; do
    start=$SECONDS
    fresh
    set +e # inside `if` or `||` bash would not stop at a row's first failure
    (set -e; "row_$row" "$package")
    status=$?
    set -e
    case $status in
      0) word=ok ;;
      77) continue ;;
      *) word=FAIL failed=1 ;;
    esac
    line="$(printf '%-4s %-8s %-12s %4d s' "$word" "$package" "$row" "$((SECONDS - start))")"
    echo "$line"
    table+="$line"$'\n'
  done
done
printf '\n%s' "$table"
exit "$failed"
