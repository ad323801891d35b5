"""The slow reference's own functions, held against vectors and implementations of others."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import pytest
from bundles_for_tests import v, w
from hypothesis import given, settings
from hypothesis import strategies as st
from vectors_for_tests import vectors_folder

PROFILE = Path(__file__).parents[1] / "json_profile.json"


def refused(data: bytes) -> bool:
    try:
        v.strict_json(data)
    except v.RefusedError:
        return True
    return False


# -- JSON


def test_jsontestsuite_is_read_as_the_committed_profile_says() -> None:
    profile = json.loads(PROFILE.read_text())
    wrong = []
    for path in sorted(vectors_folder("JSONTestSuite", "test_parsing").iterdir()):
        expected = {
            "y": path.name in profile["y_refused"],
            "n": True,
            "i": path.name not in profile["i_accepted"],
        }[path.name[0]]
        if refused(path.read_bytes()) != expected:
            wrong.append(path.name)
    assert wrong == []


def test_jsontestsuites_transformations_crash_nothing() -> None:
    for path in vectors_folder("JSONTestSuite", "test_transform").iterdir():
        refused(path.read_bytes())


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_a_hundred_thousand_brackets_are_refused_not_recursed(opening: bytes) -> None:
    assert refused(opening * 100_000)
    assert refused(opening * 100_000 + b"1" + b"]" * 100_000)


def test_nesting_of_64_is_read_and_of_65_refused() -> None:
    for depth, expected in ((64, False), (65, True)):
        assert refused(b"[" * depth + b"]" * depth) is expected
        assert refused(b'{"a":' * depth + b"1" + b"}" * depth) is expected
        nested: Any = []
        for _ in range(depth - 1):
            nested = [nested]
        try:
            v.canonical_json(nested)
            written = True
        except v.RefusedError:
            written = False
        assert written is not expected


def test_brackets_within_strings_are_no_nesting() -> None:
    assert not refused(b'"' + b"[" * 1000 + b'\\"' + b"{" * 1000 + b'"')


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a\\u0000":1}',
        '"\\ud800"',
        '{"\\udfff":1}',
        '["\\ud83d"]',
        "NaN",
        "-Infinity",
        "1e400",
        "9007199254740992",
        "-9007199254740992",
        "1" * 5000,
        "\ufeff1",
        "\uff11",
        "1\u00a0",
        "'a'",
        "",
        " ",
        '"a\0"',
    ],
)
def test_what_the_profile_forbids_is_refused(text: str) -> None:
    assert refused(text.encode())


@pytest.mark.parametrize("text", ["9007199254740991", "-9007199254740991", '"\\u0000"', "1e300"])
def test_what_the_profile_allows_is_read(text: str) -> None:
    assert not refused(text.encode())


def test_a_text_above_the_limit_is_refused() -> None:
    assert refused(b'"' + b"a" * v.MAX_JSON + b'"')


# RFC 8785 appendix B: bits of the double, its JSON form.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_written_as_ecmascript_writes_them(bits: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert v.number_text(value) == NUMBERS[bits]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_itself(value: float) -> None:
    assert float(v.number_text(value)) == value


def json_values() -> st.SearchStrategy[Any]:
    text = st.text(st.characters(exclude_categories=["Cs"]))
    keys = text.filter(lambda key: "\0" not in key)
    integers = st.integers(-v.MAX_INTEGER, v.MAX_INTEGER)
    numbers = integers | st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda x: abs(x) <= v.MAX_INTEGER or abs(x) >= 1e21
    )
    return st.recursive(
        st.none() | st.booleans() | numbers | text,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    )


@given(json_values())
@settings(deadline=None)
def test_the_canonical_form_is_that_of_the_rfc8785_package(value: Any) -> None:
    rfc8785 = pytest.importorskip("rfc8785", reason="rfc8785 is not installed")
    text = v.canonical_json(value)
    assert text == rfc8785.dumps(value)
    assert v.read_canonical(text) == value


def test_members_are_sorted_by_utf16_code_units() -> None:
    # RFC 8785 section 3.2.3: U+1F600 is a surrogate pair and sorts before U+FB33.
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\u0080": 6, "ö": 7}
    expected = ["\r", "1", "\u0080", "ö", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(v.canonical_json(value))) == expected


# -- trees


def test_inclusion_vectors_of_transparency_dev() -> None:
    paths = sorted(vectors_folder("merkle-rfc6962", "testdata", "inclusion").rglob("*.json"))
    assert len(paths) > 80
    for path in paths:
        case = json.loads(path.read_text())
        root, leaf = (base64.b64decode(case[name] or "") for name in ("root", "leafHash"))
        proof = [base64.b64decode(item) for item in case["proof"] or []]
        ok = v.verify_inclusion_hash(leaf, case["leafIdx"], case["treeSize"], root, proof)
        assert ok is not case["wantErr"], path


def leaves_of(size: int) -> list[bytes]:
    return [struct.pack(">I", number) for number in range(size)]


# Roots over the leaves of RFC 6962's reference implementation (certificate-transparency).
CT_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657"]
CT_LEAVES += ["606162636465666768696a6b6c6d6e6f"]
CT_ROOTS = {
    0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
}


@pytest.mark.parametrize("size", CT_ROOTS)
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [bytes.fromhex(leaf) for leaf in CT_LEAVES[:size]]
    assert v.merkle_root(leaves).hex() == CT_ROOTS[size]


def test_the_frontier_gives_the_root_of_every_size() -> None:
    leaves, tree = leaves_of(300), v.Frontier()
    assert tree.root() == v.merkle_root([])
    for size, leaf in enumerate(leaves, 1):
        tree.append(leaf)
        assert tree.root() == v.merkle_root(leaves[:size])


@pytest.mark.parametrize("size", [*range(1, 20), 63, 64, 65])
def test_every_leaf_is_proved_and_only_in_its_place(size: int) -> None:
    leaves = leaves_of(size)
    root = v.merkle_root(leaves)
    for index in range(size):
        path = w.inclusion_proof(index, leaves)
        assert v.verify_inclusion(leaves[index], index, size, root, path)
        assert not v.verify_inclusion(leaves[index], index + 1, size, root, path)
        assert not v.verify_inclusion(leaves[index], index - size, size, root, path)
        assert not v.verify_inclusion(leaves[index], index, size, root, [*path, root])
        assert not v.verify_inclusion(leaves[index], index, size, root, path[1:]) or not path
        assert not v.verify_inclusion(leaves[index] + b"x", index, size, root, path)


@pytest.mark.parametrize("size", [*range(1, 20), 64, 65])
def test_every_tree_is_proved_to_extend_its_past_and_no_other(size: int) -> None:
    leaves = leaves_of(size)
    root = v.merkle_root(leaves)
    for old in range(1, size + 1):
        path, old_root = w.consistency_proof(old, leaves), v.merkle_root(leaves[:old])
        assert w.verify_consistency(old, old_root, size, root, path)
        assert not w.verify_consistency(old, old_root[::-1], size, root, path)
        assert not w.verify_consistency(old, old_root, size, root[::-1], path)
        assert not w.verify_consistency(old, old_root, size, root, [*path, root])
        assert not w.verify_consistency(old + 1, old_root, size, root, path)
        if path:
            assert not w.verify_consistency(old, old_root, size, root, path[:-1])


def test_everything_extends_the_empty_tree_without_a_path() -> None:
    root = v.merkle_root(leaves_of(5))
    assert w.verify_consistency(0, v.EMPTY_ROOT, 5, root, [])
    assert not w.verify_consistency(0, v.EMPTY_ROOT, 5, root, [root])
    assert not w.verify_consistency(0, root, 5, root, [])


def test_a_last_leaf_is_never_duplicated() -> None:
    for size in range(1, 258):
        leaves = leaves_of(size)
        assert v.merkle_root(leaves) != v.merkle_root([*leaves, leaves[-1]])


def test_an_inner_node_is_no_leaf() -> None:
    leaves = leaves_of(4)
    hashes = [v.leaf_hash(leaf) for leaf in leaves]
    right = v.node_hash(hashes[2], hashes[3])
    root = v.merkle_root(leaves)
    # 64 bytes that hash to the inner node only under the other prefix.
    assert not v.verify_inclusion(hashes[0] + hashes[1], 0, 2, root, [right])


# -- leaves files


def test_crc32c_is_that_of_rfc_3720() -> None:
    # RFC 3720 appendix B.4.
    known = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert {data: v.crc32c(data) for data in known} == known


@given(st.lists(st.binary(max_size=40), max_size=6), st.data())
def test_a_leaves_file_reads_back_and_no_flipped_byte_does(
    leaves: list[bytes], data: st.DataObject
) -> None:
    file = w.write_leaves(leaves)
    assert list(v.read_leaves(file)) == leaves
    if file:
        changed = bytearray(file)
        changed[data.draw(st.integers(0, len(file) - 1))] ^= data.draw(st.integers(1, 255))
        with pytest.raises(v.RefusedError):
            list(v.read_leaves(bytes(changed)))


# -- signatures and notes


def test_wycheproof_ed25519() -> None:
    suite = json.loads(
        (vectors_folder("wycheproof") / "testvectors_v1/ed25519_test.json").read_text()
    )
    count = 0
    for group in suite["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            message, signature = bytes.fromhex(case["msg"]), bytes.fromhex(case["sig"])
            expected = case["result"] == "valid"
            assert v.verify_ed25519(public, message, signature) is expected, case["tcId"]
            count += 1
    assert count == suite["numberOfTests"]


def test_a_public_key_in_another_encoding_is_refused() -> None:
    """y + p, and a sign bit where x is 0: RFC 8032 section 5.1.3 decodes neither."""
    # The neutral element: [S]B - [k]A is [S]B for every message, so S = 0 and R = (0, 1) verify.
    signature = (1).to_bytes(32, "little") + bytes(32)
    prime = 2**255 - 19
    for encoding in (1 + prime, 1 + 2**255, prime - 1 + 2**255):
        assert not v.verify_ed25519(encoding.to_bytes(32, "little"), b"x", signature)
    assert v.verify_ed25519((1).to_bytes(32, "little"), b"x", signature)


def opens(note: str, vkeys: list[str]) -> bool:
    """Go's rule: at least one known key signed, and none of the known keys wrongly."""
    try:
        keys = [v.parse_vkey(text) for text in vkeys]
        signatures = v.parse_note(note.encode()).signatures
        known = [
            k for k in keys if any((s.name, s.key_id) == (k.name, k.key_id) for s in signatures)
        ]
        for key in known:
            v.open_note(note.encode(), key)
    except v.RefusedError:
        return False
    return bool(known)


