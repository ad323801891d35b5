"""Arguments that several verbs have."""

from __future__ import annotations

import argparse

__all__ = ["add_force", "add_run"]


def add_run(parser: argparse.ArgumentParser) -> None:
    """``RUN``: which run of the store."""
    parser.add_argument(
        "run",
        nargs="?",
        default="@",
        metavar="RUN",
        help="an id, a unique prefix of one (from 4 characters), a unique name, or @: the newest, "
        "which is the default",
    )


def add_force(parser: argparse.ArgumentParser) -> None:
    """``--force``: a file that is there is replaced; without it that is an error."""
    parser.add_argument("--force", action="store_true", help="replace a file of that name")
