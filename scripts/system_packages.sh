# Sourced by the scripts that need packages of the operating system: prints the command, then runs it.
#
# NO_SUDO=1 prints the command and stops. Where there is no apt-get, the caller prints what to install.

# Where a package lands on the PATH under a versioned name only (Debian's clang-14), callers look for both.

# usage: install_system_packages PURPOSE PACKAGE...
install_system_packages() {
    local purpose=$1
    shift
    if ! command -v apt-get >/dev/null; then
        printf 'mlprov: %s needs these packages (Debian names), and there is no apt-get here: %s\n' \
            "$purpose" "$*" >&2
        return 1
    fi
    local privilege=""
    if [ "$(id -u)" != 0 ]; then
        privilege="sudo "
    fi
    local update="${privilege}apt-get update"
    local install="${privilege}env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $*"
    if [ "${NO_SUDO:-}" = 1 ]; then
        printf 'mlprov: %s needs packages; run this, then call make again:\n' "$purpose" >&2
        printf '    %s && %s\n' "$update" "$install" >&2
        return 1
    fi
    if [ -n "$privilege" ] && ! command -v sudo >/dev/null; then
        printf 'mlprov: %s needs packages, and there is no sudo here; as root run:\n' "$purpose" >&2
        printf '    apt-get update && apt-get install %s\n' "$*" >&2
        return 1
    fi
    printf '  %s: running %s && %s\n' "$purpose" "$update" "$install"
    mkdir -p build
    if ! { $update && $install; } </dev/null >>build/setup.log 2>&1; then
        tail -n 15 build/setup.log >&2
        printf 'mlprov: apt-get failed; the full log is build/setup.log\n' >&2
        return 1
    fi
}
