#!/usr/bin/env bash
# The tests of BLAKE3 in C on AArch64: cross-compiled and run by QEMU's user-mode emulation, so that
# the NEON kernel is tested on any machine. On AArch64 itself they run without either.
#
#   MLPROV_TEST_LARGEST  the largest input in bytes; 4 MiB where emulated (64 MiB elsewhere)
#   NO_SUDO=1            only print the command that installs the compiler and QEMU, then stop

set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/system_packages.sh

compiler=aarch64-linux-gnu-gcc
if [ "$(uname -m)" = aarch64 ]; then
    printf 'BLAKE3 tests on this AArch64 processor\n'
    compiler=${CC:-gcc}
else
    missing=()
    command -v "$compiler" >/dev/null || missing+=(gcc-aarch64-linux-gnu)
    printf '#include <stdio.h>\n' | "$compiler" -E -x c - >/dev/null 2>&1 || missing+=(libc6-dev-arm64-cross)
    command -v qemu-aarch64 >/dev/null || missing+=(qemu-user)
    [ ${#missing[@]} = 0 ] || install_system_packages "make test-neon" "${missing[@]}"
    printf 'BLAKE3 tests on AArch64, emulated by %s\n' "$(qemu-aarch64 --version | head -n 1)"
    export MLPROV_C_TEST_RUNNER=qemu-aarch64
    export MLPROV_TEST_LARGEST=${MLPROV_TEST_LARGEST:-$((4 << 20))}
fi
make --no-print-directory -f scripts/native.mk -j2 VARIANT=neon NEON_CC="$compiler" run
