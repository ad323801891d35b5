"""Executes notebooks and keeps what they print: in place, or in a folder.

    python scripts/run_notebooks.py [--into FOLDER] NOTEBOOK...

The kernel starts in the notebook's own folder. A cell that raises ends the program, unless it is
tagged ``raises-exception``. Times of cells are not kept: they would change with every execution.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pathlib
import tempfile
from typing import Any


def execute(source: pathlib.Path, target: pathlib.Path) -> None:
    """Run every cell of ``source`` in a new kernel, and write it with its outputs to ``target``."""
    nbformat: Any = importlib.import_module("nbformat")
    nbclient: Any = importlib.import_module("nbclient")
    notebook = nbformat.read(source, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        coalesce_streams=True,  # as a terminal would show them: the last state of a progress bar
        resources={"metadata": {"path": str(source.parent)}},
    )
    client.execute()
    notebook.metadata.pop("language_info", None)  # names the version of this Python
    nbformat.write(notebook, target)


def main() -> None:
    """Execute those that are named."""
    parser = argparse.ArgumentParser(description="execute notebooks")
    parser.add_argument("--into", type=pathlib.Path, help="write there, not in place")
    parser.add_argument("notebooks", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    # Neither IPython's profile nor Jupyter's settings of the caller change what is printed.
    with tempfile.TemporaryDirectory() as home:
        for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR"):
            os.environ[name] = home
        for path in options.notebooks:
            execute(path, options.into / path.name if options.into else path)


if __name__ == "__main__":
    main()
