"""``mlprov`` without a verb: what can be done next in this directory."""

from __future__ import annotations

import pathlib

from mlprov import stores
from mlprov.cli import output
from mlprov.errors import Error


def run() -> int:
    """Print the commands that make sense here."""
    path = stores.find_store()
    steps: list[tuple[str, str]] = []
    if not (path / "store.db").exists():
        print("no store here; a training script makes one, as does 'mlprov init'")
        steps.append(("mlprov init", "make a store in this directory"))
    else:
        try:
            with stores.open_store(path, read_only=True) as store:
                runs = stores.read_runs(store)
        except Error as error:
            output.error(error)
            return 2
        print(f"{len(runs)} runs in {output.escape(path)}")
        if runs:
            steps += [
                ("mlprov ls", "list them"),
                (f"mlprov show {runs[0].id}", f"show the newest, {runs[0].name}"),
                (f"mlprov export {runs[0].id}", "write it as one file"),
            ]
    for bundle in sorted(pathlib.Path.cwd().glob("*.mlprov"))[:3]:
        if bundle.is_file():
            steps.append((f"mlprov verify {bundle.name}", "check this bundle"))
    steps.append(("mlprov --help", "every verb"))
    output.table(steps)
    return 0
