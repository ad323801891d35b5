#!/usr/bin/env bash
# Installs what the tests of anchors run against (tests/nodes/package-lock.json) by npm. Does nothing
# where it is there already. Where Node.js or npm is missing, or packages cannot be fetched, the tests
# that need them are skipped and say so; CI=true insists.

set -euo pipefail
cd "$(dirname "$0")/../tests/nodes"

give_up() {
    printf 'mlprov: %s\n' "$1" >&2
    [ "${CI:-}" != true ] || exit 1
    printf 'mlprov: going on without: the tests against an Ethereum node are skipped\n' >&2
    exit 0
}

# usage: major_version COMMAND; prints the first number of its version, or 0
major_version() {
    local version
    version=$("$1" --version 2>/dev/null) || version=0
    version=${version#v}
    printf '%s\n' "${version%%.*}"
}

stamp=node_modules/mlprov.stamp
wanted=$(cat package.json package-lock.json .npmrc | cksum)
[ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ] || exit 0

[ "$(major_version node)" -ge 20 ] || give_up "Node.js 20 or newer is not here; install nodejs and npm"
[ "$(major_version npm)" -ge 9 ] || give_up "npm 9 or newer is not here; install npm"

printf '  Ethereum node and Solidity compiler for the tests (npm, about 50 MB)\n'
mkdir -p ../../build
npm ci >../../build/test_nodes.log 2>&1 </dev/null || {
    tail -n 5 ../../build/test_nodes.log >&2
    give_up "npm could not install tests/nodes; the full log is build/test_nodes.log"
}
printf '%s\n' "$wanted" >"$stamp"
