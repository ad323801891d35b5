"""``mlprov run``: record what a command trains, without a change to it."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil

import mlprov
from mlprov import stores
from mlprov.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb's arguments."""
    parser.description = (
        "Run a command; every Python process of it that trains is recorded, as mlprov.autolog() "
        "does it. Arguments, output and exit code are the command's own."
    )
    parser.usage = "mlprov run [--name NAME] [--store DIR] -- COMMAND ..."
    parser.add_argument("--name", help="what the runs are called (default: as the script)")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND", help="such as: python train.py"
    )


def run(arguments: argparse.Namespace) -> int:
    """Become the command, in an environment that has its Python processes recorded."""
    command = arguments.command
    if command and command[0] == "--":
        command = command[1:]
    program = shutil.which(command[0]) if command else None
    if program is None:
        seen = f"there is no program {command[0]!r}" if command else "none was named"
        raise ConfigError(
            f"cannot run a command: {seen}",
            "name one behind --, as in: mlprov run -- python train.py",
        )
    environment = {**os.environ, "MLPROV_AUTOLOG": "1"}
    if arguments.name is not None:
        environment["MLPROV_AUTOLOG_NAME"] = arguments.name
    # Named here, the store is the same for processes in other directories.
    store = pathlib.Path(arguments.store).absolute() if arguments.store else stores.find_store()
    environment["MLPROV_STORE"] = str(store)
    hook = pathlib.Path(str(mlprov.__file__)).with_name("autostart")
    path = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = f"{hook}{os.pathsep}{path}" if path else str(hook)
    os.execve(program, command, environment)  # noqa: S606  (signals and exit code are its own)
