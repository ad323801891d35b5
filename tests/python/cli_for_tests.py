"""Running the command line: in this process, in one of its own, as another user."""

import io
import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from mlprov.cli.__main__ import main

ODD_NAMES = [
    b"plain",
    b"with space",
    "ümläut".encode(),
    b"new\nline",
    b"back\\slash",
    b"back\\nslash",
    b"car\rriage",
    b"\xff\xfe not utf-8",
    b"-dash",
    b"*star",
    b"\x1b[31mred",
]


class Result:
    """What one command said and did."""

    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def run_command(*arguments, stdin=None):
    """The command line in this process."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "stderr", errors)
        if stdin is not None:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main([os.fspath(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
    written = [s.buffer.getvalue().decode("utf-8", "surrogateescape") for s in (stream, errors)]
    return Result(code or 0, *written)


def shell(*arguments, **options):
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "mlprov", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


def is_error(result, *parts):
    """Exit code 2, at most two lines, no traceback, and each part in them."""
    assert result.code == 2
    lines = result.err.splitlines()
    assert 1 <= len(lines) <= 2, result.err
    assert all(line.startswith("mlprov: ") for line in lines)
    assert "Traceback" not in result.err
    for part in parts:
        assert part in result.err
    return True


# Whoever becomes another user may no longer read Python's own library: it is loaded before.
WARM_UP = """
import contextlib, importlib, io, os, sys
sys.path.insert(0, sys.argv[1])
from mlprov.cli.__main__ import main, VERBS
import encodings.idna, encodings.utf_16_be, locale, traceback
import mlprov.bundles, mlprov.comparison, mlprov.verification, mlprov.cli.output
for verb in VERBS:
    importlib.import_module(f"mlprov.cli.{verb}_verb")
for arguments in (["frob"], ["hash", sys.argv[1] + "/README.md"], ["verify", "nowhere", "--debug"]):
    sys.stdout, sys.stderr = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    with contextlib.suppress(SystemExit):
        main(arguments)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
mlprov.bundles.specification()
"""


def as_nobody(folder, *arguments):
    """The command line as a user without rights, who may read and not write."""
    code = (
        f"{WARM_UP}\n"
        "os.chdir(sys.argv[2]); os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "os.environ['MLPROV_HOME'] = sys.argv[2] + '/home'\n"
        "sys.exit(main(sys.argv[3:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(ROOT), str(folder), *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def give_to_nobody(folder):
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 65534, 65534)
