#!/usr/bin/env bash
# Executes the notebooks in place, with what requirements/notebooks.txt adds to .venv, then the tests of what
# notebooks show. Calling it again installs nothing; each execution prints figures of its own.

set -euo pipefail
cd "$(dirname "$0")/.."

python=.venv/bin/python
log=build/notebooks.log
stamp=.venv/mlprov-notebooks.stamp
key=$(cat requirements/notebooks.txt .venv/mlprov-requirements.stamp | cksum)

# usage: logged TEXT COMMAND...; prints one line with the time taken, or the end of the log
logged() {
    local text=$1 begin=$SECONDS
    shift
    printf '  %-58s' "$text"
    "$@" </dev/null >>"$log" 2>&1 || {
        printf 'failed\n'
        tail -n 25 "$log" >&2
        printf 'notebooks: %s failed; the full log is %s\n' "$1" "$log" >&2
        exit 1
    }
    printf '%4d s\n' $((SECONDS - begin))
}

mkdir -p build
: >"$log"
if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$key" ]; then
    logged "notebooks (requirements/notebooks.txt)" "$python" -m pip --disable-pip-version-check install \
        -r requirements/notebooks.txt -c requirements/frameworks.txt -c requirements/dev.txt -c requirements/torch.txt
    printf '%s\n' "$key" >"$stamp"
fi

for notebook in notebooks/*.ipynb; do
    logged "$notebook" "$python" scripts/run_notebooks.py "$notebook"
done
.venv/bin/pytest -q -p no:cacheprovider tests/python/test_notebooks.py tests/python/test_notebook_files.py
