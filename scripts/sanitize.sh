#!/usr/bin/env bash
# The C tests and the Python tests against a core built with AddressSanitizer and UBSan (gcc's).
# Leaks are looked for in the C tests; CPython itself leaks by design, so not in the Python tests.
# Arguments go to pytest.

set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
tree=$PWD/build/sanitize/python
reports=$PWD/build/sanitize/reports

printf 'C tests under ASan, LSan and UBSan\n'
ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1 UBSAN_OPTIONS=print_stacktrace=1 \
    make --no-print-directory -f scripts/native.mk -j2 VARIANT=sanitize CC=gcc run

printf 'Python tests under ASan and UBSan\n'
CC=gcc CXX=g++ MLPROV_BUILD_VARIANT=sanitize $python setup.py -q build --build-lib "$tree"

# pytest catches what a dying process writes, and a test may start processes of its own: reports go to
# files, and a report is a failure whatever pytest made of it. libstdc++ stands beside libasan because
# the interceptor of C++ exceptions looks for it when the process starts. PYTHONSAFEPATH keeps the
# working directory, which holds the release build, off the path of processes that tests start.
rm -rf "$reports"
mkdir -p "$reports"
run=(env MLPROV_BUILD_VARIANT=sanitize "PYTHONPATH=$tree" PYTHONSAFEPATH=1 PYTHONMALLOC=malloc
    "LD_PRELOAD=$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libstdc++.so)"
    "ASAN_OPTIONS=detect_leaks=0:strict_string_checks=1:allocator_may_return_null=1:log_path=$reports/asan"
    "UBSAN_OPTIONS=print_stacktrace=1:log_path=$reports/ubsan")

"${run[@]}" $python -P -c "
import mlprov._core, sys
sys.exit(0 if mlprov._core.__file__.startswith('$tree/') else
         'sanitize: the instrumented core is not the one imported: ' + mlprov._core.__file__)"
# ASan before LLVM 18's (gcc 12 has an older one) does not take its allocator's locks over a fork
# (llvm-project pull request 75290): a child forked beside busy threads may hang in malloc.
# Left out is what is Python alone: the second verifier, the interpreter of AVX-512, set-up.
status=0
"${run[@]}" .venv/bin/pytest -q -p no:cacheprovider --ignore-glob='*test_second_verifier*' \
    --ignore-glob='*test_avx512*' --ignore-glob='*test_setup_scripts*' -m "not timing and not frameworks and not forks_beside_threads" "$@" tests/python || status=$?

if [ -n "$(ls "$reports")" ]; then
    cat "$reports"/* >&2
    printf 'sanitize: %d reports in %s\n' "$(ls "$reports" | wc -l)" "$reports" >&2
    exit 1
fi
exit $status
