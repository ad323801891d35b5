"""Choosing a verb, and turning exceptions into two lines and an exit code.

Exit codes: 0 holds or done, 1 does not hold, 2 could not check or wrong use. A verb's module is
imported when that verb is called, so that ``mlprov --version`` costs no more than Python itself.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from mlprov import __version__

__all__ = ["main"]

VERBS = {
    "hash": "print digests of files, tensors and models; check a list of digests",
    "init": "make a store in this directory",
    "run": "run a command and record what it trains",
    "ls": "list the runs of a store",
    "show": "show one run",
    "log": "show the records of a run",
    "diff": "show what changed between two runs, epochs or models",
    "verify": "check a bundle or proof, and a model or data against it",
    "prove": "write the proof of one tensor, batch, sample or record",
    "export": "write a run as one file",
    "import": "take a run from a bundle into the store",
    "anchor": "anchor the store's log outside this machine",
    "status": "show what is anchored and what is on its way",
    "sync": "deliver what is on its way",
    "ipfs": "print CIDs, write and read CARs, publish files",
    "keys": "show or make the owner key",
    "trust": "pin the key of somebody whose runs you accept",
    "doctor": "check this installation, the store and the key",
}
_EXIT_CODES = "exit codes: 0 holds or done, 1 does not hold, 2 could not check or wrong use"


class _Parser(argparse.ArgumentParser):
    """Wrong use takes two lines, as every other error does."""

    hint = "mlprov"  # whose --help says more: the verb's, also where the whole line is at fault

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, formatter_class=_formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to look; exit code 2."""
        from mlprov.cli import output

        output.error(f"cannot understand the command: {message}", f"'{self.hint} --help' says more")
        self.exit(2)


def _formatter(prog: str) -> argparse.HelpFormatter:
    """As argparse has it, which makes one for every option, but without importing shutil for it."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return argparse.HelpFormatter(prog, width=int(columns) - 2)
    try:
        width = os.get_terminal_size(sys.__stdout__.fileno()).columns if sys.__stdout__ else 0
    except (ValueError, OSError):  # closed, or no terminal
        width = 0
    return argparse.HelpFormatter(prog, width=(width or 80) - 2)


def _parser(verb: str | None, *, alone: bool = False) -> _Parser:
    """The parser of the command line.

    Args:
        verb: the one that has its arguments declared.
        alone: leave out the other verbs, which only help lists.
    """
    summary = "Prove how a machine-learning model came to be."
    parser = _Parser(prog="mlprov", description=summary, epilog=_EXIT_CODES)
    parser.add_argument("-V", "--version", action="version", version=f"mlprov {__version__}")
    parser.hint = f"mlprov {verb}" if verb else "mlprov"
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    for name, text in VERBS.items():
        if alone and name != verb:
            continue
        text_of_verb = f"{text[0].upper()}{text[1:]}."
        added = verbs.add_parser(name, help=text, description=text_of_verb, epilog=_EXIT_CODES)
        added.hint = added.prog
        if name == verb:
            importlib.import_module(f"mlprov.cli.{name}_verb").add_arguments(added)
            common = added.add_argument_group("with every verb")
            common.add_argument("--json", action="store_true", help="print one JSON object")
            common.add_argument(
                "--store", metavar="DIR", help="the store (default: the nearest .mlprov)"
            )
            common.add_argument(
                "-q", "--quiet", action="store_true", help="print less: only what was asked for"
            )
            common.add_argument("--debug", action="store_true", help="a traceback on errors")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"mlprov {__version__}")
        return 0
    if sys.stdout is None:  # closed by the caller, who wants the exit code alone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    # Names in evidence and directories are any bytes; no terminal's encoding may end in an error.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from mlprov import get_threads  # noqa: F401  # loads the core
    except ImportError as error:  # a wrong environment variable, or a build that does not fit
        from mlprov.cli import output
        from mlprov.explanations import explain

        what, remedy = explain(error)
        output.error(f"cannot start: {what}", remedy)
        return 2
    word = next((word for word in given if not word.startswith("-")), None)
    verb = word if word in VERBS else None
    parsed = _parser(verb, alone=verb is not None and given[0] == verb).parse_args(given)
    if parsed.verb is None:
        parsed.verb = "next_steps"
        parsed.debug = parsed.quiet = parsed.json = False
    return _run(parsed)


def _run(parsed: argparse.Namespace) -> int:
    from mlprov.cli import output
    from mlprov.errors import Error, VerificationError

    name = "next_steps" if parsed.verb == "next_steps" else f"{parsed.verb}_verb"
    module = importlib.import_module(f"mlprov.cli.{name}")
    code: int | None = None
    try:
        with output.waiting(parsed.verb, quiet=parsed.quiet):
            code = module.run(parsed)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader went away (mlprov hash … | head): no message, and none at exit either. What
        # was finished keeps its code; else it is that of a program that SIGPIPE ended.
        output.abandon_output()
        return 141 if code is None else code
    except Exception as error:  # noqa: BLE001 - Python's own exit code would say "does not hold"
        if parsed.debug:
            import traceback

            traceback.print_exc()
        expected = isinstance(error, (Error, OSError, MemoryError))
        output.fail(error, as_json=parsed.json, expected=expected)
        return 1 if isinstance(error, VerificationError) else 2
    return code


if __name__ == "__main__":
    sys.exit(main())
