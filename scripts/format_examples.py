"""Recomputes the worked examples of docs/format.md, section 12, and writes them into it.

    python scripts/format_examples.py            rewrite the blocks that differ
    python scripts/format_examples.py --check    exit 1 where one differs

Every fenced block with ``example=<name>`` in its info string is the value of that name. The values
are made with the functions of verifier/ alone; tests hold them against mlprov's.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import functools
import hashlib
import re
import struct
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "verifier"))

import evidence_maker as maker  # noqa: E402
import mlprov_verify as verifier  # noqa: E402
from mlprov_verify import Json, JsonObject, canonical_json  # noqa: E402

DOCUMENT = ROOT / "docs" / "format.md"
OWNER_SEED, RUN_SEED, LOG_SEED = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
RUN = "019aa5c1-5a40-7000-8000-000000000001"
ORIGIN = "mlprov/store/0123456789abcdef"
SPEC = b"An example; a real bundle has the specification here.\n"

MATRIX = struct.pack("<4f", 1.0, -2.0, 0.5, -0.0)
BIAS = bytes.fromhex("c03f80bf")  # 1.5 and -1 as bfloat16
ROWS = [struct.pack("<2f", 2 * row, 2 * row + 1) for row in range(3)]
LABELS = [struct.pack("<q", label) for label in (7, 8, 9)]

# A fence, its info string with the name, the content with its last newline.
_BLOCK = re.compile(r"^```(?P<kind>\w+) example=(?P<name>[\w-]+)\n(?P<body>.*?)^```$", re.M | re.S)


def tensor(data: bytes, dtype: str, shape: list[int]) -> JsonObject:
    """The members of a tensor leaf but its name."""
    sizes: list[Json] = list(shape)
    digest = verifier.digest_text(data)
    return {"digest": digest, "dtype": dtype, "len": len(data), "shape": sizes}


def reference(leaves: list[bytes]) -> JsonObject:
    """The tree reference of a tree over these leaves."""
    return {"root": f"sha256:{verifier.merkle_root(leaves).hex()}", "size": len(leaves)}


def encoded(path: list[bytes]) -> list[Json]:
    """Hashes of a path as JSON has them."""
    return [base64.b64encode(item).decode("ascii") for item in path]


def weight_leaves() -> list[bytes]:
    """Three leaves, two of them tied, in order of name."""
    return [
        canonical_json({"name": "bias", **tensor(BIAS, "BF16", [2])}),
        canonical_json({"name": "embed.weight", **tensor(MATRIX, "F32", [2, 2])}),
        canonical_json({"name": "head.weight", **tensor(MATRIX, "F32", [2, 2])}),
    ]


def batch_leaf() -> bytes:
    """A batch that has something of nearly every kind."""
    note: JsonObject = {"digest": verifier.digest_text(b"note"), "len": 4}
    notes: list[Json] = ["text", True, None, 0.5, 1, {"$float": "-Infinity"}]
    notes += [{"$int": "18446744073709551615"}, {"$bytes": note}, {"$opaque": "builtins.object"}]
    items: JsonObject = {
        "x": {"$tensor": tensor(b"".join(ROWS[:2]), "F32", [2, 2])},
        "notes": notes,
        "$$escaped": {"$pairs": [[1, "one"], [2, "two"]]},
    }
    return canonical_json({"batch": 0, "items": items})


def sample_items(index: int) -> bytes:
    """The items of a sample of two arrays, as the text that is hashed."""
    row: JsonObject = {"$tensor": tensor(ROWS[index], "F32", [2])}
    label: JsonObject = {"$tensor": tensor(LABELS[index], "I64", [])}
    return canonical_json([row, label])


def sample_leaf(index: int) -> bytes:
    """The leaf of that sample."""
    text = sample_items(index)
    digest = verifier.digest_text(text)
    return canonical_json({"digest": digest, "index": index, "len": len(text)})


def sorted_samples() -> list[bytes]:
    """The leaves of the sorted sample tree."""
    return sorted(bytes.fromhex(verifier.digest_text(sample_items(i))[7:]) for i in range(3))


@dataclasses.dataclass(frozen=True)
class Keys:
    """The three keys of the example, from fixed seeds."""

    owner: verifier.Key
    run: verifier.Key
    log: verifier.Key


@functools.cache
def keys() -> Keys:
    """The keys, named as section 6 names them."""
    owner, run, log = map(maker.public_key, (OWNER_SEED, RUN_SEED, LOG_SEED))
    return Keys(
        verifier.Key(verifier.owner_name(owner), owner),
        verifier.Key(f"mlprov/run/{RUN}", run),
        verifier.Key(ORIGIN, log),
    )


@functools.cache
def statement() -> bytes:
    """The owner's statement, a note."""
    members: JsonObject = {
        "log_key": str(keys().log),
        "log_origin": ORIGIN,
        "run": RUN,
        "run_key": str(keys().run),
        "time": "2026-11-21T09:30:00.000Z",
        "version": 1,
    }
    text = verifier.STATEMENT_TYPE + canonical_json(members) + b"\n"
    return maker.sign_note(text, keys().owner.name, OWNER_SEED)


