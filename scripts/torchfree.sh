#!/usr/bin/env bash
# mlprov in an environment that has no torch: _core alone is built, and all that needs no torch works.
#
# The environment is kept under build/ and made anew when the requirements change.

set -euo pipefail
cd "$(dirname "$0")/.."

environment=build/venv-torchfree
key=$(cat requirements/torchfree.txt requirements/dev.txt | cksum)
log=build/torchfree.log

pip_install() {
    "$environment/bin/python" -m pip --disable-pip-version-check install "$@" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        printf 'torchfree: pip failed; the full log is %s\n' "$log" >&2
        exit 1
    }
}

mkdir -p build
: >"$log"

if [ ! -f "$environment/stamp" ] || [ "$(cat "$environment/stamp")" != "$key" ]; then
    .venv/bin/python -m venv --clear "$environment"
    pip_install -r requirements/torchfree.txt -c requirements/dev.txt
    printf '%s\n' "$key" >"$environment/stamp"
fi

pip_install --no-build-isolation --no-deps --force-reinstall .
if "$environment/bin/python" -c 'import torch' 2>/dev/null; then
    printf 'torchfree: torch is in the environment that must not have it\n' >&2
    exit 1
fi
if "$environment/bin/python" -P -c 'import mlprov._torch' 2>/dev/null; then
    printf 'torchfree: mlprov._torch was built without torch\n' >&2
    exit 1
fi
printf 'Without torch (%s)\n' "$environment"
"$environment/bin/python" -P scripts/smoke.py
# Off the path with the working directory: it holds this tree's mlprov, and tests start processes.
# Left out is what torch has no part in, and takes long: the second verifier, nodes of chains, kills.
without=()
for tests in second_verifier ethereum anchor contracts founding brackets http kills offline silent_resolver demo crashes; do
    without+=("--ignore-glob=*test_*$tests*.py")
done
PYTHONSAFEPATH=1 "$environment/bin/pytest" -q -p no:cacheprovider "${without[@]}" "$@" tests/python
