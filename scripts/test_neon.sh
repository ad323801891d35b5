#!/usr/bin/env bash
# What can be tested of AArch64 on any machine: every C room and C test is cross-compiled with -Werror,
# and the tests of BLAKE3 run by QEMU's user-mode emulation. On AArch64 itself, where `make test` does
# the former, they run without either.
#
#   MLPROV_TEST_LARGEST  the largest input in bytes; 4 MiB where emulated (64 MiB elsewhere)
#   NO_SUDO=1            only print the command that installs the compiler and QEMU, then stop

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

compiler=aarch64-linux-gnu-gcc

native() {
    make --no-print-directory -f scripts/native.mk -j2 NEON_CC="$compiler" "$@"
}

# usage: library_headers FLAG...; lists the files behind every header of a library that csrc/ includes
library_headers() {
    grep -rhoE '#include <(openssl/|sqlite3|jansson).*' csrc | sort -u | "${CC:-cc}" "$@" -M -x c - |
        tr -s ' \\' '\n\n' | grep -E '/(openssl/[a-z0-9_]+|sqlite3|jansson|jansson_config)\.h$'
}

# Compiles every room without the libraries for AArch64: this machine's headers of OpenSSL, SQLite and
# jansson stand in, alone in a folder, since the C library's beside them are another processor's. For
# 64-bit Linux they differ by OpenSSL's RC4_INT alone, which nothing here uses. Nothing is linked.
compile_all() {
    local headers=build/c/arm64/include file flags
    flags=$(python3 scripts/native_libraries.py cflags)
    rm -rf "$headers"
    mkdir -p "$headers/openssl"
    # shellcheck disable=SC2086  # a list of flags
    for file in $(library_headers $flags); do
        case $file in
        */openssl/*) ln -sf "$file" "$headers/openssl/" ;;
        *) ln -sf "$file" "$headers/" ;;
        esac
    done
    native VARIANT=arm64 cross
    printf 'Compiled for AArch64 with -Werror: %d files of C\n' \
        "$(find build/c/arm64 -name '*.o' | wc -l)"
}

if [ "$(uname -m)" = aarch64 ]; then
    printf 'BLAKE3 tests on this AArch64 processor\n'
    compiler=${CC:-gcc}
else
    missing=()
    command -v "$compiler" >/dev/null || missing+=(gcc-aarch64-linux-gnu)
    printf '#include <stdio.h>\n' | "$compiler" -E -x c - >/dev/null 2>&1 || missing+=(libc6-dev-arm64-cross)
    command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
    # shellcheck disable=SC2207  # names of packages
    missing+=($(python3 scripts/native_libraries.py missing debian))
    [ ${#missing[@]} = 0 ] || install_system_packages "make test-neon" "${missing[@]}"
    compile_all
    printf 'BLAKE3 tests on AArch64, emulated by %s\n' "$(qemu-aarch64 --version | head -n 1)"
    export MLPROV_C_TEST_RUNNER=qemu-aarch64
    export MLPROV_TEST_LARGEST=${MLPROV_TEST_LARGEST:-$((4 << 20))}
fi
native VARIANT=neon run