def start_record() -> JsonObject:
    """run.start with every member of section 5."""
    return {
        "type": "run.start",
        "seq": 0,
        "time": "2026-11-21T09:30:00.000Z",
        "version": 1,
        "run": RUN,
        "name": "example",
        "project": None,
        "mlprov": "0.1.0",
        "algorithm": "blake3",
        "owner": statement().decode(),
        "owner_key": str(keys().owner),
        "config": {"lr": 0.001},
        "code": {"cells": None, "git": None, "modules": []},
        "environment": {
            "python": "3.11.7",
            "platform": "Linux-6.1-x86_64",
            "packages": {},
            "torch": None,
            "argv": ["train.py"],
            "variables": {},
        },
        "seeds": {"torch": "18446744073709551615", "python_hash": None, "rng": {}},
        "settings": {"every": "epoch", "on_error": "warn", "snapshot": "inline"},
        "parents": [],
        "tags": [],
        "group": None,
        "notes": None,
        "redacted": [],
    }


def epoch_record() -> JsonObject:
    """An epoch of one batch."""
    stream: JsonObject = {
        "role": "train",
        "tree": reference([batch_leaf()]),
        "indices": None,
        "batches": 1,
        "samples": 2,
        "bytes": 16,
    }
    return {
        "type": "epoch",
        "seq": 1,
        "time": "2026-11-21T09:30:01.250Z",
        "epoch": 0,
        "guard": "inline",
        "interrupted": False,
        "weights": reference(weight_leaves()),
        "aliases": [["embed.weight", "head.weight"]],
        "buffers": None,
        "optimizer": None,
        "rng": {},
        "streams": [stream],
        "metrics": {"loss": 0.25},
        "privacy": None,
    }


def end_record() -> JsonObject:
    """run.end of a run without gaps."""
    return {
        "type": "run.end",
        "seq": 2,
        "time": "2026-11-21T09:30:01.500Z",
        "status": "finished",
        "exception": None,
        "epochs": 1,
        "batches": 1,
        "gaps": 0,
        "overhead": {"seconds": 0.001, "share": 0.002},
        "seconds": 1.5,
    }


@functools.cache
def records() -> tuple[bytes, ...]:
    """The run log's three leaves."""
    return tuple(map(canonical_json, (start_record(), epoch_record(), end_record())))


@functools.cache
def heads() -> tuple[bytes, ...]:
    """The heads of the first one, two and three records."""
    notes = []
    for size in (1, 2, 3):
        root = verifier.merkle_root(records()[:size])
        text = maker.checkpoint_text(keys().run.name, size, root)
        notes.append(maker.sign_note(text, keys().run.name, RUN_SEED))
    return tuple(notes)


def log_checkpoint() -> bytes:
    """The store log: its entries are the three heads."""
    text = maker.checkpoint_text(ORIGIN, 3, verifier.merkle_root(heads()))
    return maker.sign_note(text, ORIGIN, LOG_SEED)


def log_proof(index: int) -> JsonObject:
    """Where a head is in the store log."""
    return {"index": index, "path": encoded(maker.inclusion_proof(index, heads()))}


def entries() -> dict[str, bytes]:
    """Every entry of the bundle but the manifest and its signature."""
    root = verifier.merkle_root(weight_leaves()).hex()
    found = {
        "SPEC.md": SPEC,
        "run.jsonl": b"".join(record + b"\n" for record in records()),
        "log/3/checkpoint": log_checkpoint(),
        f"trees/{root}.leaves": maker.write_leaves(weight_leaves()),
    }
    for name, key in (("owner", keys().owner), ("run", keys().run), ("log", keys().log)):
        found[f"keys/{name}.vkey"] = f"{key}\n".encode()
    for index, head in enumerate(heads()):
        found[f"heads/{index + 1}.note"] = head
        found[f"log/3/{index + 1}.proof"] = canonical_json(log_proof(index))
    return found


def manifest() -> bytes:
    """manifest.json."""
    listed: JsonObject = {
        name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        for name, data in entries().items()
    }
    members: JsonObject = {
        "entries": listed,
        "format": "mlprov-bundle",
        "open": False,
        "previous": None,
        "revision": 1,
        "run": RUN,
        "spec": hashlib.sha256(SPEC).hexdigest(),
        "version": 1,
    }
    return canonical_json(members)


def manifest_signature() -> bytes:
    """manifest.sig."""
    digest = hashlib.sha256(manifest()).hexdigest()
    text = verifier.MANIFEST_TYPE + f"sha256:{digest}\n".encode()
    return maker.sign_note(text, keys().owner.name, OWNER_SEED)


