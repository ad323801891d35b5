"""Where the third-party test vectors are, and what happens where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

VECTORS = Path(__file__).resolve().parents[3] / "shared" / "vectors"


def vectors_folder(*parts: str, root: Path = VECTORS) -> Path:
    """Give a folder of vectors that nobody in this project wrote.

    Without it the test is skipped, with the reason; ``CI=true`` in the environment makes that a
    failure.
    """
    folder = root.joinpath(*parts)
    if not folder.exists():
        reason = f"third-party vectors are not at {folder}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}, and CI=true insists on them")
        pytest.skip(reason)
    return folder
