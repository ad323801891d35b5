#!/usr/bin/env bash
# Runs C test programs: one line each, the whole output of one that fails. 0 passes, 77 skips.
#
#   MLPROV_C_TEST_SECONDS  the limit for one program (120)
#   MLPROV_C_TEST_RUNNER   what runs them, an emulator; by default the processor itself

set -uo pipefail

failed=0 skipped=0
for program in "$@"; do
    begin=$(date +%s%N 2>/dev/null)
    output=$(timeout "${MLPROV_C_TEST_SECONDS:-120}" ${MLPROV_C_TEST_RUNNER:-} "$program" 2>&1 </dev/null)
    status=$?
    took=$((($(date +%s%N) - begin) / 1000000))
    name=${program##*/}
    case $status in
    0) printf '  %-32s ok %8d ms\n' "$name" "$took" ;;
    77)
        skipped=$((skipped + 1))
        printf '  %-32s skipped: %s\n' "$name" "${output##*$'\n'}"
        ;;
    *)
        failed=$((failed + 1))
        printf '  %-32s FAILED with status %d\n%s\n' "$name" "$status" "$output"
        ;;
    esac
done
if [ $# = 0 ]; then
    printf 'C tests: there are none\n' >&2
    exit 1
fi
printf 'C tests: %d programs, %d failed, %d skipped\n' "$#" "$failed" "$skipped"
[ "$failed" = 0 ]
