"""What a forked child may do with its parent's store."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from stores_for_tests import OTHER, RUN, append

from mlprov import _core
from mlprov.errors import StoreError


def in_child(work: Callable[[], str]) -> str:
    """What ``work`` answers in a forked child, which ends without clean-up by pytest."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer


def status_of(call: Callable[[], object]) -> str:
    try:
        call()
    except StoreError as error:
        return error.status
    return "OK"


def test_a_forked_child_is_refused_and_does_the_parent_no_harm(
    store: _core.Store, store_path: Path
) -> None:
    log = store.create_run(RUN, "name", None)
    append(log, 0, "run.start")
    stream = store.open_stream(RUN, "train")
    stream.append(b"one")

    def use_everything() -> str:
        calls = (
            lambda: store.query("SELECT 1"),
            lambda: store.create_run(OTHER, "n", None),
            store.integrate,
            store.checkpoint,
            lambda: store.put_leaves([b"a"]),
            lambda: store.open_stream(RUN, "other"),
            lambda: append(log, 1),
            log.commit,
            log.rollback,
            log.destroy_key,
            log.close,
            lambda: stream.append(b"two"),
            stream.sync,
            stream.close,
            stream.abandon,
            lambda: stream.size,
        )
        statuses = " ".join(map(status_of, calls))
        store.close()
        return statuses

    assert in_child(use_everything) == " ".join(["FORKED"] * 16)
    files = sorted(path.name for path in (store_path / "keys").iterdir())

    def forget_everything() -> str:
        nonlocal log, stream, store
        del log, stream, store
        return "gone"

    assert in_child(forget_everything) == "gone"
    assert sorted(path.name for path in (store_path / "keys").iterdir()) == files
    append(log, 1)
    log.commit()
    assert stream.append(b"two") == 1
    assert store.get_leaves(stream.close()) == [b"one", b"two"]
    assert store.integrate() == 1


def test_hashing_works_in_a_forked_child() -> None:
    hasher = _core.Hasher(b"ab")

    def finish() -> str:
        hasher.update(b"c")
        return hasher.hexdigest() + _core.MerkleTree([b"a"]).root().hex()

    expected = _core.hash_bytes(b"abc").hex() + _core.merkle_root([b"a"]).hex()
    assert in_child(finish) == expected