def test_signed_note_vectors() -> None:
    suite = json.loads((vectors_folder("signed-note") / "note_vectors.json").read_text())
    for case in suite["open"]:
        assert opens(case["note"], case["vkeys"]) is case["valid"], case["name"]
    for text in suite["bad_vkeys"]:
        with pytest.raises(v.RefusedError):
            v.parse_vkey(text)
    key = v.parse_vkey(suite["vkey_peter"])
    assert str(key) == suite["vkey_peter"]
    seed = base64.b64decode(suite["skey_peter"].split("+", 4)[4])[1:]
    note = w.sign_note(suite["sign"]["text"].encode(), key.name, seed)
    assert note.decode() == suite["sign"]["note"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "a+b", "a\u00a0b", "a\u3000", "a\nb", "a\tb", "a\x7f", "\u2028", "\x80"),
        *("a\x9f", "a" * 256, "ü" * 128),
    ],
)
def test_a_name_that_no_key_may_have_is_refused(name: str) -> None:
    with pytest.raises(v.RefusedError):
        v.parse_vkey(str(v.Key(name, bytes(32))))
    with pytest.raises(v.RefusedError):
        v.parse_note(f"text\n\n— {name} AAAAAAAA\n".encode())


@pytest.mark.parametrize("name", ["a", "a" * 255, "ü" * 127 + "a", "a\u00a1", "\u200b"])
def test_a_name_of_up_to_255_bytes_is_read(name: str) -> None:
    assert v.parse_vkey(str(v.Key(name, bytes(32)))).name == name
    note = v.parse_note(f"text\n\n— {name} AAAAAAAA\n".encode())
    assert note.signatures[0].name == name


