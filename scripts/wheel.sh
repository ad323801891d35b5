#!/usr/bin/env bash
# Builds the source distribution, and from it, not from this tree, the two kinds of wheel; then installs
# each in an environment of its own and tries what a user tries first. The wheel without torch serves
# every Python from 3.11 on: it is tried with each newer one on the PATH or among pyenv's.

set -euo pipefail
cd "$(dirname "$0")/.."

logged() {
    "$@" >>build/wheel.log 2>&1 || {
        tail -n 30 build/wheel.log >&2
        printf 'wheel: %s failed; the full log is build/wheel.log\n' "$*" >&2
        exit 1
    }
}

# usage: build PYTHON OPTION... FOLDER
build() {
    logged "$1" -m build --no-isolation --outdir dist "${@:2}"
}

version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' mlprov/_version.py)
rm -rf dist build/wheel
mkdir -p build/wheel
: >build/wheel.log

# An environment that has torch: this one sees all of .venv but mlprov, through links and a .pth file.
with_torch=build/wheel/venv-torch
beside=$PWD/build/wheel/beside
.venv/bin/python -m venv "$with_torch"
pip_beside_torch=(logged "$with_torch/bin/python" -m pip --disable-pip-version-check)
packages=$("$with_torch/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$beside"
for entry in "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"/*; do
    case ${entry##*/} in
    mlprov* | __editable__* | __pycache__ | *.pth | pip | pip-*) ;;
    *) ln -s "$entry" "$beside/" ;;
    esac
done
printf '%s\n' "$beside" >"$packages/beside.pth"

# As README has it; a new environment of Python 3.11 brings a setuptools that is too old.
"${pip_beside_torch[@]}" install 'setuptools>=77' -c requirements/dev.txt

build .venv/bin/python --sdist .
tar -xzf "dist/mlprov-$version.tar.gz" -C build/wheel
source=build/wheel/mlprov-$version
MLPROV_WITH_TORCH=0 build .venv/bin/python --wheel "$source"
MLPROV_WITH_TORCH=1 build "$with_torch/bin/python" --wheel "$source"
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

shopt -s nullglob
for python in python3.12 python3.13 python3.14 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9].*/bin/python3; do
    other=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $other in 3.1[2-9]) ;; *) continue ;; esac
    [ ! -d "build/wheel/venv-$other" ] || continue
    printf 'Without torch, the wheel, Python %s\n' "$other"
    logged "$python" -m venv --without-pip "build/wheel/venv-$other"
    logged .venv/bin/python -m pip --disable-pip-version-check --python "build/wheel/venv-$other" \
        install "$core" -c requirements/dev.txt
    "build/wheel/venv-$other/bin/python" -P scripts/smoke.py
done

# usage: describe FILE; writes down torch's version and files and all that is installed but mlprov
describe() {
    {
        "$with_torch/bin/python" -P -c 'import torch; print(torch.__version__, torch.__file__)'
        "$with_torch/bin/python" -m pip --disable-pip-version-check list --format=freeze | grep -v '^mlprov=='
        find -L "$beside"/torch* -type f -not -name '*.pyc' -printf '%p %s %T@\n' | sort
        find "$packages" -maxdepth 1 -name 'torch*'
    } >"$1"
    [ "$(wc -l <"$1")" -gt 1000 ] || {
        printf 'wheel: %s does not describe a torch\n' "$1" >&2
        exit 1
    }
}

# usage: torch_is_untouched
torch_is_untouched() {
    describe build/wheel/after
    diff build/wheel/before build/wheel/after >&2 || {
        printf 'wheel: installing mlprov changed torch or another package\n' >&2
        exit 1
    }
}

describe build/wheel/before
printf 'With torch, the wheel\n'
"${pip_beside_torch[@]}" install "$bridge"
"$with_torch/bin/python" -P scripts/smoke.py --torch
torch_is_untouched

printf 'With torch, pip install --no-build-isolation .\n'
"${pip_beside_torch[@]}" uninstall -y mlprov
"${pip_beside_torch[@]}" install --no-build-isolation "$PWD/$source"
"$with_torch/bin/python" -P scripts/smoke.py --torch
torch_is_untouched
printf '  ok: %s before and after, file by file\n' "torch $(cut -d' ' -f1 build/wheel/before | head -n 1)"
