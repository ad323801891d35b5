#!/usr/bin/env bash
# Statement and branch coverage of the C rooms (gcov) and of the package (coverage.py), as two tables.

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

command -v gcovr >/dev/null || install_system_packages "make coverage" gcovr

python=.venv/bin/python
tree=build/coverage/python
find build -name '*.gcda' -delete

printf 'C tests\n'
# Not optimised, 64 MiB take most of a minute and reach no line that 1 MiB does not.
MLPROV_TEST_LARGEST=$((1 << 20)) make --no-print-directory -f scripts/native.mk -j2 VARIANT=coverage run

printf 'Python tests\n'
CC=gcc CXX=g++ MLPROV_BUILD_VARIANT=coverage MLPROV_WITH_TORCH=1 $python setup.py -q build --build-lib "$tree"
status=0
MLPROV_BUILD_VARIANT=coverage PYTHONSAFEPATH=1 PYTHONPATH="$PWD/$tree" COVERAGE_FILE="$PWD/build/coverage/data" \
    .venv/bin/pytest -q -p no:cacheprovider -m "not timing" \
    --cov="$tree/mlprov" --cov-branch --cov-report=term "$@" tests/python || status=$?

printf '\nC: statements\n'
gcovr --root . --filter csrc/ build/c/coverage build/objects/coverage
printf '\nC: branches\n'
gcovr --root . --filter csrc/ --branches --exclude-throw-branches build/c/coverage build/objects/coverage
exit $status
