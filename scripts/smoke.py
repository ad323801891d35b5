"""What somebody tries first after ``pip install``: run by the Python that mlprov is installed in.

    python -P scripts/smoke.py [--torch]

It fails where the installed package is this source tree, where a file is missing from it, where
it asks for torch, or where a digest is wrong. With ``--torch`` the bridge has to be there too.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import mlprov

# BLAKE3 of nothing: the first case of the BLAKE3 team's test_vectors.json.
BLAKE3_OF_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"


def require(condition: bool, said: str) -> None:
    """Stop with ``said`` unless ``condition`` holds."""
    if not condition:
        raise SystemExit(f"smoke: {said}")


def check_files() -> None:
    """The package is the installed one, whole, and asks for no torch."""
    package = Path(mlprov.__file__).parent
    tree = Path(__file__).resolve().parent.parent
    require(package != tree / "mlprov", f"{package} is the source tree, not an installed package")
    for name in ("py.typed", "_core.pyi", "_torch.pyi", "format.md"):
        require((package / name).is_file(), f"{name} is missing from {package}")
    require(not (package / "format.md").is_symlink(), "format.md is a link")
    require((package / "format.md").stat().st_size > 1000, "format.md is not the specification")
    needed = importlib.metadata.requires("mlprov") or []
    require(not any(name.startswith("torch") for name in needed), f"asks for torch: {needed}")
    version = importlib.metadata.version("mlprov")
    require(version == mlprov.__version__, f"metadata says {version}, not {mlprov.__version__}")


def check_digest() -> None:
    """A digest from Python and the same from the command line."""
    got = mlprov.digest(b"").hex()
    require(
        got == BLAKE3_OF_NOTHING, f"the digest of nothing is {got}, expected {BLAKE3_OF_NOTHING}"
    )
    require("torch" not in sys.modules, "mlprov imported torch")
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.touch()
        command = [sys.executable, "-P", "-m", "mlprov.cli", "hash", str(empty)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    require(done.returncode == 0, f"mlprov hash failed: {done.stderr}")
    require(done.stdout.split()[:1] == [BLAKE3_OF_NOTHING], f"mlprov hash said {done.stdout}")


def check_script() -> None:
    """The console script stands beside the interpreter, in an environment of its own."""
    script = Path(sysconfig.get_path("scripts"), "mlprov")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    require(mlprov.__version__ in done.stdout, f"{script} --version said {done.stdout!r}")


def check_bridge() -> None:
    """The bridge was built, loads beside this torch, and agrees with the bytes."""
    import torch

    from mlprov import _torch

    require(bool(_torch.__file__), "mlprov._torch has no file")
    values = torch.arange(6, dtype=torch.float32).reshape(2, 3).T
    direct = mlprov.digest(values)
    copied = mlprov.digest(values.contiguous().numpy())
    require(direct == copied, f"a transposed tensor gives {direct!s}, its array {copied!s}")


if __name__ == "__main__":
    check_files()
    check_digest()
    check_script()
    if "--torch" in sys.argv:
        check_bridge()
    print(f"  ok: mlprov {mlprov.__version__} in {Path(mlprov.__file__).parent}")
