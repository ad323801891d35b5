"""The worked examples of docs/format.md section 12 are true, by three ways of computing them.

By ``scripts/format_examples.py`` (the second verifier's functions), from the printed text alone
with nothing but hashlib, blake3 and cryptography, and by mlprov where it is built.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from bundles_for_tests import ROOT, failing, v
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprov import anchor_files

sys.path.insert(0, str(ROOT / "scripts"))

import format_examples

TEXT = (ROOT / "docs" / "format.md").read_text(encoding="utf-8")
PRINTED = format_examples.read_examples(TEXT)
COMPUTED = format_examples.examples()


def printed_bytes(name: str) -> bytes:
    return PRINTED[name].encode()


def printed_lines(name: str) -> list[bytes]:
    return printed_bytes(name).split(b"\n")


@pytest.mark.parametrize("name", COMPUTED)
def test_an_example_is_what_its_inputs_give(name: str) -> None:
    assert PRINTED.get(name) == COMPUTED[name], "run: python scripts/format_examples.py"


def test_every_block_of_the_document_is_computed_and_stands_there_once() -> None:
    assert sorted(PRINTED) == sorted(COMPUTED)
    assert TEXT.count(" example=") == len(COMPUTED)


# -- from the printed text alone


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def three(leaves: list[bytes]) -> bytes:
    """The root over three leaves, written out."""
    first, second, third = map(leaf, leaves)
    return node(node(first, second), third)


def test_the_tensor_is_hashed_as_printed() -> None:
    data = bytes.fromhex(PRINTED["tensor-bytes"])
    assert PRINTED["tensor-digest"] == f"blake3:{blake3(data).hexdigest()}"
    assert json.loads(PRINTED["tensor-leaf"])["digest"] == PRINTED["tensor-digest"]
    assert leaf(printed_bytes("tensor-leaf")).hex() == PRINTED["tensor-leaf-hash"]


def test_the_tied_leaves_make_the_printed_tree() -> None:
    leaves = printed_lines("tied-leaves")
    tree = json.loads(PRINTED["weights-tree"])
    assert tree == {"root": f"sha256:{three(leaves).hex()}", "size": 3}
    (sibling,) = json.loads(PRINTED["weights-path"])
    assert base64.b64decode(sibling) == node(leaf(leaves[0]), leaf(leaves[1]))
    file = bytes.fromhex(PRINTED["leaves-file"].replace("\n", ""))
    assert len(file) == sum(len(data) + 8 for data in leaves)
    assert all(len(data).to_bytes(4, "big") + data in file for data in leaves)


def test_the_samples_make_the_printed_leaf() -> None:
    items, sample = printed_bytes("sample-items"), json.loads(PRINTED["sample-leaf"])
    digest = f"blake3:{blake3(items).hexdigest()}"
    assert sample == {"digest": digest, "index": 0, "len": len(items)}


def printed_note(name: str) -> tuple[bytes, bytes]:
    """Text and signature line of a note that is printed."""
    text, _, line = (printed_bytes(name) + b"\n").rpartition(b"\n\n")
    return text + b"\n", line


@pytest.mark.parametrize(
    ("note", "seed", "key"),
    [
        ("owner-statement", 1, 0),
        ("manifest-sig", 1, 0),
        ("run-head", 2, 1),
        ("log-checkpoint", 3, 2),
    ],
)
def test_a_note_is_signed_by_the_key_of_the_seed(note: str, seed: int, key: int) -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    public = private.public_key().public_bytes_raw()
    name, key_id, encoded = PRINTED["keys"].split("\n")[key].split("+", 2)
    assert base64.b64decode(encoded) == b"\x01" + public
    identity = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]
    assert identity.hex() == key_id
    text, line = printed_note(note)
    signature = base64.b64encode(identity + private.sign(text)).decode()
    assert line.decode() == f"\u2014 {name} {signature}\n"


def test_the_head_and_the_log_are_over_what_is_printed() -> None:
    head = printed_note("run-head")[0].decode().split("\n")
    assert base64.b64decode(head[2]) == three(printed_lines("run-log"))
    checkpoint = printed_note("log-checkpoint")[0].decode().split("\n")
    proof = json.loads(PRINTED["log-proof"])
    note = printed_bytes("run-head") + b"\n"
    root = node(base64.b64decode(proof["path"][0]), leaf(note))
    assert (proof["index"], base64.b64decode(checkpoint[2])) == (2, root)


def test_the_anchors_are_of_the_printed_checkpoint() -> None:
    text = hashlib.sha256(printed_note("log-checkpoint")[0]).hexdigest()
    assert PRINTED["anchor-digest"] == f"sha256:{text}"
    note = printed_bytes("log-checkpoint") + b"\n"
    assert anchor_files.anchor_digest(note).hex() == text
    cid = anchor_files.read_ipfs(printed_bytes("ipfs-anchor"), note, "it").cid
    assert base64.b32decode(cid[1:].upper() + "=" * 6)[-32:] == hashlib.sha256(note).digest()


def test_the_manifest_lists_what_is_printed() -> None:
    entries = json.loads(PRINTED["manifest"])["entries"]
    contents = {
        "SPEC.md": b"An example; a real bundle has the specification here.\n",
        "heads/3.note": printed_bytes("run-head") + b"\n",
        "log/3/3.proof": printed_bytes("log-proof"),
        "run.jsonl": printed_bytes("run-log") + b"\n",
    }
    for name, data in contents.items():
        assert entries[name] == {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    digest = hashlib.sha256(printed_bytes("manifest")).hexdigest()
    assert printed_note("manifest-sig")[0] == f"mlprov/manifest@v1\nsha256:{digest}\n".encode()


def test_the_bundle_and_the_proof_file_hold() -> None:
    request = v.Request(keys=[v.parse_vkey(PRINTED["keys"].split("\n")[0])])
    for data in (format_examples.bundle(), printed_bytes("proof-file")):
        verdict = v.verify_bytes(data, request)
        assert (verdict.result, failing(verdict)) == ("holds", [])


def test_the_script_finds_a_stale_example() -> None:
    stale = TEXT.replace(PRINTED["weights-tree"], "{}")
    assert format_examples.read_examples(stale)["weights-tree"] == "{}"
    assert format_examples.rewrite(stale) == TEXT


# -- by mlprov


@pytest.fixture(scope="module")
def mlprov() -> Any:
    return pytest.importorskip("mlprov", reason="mlprov is not built")


def test_mlprov_gives_the_same_tensor_and_tree(mlprov: Any) -> None:
    data = bytes.fromhex(PRINTED["tensor-bytes"])
    assert str(mlprov.digest(data)) == PRINTED["tensor-digest"]
    tree = mlprov.MerkleTree()
    tree.extend(printed_lines("tied-leaves"))
    expected = json.loads(PRINTED["weights-tree"])["root"].removeprefix("sha256:")
    assert bytes(tree.root()).hex() == expected


def test_mlprov_gives_the_same_leaves_for_the_tied_model(mlprov: Any, tmp_path: Path) -> None:
    from bundles_for_tests import write_safetensors

    matrix = (format_examples.MATRIX, "F32", [2, 2])
    tensors = {"bias": (format_examples.BIAS, "BF16", [2])}
    tensors |= {"embed.weight": matrix, "head.weight": matrix}
    path = tmp_path / "model.safetensors"
    path.write_bytes(write_safetensors(tensors))
    assert str(mlprov.digest_model(path).root).removeprefix("sha256:") == (
        json.loads(PRINTED["weights-tree"])["root"].removeprefix("sha256:")
    )


def test_mlprov_accepts_the_bundle_and_the_proof_file(mlprov: Any, tmp_path: Path) -> None:
    key = PRINTED["keys"].split("\n")[0]
    bundle, proof = tmp_path / "example.mlprov", tmp_path / "example.proof"
    bundle.write_bytes(format_examples.bundle())
    proof.write_bytes(printed_bytes("proof-file"))
    for path in (bundle, proof):
        verdict = mlprov.verify(path, keys=[key])
        assert verdict.ok, verdict.checks
