#!/usr/bin/env bash
# Installs what the tests compare with or look through: b3sum (a second BLAKE3) and strace. Where they
# cannot be installed the tests that need them are skipped and say so; CI=true insists. With names, only
# those are looked for.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

missing=()
for tool in ${*:-b3sum strace}; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ] && ! install_system_packages "some tests" "${missing[@]}"; then
    [ "${CI:-}" != true ] || exit 1
    printf 'mlprov: going on without %s: the tests that need them are skipped\n' "${missing[*]}"
fi
