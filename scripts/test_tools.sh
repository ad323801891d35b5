#!/usr/bin/env bash
# Installs what the tests compare with or look through: b3sum (a second BLAKE3), strace, and SIMDe, the
# headers that run the AVX-512 kernel on a processor without AVX-512. Where they cannot be installed the
# tests that need them are skipped and say so; CI=true insists. With names, only those are looked for.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

missing=()
for tool in ${*:-b3sum strace}; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ $# -gt 0 ] || printf '#include <simde/x86/avx512/ror.h>\n' | "${CC:-cc}" -E -x c - >/dev/null 2>&1 || missing+=(libsimde-dev)
if [ ${#missing[@]} -gt 0 ] && ! install_system_packages "some tests" "${missing[@]}"; then
    [ "${CI:-}" != true ] || exit 1
    printf 'mlprov: going on without %s: the tests that need them are skipped\n' "${missing[*]}"
fi