def bundle() -> bytes:
    """The bundle's bytes."""
    signed = {"manifest.json": manifest(), "manifest.sig": manifest_signature()}
    return maker.write_archive({**entries(), **signed})


def proof_file() -> bytes:
    """The proof that epoch 0 of the run had this head.weight."""
    leaves = weight_leaves()
    claim: JsonObject = {
        "field": ["weights"],
        "index": 2,
        "leaf": leaves[2].decode(),
        "path": encoded(maker.inclusion_proof(2, leaves)),
        "size": 3,
    }
    record: JsonObject = {
        "index": 1,
        "leaf": records()[1].decode(),
        "path": encoded(maker.inclusion_proof(1, records())),
        "size": 3,
    }
    log: JsonObject = {"checkpoint": log_checkpoint().decode(), **log_proof(2)}
    return canonical_json(
        {
            "format": "mlprov-proof",
            "version": 1,
            "kind": "tensor",
            "claim": claim,
            "record": record,
            "head": heads()[2].decode(),
            "log": log,
            "owner": statement().decode(),
            "owner_key": str(keys().owner),
        }
    )


def anchor_digest() -> str:
    """What every anchor of the checkpoint puts on record."""
    return f"sha256:{hashlib.sha256(verifier.parse_note(log_checkpoint()).text).hexdigest()}"


def ipfs_anchor() -> bytes:
    """The checkpoint's note as one raw block."""
    block = bytes.fromhex("01551220") + hashlib.sha256(log_checkpoint()).digest()
    cid = "b" + base64.b32encode(block).decode().rstrip("=").lower()
    return canonical_json({"cid": cid, "kind": "ipfs", "version": 1})


def wrapped_hex(data: bytes) -> str:
    """Hex, 48 bytes a line."""
    text = data.hex()
    return "\n".join(text[at : at + 96] for at in range(0, len(text), 96))


def examples() -> dict[str, str]:
    """Name → content of every example, without the newline before the closing fence."""
    leaves = weight_leaves()
    samples = [sample_leaf(index) for index in range(3)]
    values: dict[str, bytes | str] = {
        "tensor-bytes": MATRIX.hex(),
        "tensor-digest": verifier.digest_text(MATRIX),
        "tensor-leaf": leaves[2],
        "tensor-leaf-hash": verifier.leaf_hash(leaves[2]).hex(),
        "tied-leaves": b"\n".join(leaves),
        "tied-aliases": canonical_json([["embed.weight", "head.weight"]]),
        "weights-tree": canonical_json(reference(leaves)),
        "weights-path": canonical_json(encoded(maker.inclusion_proof(2, leaves))),
        "leaves-file": wrapped_hex(maker.write_leaves(leaves)),
        "batch-leaf": batch_leaf(),
        "sample-items": sample_items(0),
        "sample-leaf": samples[0],
        "sample-tree": canonical_json(reference(samples)),
        "sample-sorted": canonical_json(reference(sorted_samples())),
        "keys": "\n".join(map(str, (keys().owner, keys().run, keys().log))),
        "owner-statement": statement()[:-1],
        "run-log": b"\n".join(records()),
        "run-head": heads()[2][:-1],
        "log-checkpoint": log_checkpoint()[:-1],
        "log-proof": canonical_json(log_proof(2)),
        "anchor-digest": anchor_digest(),
        "ipfs-anchor": ipfs_anchor(),
        "manifest": manifest(),
        "manifest-sig": manifest_signature()[:-1],
        "bundle": f"{len(bundle())} bytes, sha256:{hashlib.sha256(bundle()).hexdigest()}",
        "proof-file": proof_file(),
    }
    return {
        name: value if isinstance(value, str) else value.decode() for name, value in values.items()
    }


def read_examples(text: str) -> dict[str, str]:
    """Name → content of every block in the document."""
    return {match["name"]: match["body"].removesuffix("\n") for match in _BLOCK.finditer(text)}


def rewrite(text: str) -> str:
    """The document with every block recomputed."""
    values = examples()

    def block(match: re.Match[str]) -> str:
        return f"```{match['kind']} example={match['name']}\n{values[match['name']]}\n```"

    return _BLOCK.sub(block, text)


def main() -> int:
    """Rewrite or check the document; returns the exit code."""
    parser = argparse.ArgumentParser(description="Recompute the worked examples of docs/format.md.")
    parser.add_argument("--check", action="store_true", help="change nothing")
    options = parser.parse_args()
    old = DOCUMENT.read_text(encoding="utf-8")
    new = rewrite(old)
    if old == new:
        return 0
    if options.check:
        values = examples()
        stale = [name for name, body in read_examples(old).items() if values[name] != body]
        sys.stderr.write(f"docs/format.md: stale examples: {', '.join(stale)}\n")
        return 1
    DOCUMENT.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
