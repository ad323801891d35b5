"""Every function and method of the core with arguments that it takes.

``CALLS`` is the table; ``World`` has the objects and files that the calls are made on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlprov import _core

RUN = "019aa5c1-5a40-7000-8000-000000000001"
HASH = bytes(32)
TIME = "2026-11-21T09:30:00.000Z"
CID36 = b"\x01\x55\x12\x20" + HASH
CID_TEXT = _core.cid_text(CID36)
UNIXFS = (1024, 174, True, 1)
WRITABLE = os.open(os.devnull, os.O_WRONLY)
INTENT = (1, 0, 1, 2, 21000, None, 0, b"data")

# What no argument of a kind may be. None stands apart: some arguments are optional.
WRONG: dict[str, tuple[Any, ...]] = {
    "buffer": (5, "text", 1.5, [], {}, object(), [b"a"]),
    "hash": (5, "a" * 32, 1.5, [], object()),
    "seconds": ("5", b"5", [], object(), 1j),
    "int": ("5", 1.5, b"5", [], object(), 1j),
    "text": (5, b"bytes", 1.5, [], object()),
    "path": (5, 1.5, [], object(), bytearray(b"a")),
    "buffers": (5, 1.5, object(), b"ab", "ab", ["a"], [5], [None], [b"a", "b"]),
    "hashes": (5, 1.5, object(), HASH, "ab", ["a" * 32], [5], [None]),
    "paths": (5, 1.5, object(), b"ab", "ab", [5], [None], [bytearray(b"a")]),
    "callable": (5, "text", b"bytes", [], object()),
    "names": (5, 1.5, object(), b"blake3", "blake3", [5], [None], [b"blake3"]),
    "texts": (5, object(), "ab", b"ab", [5], [None], [b"ab"], ["a", "b"], []),
    "pairs": (5, object(), "ab", b"ab", [5], [("key",)], [("key", 1)], [(b"key", "value")]),
    "leaves": (
        5,
        object(),
        "ab",
        b"ab",
        [5],
        [None],
        ["ab"],
        [("a",)],
        [("a", "b")],
        [(b"a", b"b")],
    ),
    "objects": (5, object(), "ab", b"ab", ["text"], [None], [object()], [5]),
    "module": (5, object(), None, 1.5),
    "kinds": (5, object(), None, 1.5, "text"),
    "object": ("text", None, object(), 5, [1]),
    "intent": (
        5,
        "text",
        (),
        [1] * 8,
        (1, 2, 3, 4, "5", None, 7, b""),
        (1, 2, 3, 4, 5, b"", 7, b""),
        (1, 2, 3, 4, 5, None, None, b""),
        (1, 2, 3, 4, 5, None, 7, "data"),
    ),
    "cut": (5, "cut", (), [1, 2, True, 1], ("1", 2, True, 1), (1, 2, True), (1, 2, True, 1.5)),
    "row": (
        5,
        "row",
        (),
        (HASH,),
        [HASH, "F32", (1,), 4],
        (HASH, "F32", [1], 4),
        (HASH, b"F32", (1,), 4),
    ),
}


@dataclass(frozen=True)
class Call:
    """One function or method with arguments that it takes.

    ``kinds`` names the kind of each; a ``?`` after it says that None is allowed.
    """

    name: str
    arguments: tuple[Any, ...]
    kinds: tuple[str, ...]
    keywords: dict[str, tuple[Any, str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


class Module:
    """What the core looks at in a torch module; its tensors may be anything."""

    def __init__(self) -> None:
        self._parameters = {"weight": 1.5, "bias": None}
        self._buffers = {"mean": 2.5}
        self._modules: dict[str, Module] = {}
        self._non_persistent_buffers_set: set[str] = set()


class Kinds(dict[type, str | None]):
    def __missing__(self, kind: type) -> None:
        return None


def allocate(entries: list[Any], metadata: dict[str, str]) -> list[bytearray]:
    return [bytearray(end - begin) for *_, begin, end in entries]


KINDS = Kinds({Module: "", float: ""})
KEYED = {"key": (None, "hash?")}
BY = {"algorithm": ("sha256", "text")}
THREADS = {"threads": (2, "int?")}
PROGRESS = {"progress": (max, "callable?")}

CALLS = [
    Call("set_exceptions", ({},), ("classes",)),
    Call("set_hash_kernel", ("portable",), ("text",)),
    Call("set_hash_threads", (_core.hash_threads(),), ("int",)),
    Call("hash_bytes", (b"data",), ("buffer",), {**BY, **THREADS}),
    Call("hash_many", ([b"a", b"b"],), ("buffers",), {**BY, **THREADS}),
    Call("hash_many_by", ([b"a"], ["blake3", "sha256"]), ("buffers", "names"), THREADS),
    Call(
        "hash_file",
        ("FILE",),
        ("path",),
        {"algorithms": (["blake3"], "names"), **THREADS, **PROGRESS},
    ),
    Call("hash_files", (["file"],), ("paths",), {**BY, **THREADS, **PROGRESS}),
    Call(
        "hash_file_ranges",
        ("FILE", [(0, 1)]),
        ("path", "ranges"),
        {**BY, "whole": (["blake3"], "names"), **THREADS},
    ),
    Call("blake3_subtree", (b"data", 0), ("buffer", "int"), KEYED),
    Call("blake3_groups", (b"data",), ("object",), THREADS),
    Call("slice_prove", (b"data", 4, 1, 2, b""), ("object", "int", "int", "int", "buffer")),
    Call(
        "slice_verify",
        (_core.hash_bytes(b"data"), 4, 1, b"at", b"d", [], b"a"),
        ("hash", "int", "int", "buffer", "buffer", "hashes", "buffer"),
    ),
    Call("blake3_parent", (HASH, HASH), ("hash", "hash"), {**KEYED, "root": (True, "any")}),
    Call(
        "Hasher", (b"data",), ("buffer",), {"algorithm": ("blake3", "text"), "key": (HASH, "hash?")}
    ),
    Call("Hasher", (b"data",), ("buffer",), {"context": ("c", "text?")}),
    Call("Hasher().update", (b"data",), ("buffer",)),
    Call("Hasher().digest", (40,), ("int?",), {"seek": (7, "int")}),
    Call("Hasher().hexdigest", (40,), ("int?",), {"seek": (7, "int")}),
    Call("merkle_leaf_hash", (b"leaf",), ("buffer",)),
    Call("merkle_root", ([b"leaf"],), ("buffers",)),
    Call(
        "merkle_verify_inclusion",
        (_core.merkle_leaf_hash(b"a"), _core.merkle_leaf_hash(b"a"), 0, 1, []),
        ("hash", "hash", "int", "int", "hashes"),
    ),
    Call(
        "merkle_verify_consistency",
        (HASH, 1, HASH, 1, []),
        ("hash", "int", "hash", "int", "hashes"),
    ),
    Call("MerkleTree", ([b"leaf"],), ("buffers",)),
    Call("MerkleTree().append", (b"leaf",), ("buffer",)),
    Call("MerkleTree().append_hash", (HASH,), ("hash",)),
    Call("MerkleTree().extend", ([b"leaf"],), ("buffers",)),
    Call("MerkleTree().root", (0,), ("int?",)),
    Call("MerkleTree([b'a']).prove_inclusion", (0, 1), ("int", "int?")),
    Call("MerkleTree([b'a']).prove_consistency", (0, 1), ("int", "int?")),
    Call("json_decode", (b"[1]", 100, 10), ("buffer", "int", "int")),
    Call("cid_of_block", (b"data", "raw"), ("buffer", "text")),
    Call("cid_text", (CID36, "b"), ("buffer", "text")),
    Call("cid_from_text", (CID_TEXT,), ("text",)),
    Call("cid_from_bytes", (CID36,), ("buffer",)),
    Call("cid_of_file", ("FILE", UNIXFS), ("path", "cut"), {**THREADS, **PROGRESS}),
    Call(
        "car_write",
        ("FILE", WRITABLE, "car", UNIXFS),
        ("path", "int", "path", "cut"),
        {**THREADS, **PROGRESS},
    ),
    Call("car_read", ("CAR",), ("path",), PROGRESS),
    Call(
        "car_extract",
        ("CAR", WRITABLE, "file"),
        ("path", "int", "path"),
        {"cid": (None, "hash?"), "max_size": (None, "int?"), **PROGRESS},
    ),
    Call("dag_cbor_encode", ([1, "a"], _core.Store), ()),
    Call("dag_cbor_check", (b"\x01",), ("buffer",)),
    Call("encode_leaves", ([b"leaf"],), ("buffers",)),
    Call("decode_leaves", (b"",), ("buffer",)),
    Call("tensor_digests", ([b"tensor"],), ("objects",), {**BY, **THREADS}),
    Call("tensor_identities", ([b"tensor"],), ("objects",)),
    Call("digest_values", ([b"tensor"], ["blake3", "sha256"]), ("objects", "names"), THREADS),
    Call(
        "tensor_tree",
        (["name"], [b"tensor"]),
        ("texts", "objects"),
        {**BY, **THREADS, "ready": ([("value", b"leaf")], "leaves")},
    ),
    Call("tensors_without_view", ([b"tensor"],), ("objects",)),
    Call("module_tree", ("MODULE", KINDS), ("module", "kinds")),
    Call("tensor_leaf", ("name", (HASH, "F32", (2, 3), 24)), ("text", "row"), BY),
    Call("tensor_digest_staged", ("TENSOR",), ("object",), BY),
    Call(
        "Ticket",
        ([b"tensor"],),
        ("objects",),
        {**BY, **THREADS, "recheck": (False, "any")},
    ),
    Call("Ticket([b'a']).wait", (0.5,), ("seconds?",)),
    Call("StepGate", (max, max), ("callable", "callable")),
    Call("StepGate(max, max).before", (1, 2, 3), ("any", "any", "any")),
    Call("StepGate(max, max).after", (1, 2, 3), ("any", "any", "any")),
    Call("StepGate(max, max).arm", ("MODULE", 2, False, None), ("any", "int", "any", "any")),
    Call("safetensors_entries", ("SAFETENSORS",), ("path",)),
    Call(
        "load_safetensors",
        ("SAFETENSORS", allocate),
        ("path", "callable"),
        {**BY, "whole": ("blake3", "text?"), **THREADS},
    ),
    Call(
        "save_safetensors",
        (os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), "a file", ["name"], [b"tensor"]),
        ("int", "text", "texts", "objects"),
        {**BY, "metadata": ([("key", "value")], "pairs?"), **THREADS},
    ),
    Call("verify_note", ("NOTE", "VKEY"), ("buffer", "text")),
    Call("note_text", ("NOTE",), ("buffer",)),
    Call("parse_checkpoint", (_core.format_checkpoint("o", 1, HASH),), ("text",)),
    Call("format_checkpoint", ("origin", 1, HASH), ("text", "int", "hash")),
    Call("parse_vkey", ("VKEY",), ("text",)),
    Call("format_vkey", ("name", HASH), ("text?", "hash")),
    Call("ed25519_verify", (HASH, bytes(64), b"message"), ("hash", "buffer", "buffer")),
    Call("SigningKey.create", ("NEW", None), ("path", "text?"), {"passphrase": (None, "buffer?")}),
    Call("SigningKey.load", ("KEY", None), ("path", "text?"), {"passphrase": (None, "buffer?")}),
    Call("key.sign_note", ("text\n",), ("text",)),
    Call("keccak256", (b"data",), ("buffer",)),
    Call("ethereum_transaction", ("TRANSACTION",), ("buffer",)),
    Call(
        "ethereum_check_transaction",
        ("TRANSACTION", "ACCOUNT", INTENT),
        ("buffer", "text", "intent"),
    ),
    Call(
        "ethereum_prove",
        (b"{}", b"[]", HASH, HASH),
        ("buffer", "buffer", "hash", "hash"),
        {"header": (None, "buffer?")},
    ),
    Call("ethereum_address", ("0x" + "a" * 40,), ("text",)),
    Call("ethereum_verify", (b"{}", HASH), ("buffer", "hash")),
    Call("ethereum_header", (b"\xc0",), ("buffer",)),
    Call(
        "ipfs_block",
        ("http://127.0.0.1:1", "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku", 9),
        ("text", "text", "int"),
        {"headers": ((), "any"), "ca_file": (None, "text?"), "timeout_ms": (100, "int")},
    ),
    Call(
        "json_rpc",
        ("http://127.0.0.1:1", "eth_chainId", "[]"),
        ("text", "text", "text"),
        {"headers": ((), "any"), "ca_file": (None, "text?"), "timeout_ms": (100, "int")},
    ),
    Call("EthereumKey.from_secret", (b"\1" * 32,), ("buffer",)),
    Call("EthereumKey.create", ("NEW", b"passphrase"), ("path", "buffer")),
    Call("EthereumKey.load", ("KEY", b"passphrase"), ("path", "buffer")),
    Call("account.sign_transaction", (INTENT,), ("intent",)),
    Call("Store", ("STORE",), ("path",), {"create": (True, "any"), "read_only": (False, "any")}),
    Call("store.query", ("SELECT ?", [1]), ("text", "parameters")),
    Call("store.create_run", (RUN, "name", None), ("text", "text", "text?")),
    Call("store.open_run", (RUN,), ("text",)),
    Call("store.open_stream", (RUN, "new"), ("text", "text")),
    Call("store.set_patience", (0,), ("int",)),
    Call(
        "store.plan_file",
        ("ipfs-file", "origin", 1, HASH, b"{}"),
        ("text", "text", "int", "hash", "buffer"),
    ),
    Call(
        "store.plan_anchor",
        ("ethereum", "1", "contract", "account"),
        ("text", "text", "text", "text"),
    ),
    Call("store.put_leaves", ([b"leaf"],), ("buffers",)),
    Call("store.get_leaves", (HASH,), ("hash",)),
    Call("store.has_leaves", (HASH,), ("hash",)),
    Call("store.log_proof", (0, 1), ("int", "int")),
    Call(
        "store.put_import",
        (
            RUN,
            "n",
            None,
            "finished",
            TIME,
            [("run.start", TIME, b"{}")],
            [(1, HASH, b"note")],
            "path",
        ),
        ("text", "text", "text?", "text", "text", "rows", "rows", "text"),
    ),
    Call(
        "log.append", (b"{}",), ("buffer",), {"type": ("run.start", "text"), "time": (TIME, "text")}
    ),
    Call("log.commit", (None,), ("text?",)),
    Call("stream.append", (b"leaf",), ("buffer",)),
    Call("stream.append_indices", ([1, 2],), ("any",)),
    Call("stream.append_batch", (["text"], "blake3", 9), ("any", "text", "int")),
    Call("stream.sync_older", (0,), ("int",)),
]

WITHOUT_ARGUMENTS = [
    "openssl_version",
    "sqlite_version",
    "hash_kernels",
    "hash_kernel",
    "hash_kernel_reason",
    "hash_threads",
    "hash_threads_beside",
    "ticket_load",
    "Ticket([b'a']).poll",
    "Ticket([b'a']).result",
    "Ticket([b'a']).cancel",
    "StepGate(max, max).take",
    "dtypes",
    "torch_bridge",
    "describe_torch_bridge",
    "Hasher().copy",
    "store.integrate",
    "store.resume_anchors",
    "store.checkpoint",
    "log.rollback",
    "stream.sync",
    "tree.tensors",
    "EthereumKey.generate",
]


class World:
    """Objects and files that the calls above are made on."""

    def __init__(self, folder: Path, store: _core.Store) -> None:
        self.store = store
        (folder / "file").write_bytes(b"0123456789")
        with (folder / "car").open("wb") as car:
            _core.car_write(folder / "file", car.fileno(), "car", UNIXFS)
        (folder / "safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")
        self.key = _core.SigningKey.create(folder / "key", None)
        self.account = _core.EthereumKey.from_secret(b"\1" * 32)
        self.log = store.create_run(RUN[:-1] + "9", "name", None)
        self.stream = store.open_stream(RUN, "stream")
        self.module = Module()
        self.module._modules["layer"] = Module()
        self.tree = _core.module_tree(self.module, KINDS)
        self.values: dict[str, Any] = {
            "MODULE": self.module,
            "FILE": folder / "file",
            "CAR": folder / "car",
            "SAFETENSORS": folder / "safetensors",
            "KEY": folder / "key",
            "NEW": folder / "new",
            "STORE": folder / "other",
            "NOTE": self.key.sign_note("text\n"),
            "VKEY": self.key.vkey,
            "TRANSACTION": self.account.sign_transaction(INTENT)[0],
            "ACCOUNT": self.account.address,
        }

    def function(self, name: str) -> Callable[..., Any]:
        names = {
            "store": self.store,
            "key": self.key,
            "account": self.account,
            "log": self.log,
            "stream": self.stream,
            "tree": self.tree,
        }
        found: Any = eval(name, {**vars(_core), **names})
        return found  # type: ignore[no-any-return]

    def filled(self, call: Call) -> tuple[list[Any], dict[str, Any]]:
        def fill(value: Any) -> Any:
            return self.values.get(value, value) if isinstance(value, str) else value

        keywords = {name: fill(value) for name, (value, _) in call.keywords.items()}
        return [fill(value) for value in call.arguments], keywords
