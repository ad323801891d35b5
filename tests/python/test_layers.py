"""The layer check finds a wrong arrow of every kind, and finds none in the project itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
CHECK = PROJECT / "scripts" / "check_layers.py"

# A tree that keeps every rule, with each arrow that is allowed at the edge of a rule.
SOUND_TREE = {
    "csrc/base/status.h": "#include <stdint.h>\n",
    "csrc/base/file.c": '#include "base/status.h"\n#include <fcntl.h>\n#include <sys/stat.h>\n',
    "csrc/hash/hash.h": '#include "base/status.h"\n',
    "csrc/hash/sha2.c": '#include "hash/hash.h"\n#include <openssl/evp.h>\n#include <unistd.h>\n',
    "csrc/merkle/tree.h": '#include "hash/hash.h"\n',
    "csrc/merkle/tree.c": '#include "tree.h"\n',
    "csrc/codec/json.c": '#include "base/status.h"\n#include <jansson.h>\n',
    "csrc/codec/json.h": '#include "base/status.h"\n',
    "csrc/tensor/view.h": '#include "merkle/tree.h"\n#include "codec/json.h"\n',
    "csrc/files/many.c": '#include "base/status.h"\n#include "hash/hash.h"\n',
    "csrc/files/many.h": '#include "base/status.h"\n',
    "csrc/sign/note.c": '#include "tensor/view.h"\n#include <openssl/x509.h>\n',
    "csrc/sign/note.h": '#include "codec/json.h"\n',
    "csrc/store/store.c": '#include "merkle/tree.h"\n#include <sqlite3.h>\n',
    "csrc/store/store.h": '#include "base/status.h"\n',
    "csrc/anchor/log.c": '#include "sign/note.h"\n#include "store/store.h"\n',
    "csrc/anchor/log.h": '#include "base/status.h"\n',
    "csrc/python/module.c": '#include <Python.h>\n#include "anchor/log.h"\n'
    '#include "torch/bridge.h"\n',
    "csrc/torch/bridge.cpp": "#include <Python.h>\n#include <torch/torch.h>\n"
    '#include "tensor/view.h"\n#include "base/status.h"\n',
    "mlprov/__init__.py": "from ._version import __version__\nfrom .digests import digest\n",
    "mlprov/_version.py": '__version__ = "0.1.0"\n',
    "mlprov/digests.py": "from . import _core\nfrom ._core import hash_one\n",
    "mlprov/__main__.py": "from .cli.__main__ import main\n",
    "mlprov/cli/__init__.py": "",
    "mlprov/cli/__main__.py": "import mlprov\nfrom mlprov import __version__, digest\n"
    "from ._output import table\nfrom mlprov.cli import _output\n",
    "mlprov/cli/_output.py": "import json\n",
    "mlprov/integrations/lightning.py": "import lightning\nfrom mlprov import start\n",
    "verifier/mlprov_verify.py": "import hashlib\nfrom cryptography import x509\nimport blake3\n",
}

WRONG_ARROWS = {
    "a room to its right": ("csrc/hash/hash.h", '#include "merkle/tree.h"\n'),
    "a room beside it": ("csrc/store/store.c", '#include "sign/note.h"\n'),
    "the other room beside it": ("csrc/sign/note.c", '#include "store/store.h"\n'),
    "a room that does no input or output into one that reads files": (
        "csrc/tensor/view.h",
        '#include "files/many.h"\n',
    ),
    "files into the store": ("csrc/files/many.c", '#include "store/store.h"\n'),
    "merkle to codec": ("csrc/merkle/tree.c", '#include "codec/json.h"\n'),
    "a room into the bridge": ("csrc/anchor/log.c", '#include "torch/bridge.h"\n'),
    "tensor into the bridge": ("csrc/tensor/view.h", '#include "torch/bridge.h"\n'),
    "the binding behind the contract": ("csrc/python/module.c", '#include "torch/views.h"\n'),
    "the bridge into hash": ("csrc/torch/bridge.cpp", '#include "hash/hash.h"\n'),
    "the bridge into python": ("csrc/torch/bridge.cpp", '#include "python/view.h"\n'),
    "a path that climbs": ("csrc/hash/sha2.c", '#include "../store/store.h"\n'),
    "our header in angles": ("csrc/hash/sha2.c", "#include <base/status.h>\n"),
    "spaces in the directive": ("csrc/hash/hash.h", '  #  include   "store/store.h"\n'),
    "OpenSSL in base": ("csrc/base/status.h", "#include <openssl/evp.h>\n"),
    "OpenSSL signing in hash": ("csrc/hash/sha2.c", "#include <openssl/x509.h>\n"),
    "jansson in store": ("csrc/store/store.c", "#include <jansson.h>\n"),
    "SQLite in anchor": ("csrc/anchor/log.c", "#include <sqlite3.h>\n"),
    "SQLite in quotes": ("csrc/anchor/log.c", '#include "sqlite3.h"\n'),
    "Python in tensor": ("csrc/tensor/view.h", "#include <Python.h>\n"),
    "torch in python": ("csrc/python/module.c", "#include <torch/torch.h>\n"),
    "ATen in tensor": ("csrc/tensor/view.h", "#include <ATen/Tensor.h>\n"),
    "files read in merkle": ("csrc/merkle/tree.c", "#include <fcntl.h>\n"),
    "files mapped in tensor": ("csrc/tensor/view.h", "#include <sys/mman.h>\n"),
    "a room that nobody knows": ("csrc/utils/helpers.h", "\n"),
    "a file outside every room": ("csrc/helpers.h", "\n"),
    "the command line to the core": ("mlprov/cli/hash.py", "import mlprov._core\n"),
    "the same, by name": ("mlprov/cli/hash.py", "from mlprov import _core\n"),
    "the same, relative": ("mlprov/cli/hash.py", "from .. import _core\n"),
    "the same, inside a function": ("mlprov/cli/hash.py", "def f():\n    from .._core import x\n"),
    "the same, as an attribute": ("mlprov/cli/hash.py", "import mlprov\nmlprov._core.digest()\n"),
    "the same, at run time": (
        "mlprov/cli/hash.py",
        "import importlib\nimportlib.import_module('mlprov._core')\n",
    ),
    "a private name": ("mlprov/cli/hash.py", "from mlprov.digests import _parse\n"),
    "an integration to a private module": (
        "mlprov/integrations/keras.py",
        "from mlprov._records import Record\n",
    ),
    "an integration to the command line": (
        "mlprov/integrations/keras.py",
        "from mlprov.cli import main\n",
    ),
    "the package to the command line": ("mlprov/runs.py", "from .cli import hash\n"),
    "the package to an integration": ("mlprov/runs.py", "import mlprov.integrations.keras\n"),
    "the public names to an integration": ("mlprov/__init__.py", "from . import integrations\n"),
    "the verifier to mlprov": ("verifier/mlprov_verify.py", "import mlprov\n"),
    "the verifier to the core": ("verifier/mlprov_verify.py", "from mlprov._core import x\n"),
    "the verifier to numpy": ("verifier/mlprov_verify.py", "import numpy\n"),
}


def run_check(tree: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, CHECK, tree], capture_output=True, text=True, timeout=60)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name, text in SOUND_TREE.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_a_tree_that_keeps_the_layers_passes(tree: Path) -> None:
    done = run_check(tree)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", WRONG_ARROWS)
def test_a_wrong_arrow_is_found_where_it_stands(name: str, tree: Path) -> None:
    where, text = WRONG_ARROWS[name]
    path = tree / where
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.read_text() if path.exists() else ""
    path.write_text(before + text)
    done = run_check(tree)
    first = before.count("\n") + 1
    lines = {f"{where}:{line}:" for line in range(first, first + text.count("\n"))}
    if "csrc/utils" in where or where == "csrc/helpers.h":
        lines = {f"{where}:1:"}
    assert done.returncode == 1, done.stdout + done.stderr
    found = done.stdout.splitlines()
    assert found
    assert {line.split(" ")[0] for line in found} <= lines


def test_an_include_in_a_comment_is_no_arrow(tree: Path) -> None:
    path = tree / "csrc/hash/hash.h"
    path.write_text('/* see #include "store/store.h" */\n// #include "store/store.h"\n')
    assert run_check(tree).returncode == 0


def test_a_folder_without_the_project_is_not_taken_for_a_sound_one(tmp_path: Path) -> None:
    assert run_check(tmp_path).returncode == 2


def test_the_project_keeps_its_own_layers() -> None:
    done = run_check(PROJECT)
    assert (done.returncode, done.stdout) == (0, "")
