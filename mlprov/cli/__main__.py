"""Choosing a verb, and turning exceptions into two lines and an exit code.

Exit codes: 0 holds or done, 1 does not hold, 2 could not check or wrong use. A verb's module is imported
when that verb is called, so that ``mlprov --version`` costs no more than Python itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from mlprov._version import __version__

__all__ = ["main"]

VERBS = {
    "hash": "print digests of files, tensors and models; check a list of digests",
    "init": "make a store in this directory",
    "ls": "list the runs of a store",
    "show": "show one run",
    "log": "show the records of a run",
    "diff": "show what changed between two runs, epochs or models",
    "verify": "check a bundle or proof, and a model or data against it",
    "prove": "write the proof of one tensor, batch, sample or record",
    "export": "write a run as one file",
    "import": "take a run from a bundle into the store",
    "keys": "show or make the owner key",
    "trust": "pin the key of somebody whose runs you accept",
    "doctor": "check this installation, the store and the key",
}


def _parser(verb: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mlprov", description="Prove how a machine-learning model came to be."
    )
    parser.add_argument("--version", action="version", version=f"mlprov {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, summary in VERBS.items():
        added = verbs.add_parser(
            name, help=summary, description=summary[0].upper() + summary[1:] + "."
        )
        if name == verb:
            added.add_argument("--json", action="store_true", help="print one JSON object")
            added.add_argument(
                "--store", metavar="DIR", help="the store (default: the nearest .mlprov)"
            )
            added.add_argument(
                "-q",
                "--quiet",
                action="store_true",
                help="print only what was asked for, or nothing",
            )
            added.add_argument("--debug", action="store_true", help="show a traceback on errors")
            importlib.import_module(f"mlprov.cli.{name}_verb").add_arguments(added)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = next((word for word in given if not word.startswith("-")), None)
    if given in (["--version"], ["-V"]):
        print(f"mlprov {__version__}")
        return 0
    if not given:
        return importlib.import_module("mlprov.cli.next_steps").run()
    parsed = _parser(verb if verb in VERBS else None).parse_args(given)
    if parsed.verb is None:
        return importlib.import_module("mlprov.cli.next_steps").run()
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    from mlprov.cli import output
    from mlprov.errors import Error, VerificationError

    module = importlib.import_module(f"mlprov.cli.{parsed.verb}_verb")
    try:
        code: int = module.run(parsed)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (mlprov log | head): no message, and none at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except VerificationError as error:
        if parsed.debug:
            raise
        output.error(error)
        return 1
    except (Error, OSError, MemoryError) as error:
        if parsed.debug:
            raise
        output.error(error)
        return 2


if __name__ == "__main__":
    sys.exit(main())