def test_a_key_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(v.RefusedError):
        v.parse_vkey("a\udc80+00000000+AAAA")


def test_a_note_may_contain_empty_lines() -> None:
    seed = bytes(32)
    key = v.Key("k", w.public_key(seed))
    for text in (b"\n", b"a\n\nb\n", b"a\n\n\n"):
        assert v.open_note(w.sign_note(text, "k", seed), key) == text


@pytest.mark.parametrize(
    "text",
    [
        b"o\n1\n",
        b"o\n01\nx\n",
        b"o\n-1\nx\n",
        b"\n1\nx\n",
        b"o\n9007199254740992\nx\n",
        b"o\n1\nAA==\n",
    ],
)
def test_a_text_that_is_no_checkpoint_is_refused(text: bytes) -> None:
    root = base64.b64encode(bytes(32))
    with pytest.raises(v.RefusedError):
        v.parse_checkpoint(text.replace(b"x", root))


@pytest.mark.parametrize("text", ["AA", "AA=", "AB==", "AA==\n", " AA==", "A-==", "AA==AA==", "é"])
def test_base64_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(v.RefusedError):
        v.decode_base64(text, "x")


def test_digests_are_those_of_hashlib_and_blake3() -> None:
    data = random.Random(1).randbytes(5000)
    for name in ("sha256", "sha384", "sha512"):
        assert v.digest_text(data, name) == f"{name}:{hashlib.new(name, data).hexdigest()}"
    assert v.digest_text(b"") == (
        "blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    )


def test_printable_text_has_no_control_bidi_or_format_characters() -> None:
    every = "".join(map(chr, range(0x3000))) + "\ud800\ufeff\U000e0041"
    shown = v.printable(every, len(every))
    assert not any(c in shown for c in "\x00\x1b\x7f\x85\u200b\u202e\u2066\u2028\ud800\ufeff")
    assert v.printable("a" * 300).endswith("…")
    assert v.printable("naïve 名前 x") == "naïve 名前 x"


def test_not_a_number_has_no_json_form() -> None:
    for value in (math.nan, math.inf, -math.inf):
        with pytest.raises(v.RefusedError):
            v.canonical_json(value)
