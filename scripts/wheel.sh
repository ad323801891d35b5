#!/usr/bin/env bash
# Builds the source distribution, and from it, not from this tree, the two kinds of wheel; then installs
# each in an environment of its own and tries what a user tries first.

set -euo pipefail
cd "$(dirname "$0")/.."

logged() {
    "$@" >>build/wheel.log 2>&1 || {
        tail -n 30 build/wheel.log >&2
        printf 'wheel: %s failed; the full log is build/wheel.log\n' "$*" >&2
        exit 1
    }
}

build() {
    logged .venv/bin/python -m build --no-isolation --outdir dist "$@"
}

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' mlprov/_version.py)
rm -rf dist build/wheel
mkdir -p build/wheel
: >build/wheel.log

build --sdist .
tar -xzf "dist/mlprov-$version.tar.gz" -C build/wheel
source=build/wheel/mlprov-$version
MLPROV_WITH_TORCH=0 build --wheel "$source"
MLPROV_WITH_TORCH=1 build --wheel "$source"
ls -l dist | awk 'NR > 1 { printf "  %-58s %8d bytes\n", $NF, $5 }'

core=$(echo dist/mlprov-"$version"-cp311-abi3-*.whl)
bridge=$(echo dist/mlprov-"$version"-cp3*-cp3*-*.whl)
for file in "$core" "$bridge"; do
    [ -f "$file" ] || {
        printf 'wheel: no wheel with that tag was built: %s\n' "$file" >&2
        exit 1
    }
done

printf 'Without torch, the wheel\n'
environment=build/wheel/venv
.venv/bin/python -m venv "$environment"
pip=(logged "$environment/bin/python" -m pip --disable-pip-version-check)
"${pip[@]}" install "$core" -c requirements/dev.txt
"$environment/bin/python" -P scripts/smoke.py

printf 'Without torch, the source distribution\n'
"${pip[@]}" install setuptools -c requirements/dev.txt
"${pip[@]}" uninstall -y mlprov
"${pip[@]}" install --no-build-isolation "dist/mlprov-$version.tar.gz"
"$environment/bin/python" -P scripts/smoke.py

# torch itself is borrowed from .venv: the wheel's own folder comes first.
printf 'With torch, the wheel\n'
logged .venv/bin/python -m pip --disable-pip-version-check install --no-deps --target build/wheel/bridge "$bridge"
PYTHONPATH="$PWD/build/wheel/bridge" .venv/bin/python -P scripts/smoke.py --torch
