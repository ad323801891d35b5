"""Loading files that are bad, or change meanwhile: an error, never bytes that were not checked."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlprov
from mlprov import ConfigError, EvidenceError, VerificationError, _core

torch = pytest.importorskip("torch")


def malformed() -> Iterator[tuple[str, bytes]]:
    def file(header: bytes, data: bytes = b"") -> bytes:
        return len(header).to_bytes(8, "little") + header + data

    yield "empty", b""
    yield "seven bytes", bytes(7)
    yield "a header beyond the file", (1 << 20).to_bytes(8, "little") + b"{}"
    yield "a header of 2^63 bytes", (1 << 63).to_bytes(8, "little") + b"{}"
    yield "no JSON", file(b"{nothing")
    yield "deep JSON", file(b"[" * 100_000)
    yield "a hole", file(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}', b"xy")
    yield "cut short", file(b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}', b"xyz")
    yield "too long", file(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"xyz")
    yield (
        "a type that is none",
        file(b'{"a":{"dtype":"U9","shape":[1],"data_offsets":[0,1]}}', b"x"),
    )
    yield "twice", file(b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},' * 2 + b'"b":1}')
    yield (
        "a huge shape",
        file(b'{"a":{"dtype":"U8","shape":[4611686018427387904,8],"data_offsets":[0,0]}}'),
    )


@pytest.mark.parametrize(("what", "content"), [*malformed()], ids=[what for what, _ in malformed()])
def test_malformed_files_are_could_not_check(what: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(EvidenceError, match=r"safetensors|JSON"):
        mlprov.load_file(tmp_path / "m", evidence=mlprov.digest_model({}))


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    evidence = mlprov.digest_model({})
    with pytest.raises(ConfigError, match="it is a pipe or device"):
        mlprov.load_file(tmp_path / "fifo", evidence=evidence)
    with pytest.raises(FileNotFoundError, match="No such file"):
        mlprov.load_file(tmp_path / "missing", evidence=evidence)


def test_a_file_that_becomes_shorter_while_it_is_read_is_an_error_and_no_crash(
    tmp_path: Path,
) -> None:
    mlprov.save_file({"a": torch.ones(1 << 20)}, tmp_path / "m")

    def allocate(entries: list[Any], metadata: dict[str, str]) -> list[Any]:
        os.truncate(tmp_path / "m", 1 << 20)
        return [np.empty(end - begin, np.uint8) for *_, begin, end in entries]

    with pytest.raises(EvidenceError, match=r"ends before|shorter|changed"):
        _core.load_safetensors(os.fsencode(tmp_path / "m"), allocate)


def test_a_file_that_is_replaced_or_written_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    for change in ("replace", "write"):
        mlprov.save_file({"a": torch.ones(100)}, tmp_path / "m")
        shutil.copy(tmp_path / "m", tmp_path / "other")

        def allocate(entries: list[Any], _: dict[str, str], change: str = change) -> list[Any]:
            if change == "replace":
                (tmp_path / "other").rename(tmp_path / "m")
            else:
                content = bytearray((tmp_path / "m").read_bytes())
                content[-1] ^= 1
                (tmp_path / "m").write_bytes(content)
            return [np.empty(end - begin, np.uint8) for *_, begin, end in entries]

        with pytest.raises(EvidenceError, match="changed while it was read"):
            _core.load_safetensors(os.fsencode(tmp_path / "m"), allocate)


def test_whatever_a_thread_writes_meanwhile_what_is_returned_was_checked(tmp_path: Path) -> None:
    """A writer flips the file between two contents: only the recorded one is ever handed out."""
    path = tmp_path / "m"
    good, bad = torch.zeros(1 << 18), torch.ones(1 << 18)
    saved = mlprov.save_file({"a": good}, path)
    head = saved.len - good.nbytes
    stop = threading.Event()

    def write() -> None:
        with path.open("rb+", buffering=0) as file:
            for turn in range(1 << 30):
                file.seek(head)
                file.write((bad if turn % 2 == 0 else good).numpy().tobytes())
                if stop.is_set():
                    return

    writer = threading.Thread(target=write)
    writer.start()
    outcomes = set()
    try:
        for _ in range(60):
            try:
                assert torch.equal(mlprov.load_file(path, evidence=saved)["a"], good)
                outcomes.add("loaded")
            except (EvidenceError, VerificationError) as error:
                outcomes.add(type(error).__name__)
    finally:
        stop.set()
        writer.join()
    assert outcomes - {"loaded"}


@pytest.mark.parametrize("wrong", ["few", "short", "strided", "list"])
def test_the_core_writes_nowhere_but_into_what_fits(wrong: str, tmp_path: Path) -> None:
    mlprov.save_file({"a": np.ones(8)}, tmp_path / "m")
    given: Any = {
        "few": [], "short": [np.empty(7)], "strided": [np.empty(16)[::2]], "list": np.empty(8),
    }[wrong]  # fmt: skip
    with pytest.raises((ValueError, TypeError)):
        _core.load_safetensors(os.fsencode(tmp_path / "m"), lambda *_: given)


def test_what_allocating_raises_is_passed_on(tmp_path: Path) -> None:
    mlprov.save_file({"a": np.ones(8)}, tmp_path / "m")

    def allocate(*_: Any) -> list[Any]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _core.load_safetensors(os.fsencode(tmp_path / "m"), allocate)
