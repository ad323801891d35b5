#!/usr/bin/env bash
# Runs every libFuzzer target of tests/fuzz under ASan and UBSan, one after another. What a target
# learned stays in build/fuzz/NAME, where its next run begins; the case that fails is kept beside it.
#
#   FUZZ_SECONDS  how long each runs (60)

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh
. scripts/find_tool.sh

find_tool clang >/dev/null || install_system_packages "make fuzz" clang
clang=$(find_tool clang)
mkdir -p build/fuzz
printf 'int LLVMFuzzerTestOneInput(const char *data, unsigned long size) { return data == 0 && size; }\n' \
    >build/fuzz/probe.c
if ! "$clang" -fsanitize=fuzzer,address,undefined build/fuzz/probe.c -o build/fuzz/probe 2>/dev/null; then
    install_system_packages "make fuzz" "libclang-rt-$("$clang" -dumpversion | cut -d. -f1)-dev"
fi

make --no-print-directory -f scripts/native.mk -j2 VARIANT=fuzz CLANG="$clang" fuzzers
printf 'Fuzzing under ASan and UBSan (%s)\n' "$("$clang" --version | head -n 1)"
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    log=build/fuzz/$name.log
    mkdir -p "build/fuzz/$name"
    if ! "build/c/fuzz/$name" -max_total_time="${FUZZ_SECONDS:-60}" -print_final_stats=1 \
        -artifact_prefix="build/fuzz/$name." "build/fuzz/$name" >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        printf 'fuzz: %s failed; the whole output is %s\n' "$name" "$log" >&2
        exit 1
    fi
    printf '  %-32s ok %9s cases in %s s\n' "$name" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "${FUZZ_SECONDS:-60}"
done
