"""Run by Python before the script (:mod:`site`), where ``mlprov run`` started the process.

It lets the environment's own ``sitecustomize`` run, which it stands in front of, and then has
every training recorded. It never ends the process, and leaves argv, ``__main__`` and the exit code
alone. Subprocesses inherit it.
"""

import importlib.machinery
import importlib.util
import os
import sys


def _run_the_other() -> None:
    """Execute the ``sitecustomize`` that would have been found without this one, as it is."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  (at each start)
    others = [path for path in sys.path if os.path.abspath(path or ".") != here]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _record() -> None:
    try:
        import mlprov

        mlprov.autolog()
    except Exception as error:  # noqa: BLE001  (the command is the user's, whatever fails here)
        sys.stderr.write(f"mlprov: nothing is recorded in process {os.getpid()}: {error}\n")


if os.environ.get("MLPROV_AUTOLOG") == "1":
    try:
        _run_the_other()
    finally:
        _record()
