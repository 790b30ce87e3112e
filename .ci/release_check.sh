#!/usr/bin/env bash
# What a release needs, as far as it can be checked without one: the workflows are valid YAML, cibuildwheel finds every
# promised wheel, the citation file is valid, and wheels that were built (their folder is the argument) pass auditwheel.
set -euo pipefail
cd "$(dirname "$0")/.."
tools="$(mktemp -d)"
trap 'rm -rf "$tools"' EXIT
"${PYTHON:-python3}" -m venv "$tools"
"$tools/bin/pip" install -qq auditwheel cffconvert cibuildwheel yamllint
PATH="$tools/bin:$PATH"

yamllint --strict .github .pre-commit-config.yaml CITATION.cff
cffconvert --validate -i CITATION.cff >/dev/null

for package in sbs dalton nalsm denram; do
  build='cp311-* cp312-* cp313-*'
  [ "$package" = denram ] && build='cp311-*' # one wheel serves every Python
  for place in 'linux x86_64' 'linux aarch64' 'macos arm64'; do
    read -r system machine <<<"$place"
    found="$(CIBW_BUILD="$build" CIBW_SKIP='*-musllinux_*' cibuildwheel --platform "$system" --archs "$machine" \
      --print-build-identifiers "packages/$package" | wc -l)"
    wanted="$(wc -w <<<"$build")"
    [ "$found" = "$wanted" ] || { echo "$package on $place: $found wheels instead of $wanted"; exit 1; }
  done
done

shopt -s nullglob
for wheel in "${1:-none}"/*linux*.whl; do auditwheel show "$wheel" >/dev/null || { echo "auditwheel refuses ${wheel##*/}"; exit 1; }; done
echo "release files checked"
