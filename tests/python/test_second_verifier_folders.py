"""The second verifier on directories (docs/format.md section 10): what is followed, what is not."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bundles_for_tests import (
    FILES,
    check,
    check_states,
    failing,
    saved,
    standard_run,
    v,
    verify,
    weights,
)

MODEL = {"a/x.pt": b"one", "y.pt": b"two"}


@pytest.fixture(scope="module")
def bundle() -> bytes:
    """A run whose checkpoint is the directory of MODEL."""
    builder = standard_run()
    builder.records[7]["files"] = [
        {
            "blake3": v.digest_text(content).partition(":")[2],
            "len": len(content),
            "path": name,
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        for name, content in MODEL.items()
    ]
    return builder.build()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return filled(tmp_path / "model", MODEL)


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def too_deep(folder: Path) -> None:
    """A folder in it whose path is too long to be listed, by anybody, root too."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        for _ in range(20):
            Path("d" * 250).mkdir()
            os.chdir("d" * 250)
        Path("evil.pt").write_bytes(b"never seen")
    finally:
        os.chdir(before)


def linked_folder(folder: Path) -> None:
    outside = filled(folder.parent / "outside", {"evil.pt": b"evil"})
    (folder / "more").symlink_to(outside)


def moved_away(folder: Path) -> None:
    (folder / "a").rename(folder.parent / "moved")
    (folder / "a").symlink_to(folder.parent / "moved")


def not_utf_8(folder: Path) -> None:
    os.close(os.open(os.fsencode(folder) + b"/\xff\xfe", os.O_CREAT | os.O_WRONLY))


ODD: dict[str, Callable[[Path], None]] = {
    "a link to a directory": linked_folder,
    "a link to itself": lambda folder: (folder / "loop").symlink_to("loop"),
    "a link to the directory": lambda folder: (folder / "loop").symlink_to(folder),
    "a link up": lambda folder: (folder / "a" / "up").symlink_to(".."),
    "a dangling link": lambda folder: (folder / "gone.pt").symlink_to("nowhere"),
    "a FIFO": lambda folder: os.mkfifo(folder / "pipe"),
    "a name that is not UTF-8": not_utf_8,
    "a folder that cannot be listed": too_deep,
}


@pytest.mark.parametrize("odd", [*ODD, "a folder that is a link now"])
def test_a_model_directory_with_something_else_in_it_is_unchecked(
    bundle: bytes, folder: Path, odd: str
) -> None:
    assert verify(bundle, model=folder).result == "holds"
    {**ODD, "a folder that is a link now": moved_away}[odd](folder)
    verdict = verify(bundle, model=folder)
    assert check_states(verdict)["model"] == "unchecked"
    assert verdict.result == "could not check"


@pytest.mark.parametrize("odd", ODD)
def test_a_directory_of_shards_is_walked_alike(bundle: bytes, tmp_path: Path, odd: str) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    saved(folder, weights(2))
    (folder / "a").mkdir()
    assert verify(bundle, model=folder).result == "holds"
    ODD[odd](folder)
    assert check_states(verify(bundle, model=folder))["model"] == "unchecked"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every directory")
def test_a_model_directory_with_an_unreadable_folder_is_unchecked(
    bundle: bytes, folder: Path
) -> None:
    filled(folder, {"sub/evil.pt": b"evil"})
    (folder / "sub").chmod(0)
    try:
        assert check_states(verify(bundle, model=folder))["model"] == "unchecked"
    finally:
        (folder / "sub").chmod(0o700)


def test_a_link_to_a_file_is_that_file_under_its_own_name(bundle: bytes, folder: Path) -> None:
    (folder / "y.pt").rename(folder.parent / "blob")
    (folder / "y.pt").symlink_to("../blob")
    assert verify(bundle, model=folder).result == "holds"
    (folder / "z.pt").symlink_to("y.pt")
    assert failing(verify(bundle, model=folder)) == ["model"]


def test_every_file_of_a_model_counts_hidden_ones_too(bundle: bytes, folder: Path) -> None:
    (folder / "empty").mkdir()
    assert verify(bundle, model=folder).result == "holds"
    filled(folder, {".git/config": b""})
    assert failing(verify(bundle, model=folder)) == ["model"]


def test_a_folder_called_like_a_shard_is_none(bundle: bytes, tmp_path: Path) -> None:
    saved(tmp_path, weights(2))
    (tmp_path / "x.safetensors").mkdir()
    saved(tmp_path / "x.safetensors", weights(1))
    verdict = verify(bundle, model=tmp_path)
    assert verdict.result == "holds"
    assert "1 other files" in check(verdict, "model").detail


def test_a_tensor_in_two_shards_is_nothing_where_a_third_is_malformed(
    bundle: bytes, tmp_path: Path
) -> None:
    folder = filled(tmp_path / "model", {"c.safetensors": b"junk"})
    for name in ("a.safetensors", "b.safetensors"):
        saved(folder, weights(2), name)
    verdict = verify(bundle, model=folder)
    assert failing(verdict) == ["model"]
    assert "bytes" in check(verdict, "model").detail


def test_a_malformed_list_of_files_fails_also_where_the_directory_has_none(tmp_path: Path) -> None:
    builder = standard_run()
    builder.records[7]["files"] = 5
    assert failing(verify(builder.build(), model=tmp_path)) == ["model"]
    os.mkfifo(tmp_path / "pipe")
    assert failing(verify(builder.build(), model=tmp_path)) == []


# -- sets of files


@functools.cache
def standard() -> bytes:
    return standard_run().build()


def data(folder: Path) -> str:
    return check_states(verify(standard(), data={"files": folder}))["data:files"]


@pytest.mark.parametrize("name", [".git", ".mlprov"])
def test_folders_of_git_and_of_stores_are_left_out_of_data_but_nothing_else(
    tmp_path: Path, name: str
) -> None:
    folder = filled(tmp_path / "set", FILES)
    inside = filled(folder / name, {"config": b"", "deep/x": b""})
    os.mkfifo(inside / "pipe")
    assert data(folder) == "holds"
    filled(folder / "b", {f"{name}/config": b""})
    assert data(folder) == "holds"
    (folder / "n").mkdir()
    odd = folder / "n" / name
    odd.write_bytes(b"gitdir: elsewhere")
    assert data(folder) == "fails"
    odd.unlink()
    odd.symlink_to(inside)
    assert data(folder) == "unchecked"
    odd.unlink()
    os.mkfifo(odd)
    assert data(folder) == "unchecked"


def test_a_set_of_files_with_a_folder_that_cannot_be_listed_is_unchecked(tmp_path: Path) -> None:
    folder = filled(tmp_path / "set", FILES)
    assert data(folder) == "holds"
    too_deep(folder)
    assert data(folder) == "unchecked"
