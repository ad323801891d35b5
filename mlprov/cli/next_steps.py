"""``mlprov`` without a verb: what can be done next in this directory."""

from __future__ import annotations

import argparse
import pathlib
import shlex

from mlprov import stores
from mlprov.cli import output


def run(_: argparse.Namespace) -> int:
    """Print the commands that make sense here."""
    path = stores.find_store()
    steps: list[tuple[str, str]] = []
    if (path / "store.db").exists():
        with stores.open_store(path, read_only=True) as store:
            runs = stores.read_runs(store)
        output.text(f"{output.plural(len(runs), 'run')} in {path}")
        if runs:
            steps += [
                ("mlprov ls", "list them"),
                ("mlprov show", f"show the newest, {output.brief(runs[0].name, 40)}"),
                ("mlprov export", "write it as one file"),
            ]
    else:
        output.text("no store here: a training script makes one, and so does 'mlprov init'")
        steps.append(("mlprov init", "make a store in this directory"))
    for bundle in sorted(pathlib.Path.cwd().glob("*.mlprov"))[:3]:
        if bundle.is_file():
            steps.append((f"mlprov verify {shlex.quote(bundle.name)}", "check this bundle"))
    steps.append(("mlprov --help", "see every verb"))
    output.table(steps)
    return 0
