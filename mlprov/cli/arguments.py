"""Arguments that several verbs have."""

from __future__ import annotations

import argparse

__all__ = ["add_run"]


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
