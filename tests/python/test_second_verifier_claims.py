"""The second verifier on what is claimed of single tensors, and on input that claims nothing."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any

import pytest
from agreement import mlprov_verdict
from bundles_for_tests import (
    BundleBuilder,
    check,
    check_states,
    encoded,
    failing,
    pinned,
    saved,
    standard_run,
    tensor,
    v,
    verify,
    weights,
)

BIAS = {"name": "bias"} | tensor(weights(2)["bias"][0], "F32", [2])
PARTS = {"layout": "sparse_coo", "name": "bias", "parts": {"values": {}}, "shape": [2]}
BAD_LEAVES: list[dict[str, Any]] = [
    BIAS | {"note": 1},
    BIAS | {"len": "8"},
    BIAS | {"dtype": 5},
    BIAS | {"shape": None},
    BIAS | {"shape": [True]},
    BIAS | {"digest": "md5:00"},
    BIAS | {"digest": "blake3:00"},
    BIAS | {"digest": BIAS["digest"].upper()},
    BIAS | {"parts": {}},
    {name: value for name, value in BIAS.items() if name != "dtype"},
    PARTS | {"parts": {}},
    PARTS | {"layout": 5},
    PARTS | {"layout": None},
    PARTS | {"shape": "x"},
    PARTS | {"shape": None},
    PARTS | {"digest": BIAS["digest"]},
    PARTS | {"digest": None},
]


def proof_of(leaf: dict[str, Any]) -> dict[str, Any]:
    """A proof of a tensor of the last epoch that was written so."""
    builder = standard_run()
    builder.retree(6, "weights", [leaf])
    proof: dict[str, Any] = builder.proof("tensor", 6, ["weights"], 0)
    return proof


def asked(proof: dict[str, Any], **questions: Any) -> v.Verdict:
    return v.verify_bytes(v.canonical_json(proof), pinned(**questions))


@pytest.mark.parametrize("leaf", BAD_LEAVES, ids=str)
def test_what_is_no_leaf_of_a_tensor_is_refused_where_the_tensor_is_asked_for(
    tmp_path: Path, leaf: dict[str, Any]
) -> None:
    proof = proof_of(leaf)
    claim = check_states(asked(proof))["claim"]
    for questions in (
        {"tensors": ["bias"]},
        {"model": saved(tmp_path, weights(2))},
        {"model": tmp_path / "absent"},
    ):
        state = check_states(asked(proof, **questions))["tensor:bias"]
        assert state == ("fails" if claim == "holds" else "unchecked")


@pytest.mark.parametrize("leaf", BAD_LEAVES, ids=str)
def test_a_weights_tree_with_a_leaf_of_no_tensor_fails_for_every_tensor(
    leaf: dict[str, Any],
) -> None:
    builder = standard_run()
    other = {"name": "z"} | tensor(b"\0", "U8", [1])
    builder.records[6]["aliases"] = []
    builder.retree(6, "weights", [leaf, other])
    assert failing(verify(builder.build(), tensors=["z"])) == ["tensor:z"]


@pytest.mark.parametrize("leaf", [BIAS, PARTS], ids=["tensor", "parts"])
def test_a_tensor_in_one_piece_or_in_parts_is_one(leaf: dict[str, Any]) -> None:
    assert asked(proof_of(leaf), tensors=["bias"]).result == "holds"
    sha256 = {"name": "bias"} | tensor(weights(2)["bias"][0], "F32", [2], "sha256")
    assert asked(proof_of(sha256), tensors=["bias"]).result == "holds"


def changed(**claim: Any) -> dict[str, Any]:
    proof = proof_of(BIAS)
    return proof | {"claim": proof["claim"] | claim}


@pytest.mark.parametrize(
    "claim",
    [
        {"path": encoded([bytes(32)]) * 65},
        {"field": ["streams", -1, "tree"]},
        {"field": ["streams", 0.5, "tree"]},
        {"field": [True]},
    ],
    ids=["65 hashes", "index -1", "index 0.5", "true"],
)
def test_a_claim_of_another_form_is_no_proof(tmp_path: Path, claim: dict[str, Any]) -> None:
    model = saved(tmp_path, weights(2))
    verdict = asked(changed(**claim), model=model, tensors=["bias"])
    assert failing(verdict) == ["proof"]
    states = check_states(verdict)
    assert states["model"] == states["tensor:bias"] == "unchecked"


def test_64_hashes_are_a_path_though_none_of_this_tree() -> None:
    assert failing(asked(changed(path=encoded([bytes(32)]) * 64))) == ["claim"]


def test_65_hashes_are_no_path_of_the_store_log() -> None:
    builder = standard_run()
    entries = builder.entries()
    folder = next(name for name in entries if name.endswith("/checkpoint")).rpartition("/")[0]
    long = {"index": 1, "path": encoded([bytes(32)]) * 65}
    entries[f"{folder}/3.proof"] = v.canonical_json(long)
    assert failing(v.verify_bytes(builder.seal(entries), pinned())) == ["log"]


@pytest.mark.parametrize("data", [b"", b" {}", b"\xef\xbb\xbf{}", b"[]", b"\0PK\x03\x04", b"P"])
def test_of_what_is_neither_bundle_nor_proof_there_are_no_checks(data: bytes) -> None:
    verdict = v.verify_bytes(data, pinned(tensors=["bias"]))
    assert (verdict.result, verdict.checks) == ("could not check", [])
    assert verdict.reason == "neither a bundle nor a proof file"
    assert mlprov_verdict(data, pinned()) == ("could not check", {})
    assert "neither" in v.format_text(verdict)
    assert "neither" in v.format_json(verdict)


def test_an_object_with_a_name_twice_is_refused_in_linear_time() -> None:
    names = ",".join(f'"{number:06}":0' for number in range(400_000))
    verdict = v.verify_bytes(f'{{{names},"399999":0}}'.encode(), pinned())
    assert failing(verdict) == ["proof"]
    assert check(verdict, "proof").detail.endswith("has the key '399999' twice")


# -- archives


def archive(entries: list[tuple[bytes, bytes]]) -> bytes:
    """The archive of section 8 of entries of any names."""
    body, directory = b"", b""
    for name, content in sorted(entries):
        common = (zlib.crc32(content), len(content), len(content), len(name))
        central = (0x0314, 20, 0, 0, 0, 0x21, *common, 0, 0, 0, 0, 0o100600 << 16, len(body))
        directory += v._CENTRAL.pack(b"PK\x01\x02", *central) + name
        body += v._LOCAL.pack(b"PK\x03\x04", 20, 0, 0, 0, 0x21, *common, 0) + name + content
    count = len(entries)
    ends = (0, 0, count, count, len(directory), len(body), 0)
    return body + directory + v._END.pack(b"PK\x05\x06", *ends)


@pytest.mark.parametrize("name", [b"a\0b", b"SPEC.md\0", b"", b"/", b"a/", b"..", b"x" * 65535])
@pytest.mark.parametrize("content", [b"", b"x"])
def test_a_later_version_may_have_entries_of_any_ascii_name(name: bytes, content: bytes) -> None:
    builder = BundleBuilder()
    builder = standard_run()
    old = {key: bytes(value) for key, value in v.read_archive(builder.build()).items()}
    later = v.canonical_json(builder.manifest({}) | {"version": 2})
    for manifest, result in ((old["manifest.json"], "does not hold"), (later, "could not check")):
        entries = [
            (key.encode(), value) for key, value in (old | {"manifest.json": manifest}).items()
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            verdict = v.verify_bytes(archive([*entries, (name, content)]), pinned())
        assert verdict.result == result
        assert failing(verdict) == (["archive"] if result == "does not hold" else [])


def test_a_name_that_is_not_ascii_is_refused_in_every_version() -> None:
    builder = standard_run()
    later = v.canonical_json(builder.manifest({}) | {"version": 2})
    for name in (b"\xff", "ü".encode()):
        data = archive([(b"manifest.json", later), (name, b"x")])
        assert failing(v.verify_bytes(data, pinned())) == ["archive"]
