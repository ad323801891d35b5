#!/usr/bin/env bash
# Every check that reads the sources instead of running them; one line each with its time. All are
# tried; the output of those that fail follows their line. Called by `make lint`, after set-up.

set -uo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh
. scripts/find_tool.sh

missing=()
find_tool clang >/dev/null || missing+=(clang)
find_tool clang-tidy >/dev/null || missing+=(clang-tidy)
if [ ${#missing[@]} -gt 0 ]; then
    install_system_packages "make lint" "${missing[@]}" || exit 1
fi
clang=$(find_tool clang) && tidy=$(find_tool clang-tidy) || exit 1

failed=0
mkdir -p build

# usage: check TEXT COMMAND...
check() {
    local text=$1 begin=${EPOCHREALTIME/[^0-9]/} output
    shift
    if output=$("$@" </dev/null 2>&1); then
        printf '  %-48s ok     %5d ms\n' "$text" $(((${EPOCHREALTIME/[^0-9]/} - begin) / 1000))
    else
        failed=$((failed + 1))
        printf '  %-48s FAILED %5d ms\n%s\n' "$text" $(((${EPOCHREALTIME/[^0-9]/} - begin) / 1000)) "$output"
    fi
}

python_files() {
    find mlprov scripts verifier tests examples benchmarks notebooks setup.py -name node_modules -prune -o \
        \( -name '*.py' -o -name '*.pyi' -o -name '*.ipynb' \) -print | sort
}

native_files() {
    find csrc tests -name node_modules -prune -o \( -name '*.[ch]' -o -name '*.cpp' \) -print | sort
}

typed_folders() {
    local folder
    for folder in mlprov verifier scripts; do
        [ -z "$(find "$folder" -name '*.py' -print -quit)" ] || printf '%s\n' "$folder"
    done
}

native() {
    make --no-print-directory -f scripts/native.mk -j2 -k CLANG="$clang" TIDY="$tidy" "$@"
}

stubs() {
    .venv/bin/pyright --pythonpath .venv/bin/python
}

# The bridge is C++ against torch's headers: 20 seconds, so only after a change.
bridge() {
    local python=.venv/bin/python stamp=build/lint-torch.stamp torch
    [ -n "$(find csrc/torch -name '*.cpp')" ] || return 0
    if [ -f "$stamp" ] && [ -z "$(find csrc scripts/lint.sh .venv/bin/python -newer "$stamp" \
        \( -path '*/torch/*' -o -name '*.h' -o -name lint.sh \))" ]; then
        return 0
    fi
    torch=$("$python" -c 'import importlib.util; print(importlib.util.find_spec("torch").submodule_search_locations[0])') || return 1
    for source in csrc/torch/*.cpp; do
        "${CXX:-g++}" -std=c++20 -fsyntax-only -Wall -Wextra -Werror -fvisibility=hidden -Icsrc \
            -DMLP_TORCH_VERSION='"lint"' -D_GLIBCXX_USE_CXX11_ABI=1 \
            -isystem "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
            -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" \
            "$source" || return 1
    done
    touch "$stamp"
}

c_layout() {
    local bad
    # shellcheck disable=SC2046  # no name of ours holds a blank
    bad=$(.venv/bin/clang-format --dry-run --Werror $(native_files) 2>&1 | sed -n 's/^\([^ :]*\):[0-9].*/\1/p' | sort -u)
    [ -z "$bad" ] || {
        printf 'not laid out as .clang-format says; run: .venv/bin/clang-format -i %s\n' "$(echo $bad)"
        return 1
    }
}

shell_syntax() {
    local script
    for script in scripts/*.sh .ci/run; do
        bash -n "$script" || return 1
    done
}

printf 'Checking the sources\n'
check "layers" .venv/bin/python scripts/check_layers.py .
check "shell syntax" shell_syntax
# shellcheck disable=SC2046  # no name of ours holds a blank
check "ruff check" .venv/bin/ruff check $(python_files)
# shellcheck disable=SC2046
check "ruff format" .venv/bin/ruff format --check $(python_files)
# shellcheck disable=SC2046
check "mypy --strict" .venv/bin/mypy --strict $(typed_folders)
check "pyright on the stubs" stubs
check "clang-format" c_layout
check "gcc -Werror" native VARIANT=lint-gcc objects
check "clang -Werror" native VARIANT=lint-clang objects
check "clang-tidy" native VARIANT=lint-clang tidy
check "g++ -Werror on the torch bridge" bridge

if [ "$failed" != 0 ]; then
    printf 'lint: %d checks failed\n' "$failed" >&2
    exit 1
fi
