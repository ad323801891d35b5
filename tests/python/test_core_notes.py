"""Signed notes, verifier keys, checkpoints, key files and bare signatures of the core."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mlprov import _core
from mlprov.errors import ConfigError, Error, EvidenceError, VerificationError

SEED = bytes(range(32))
TEXT = "first line\nsecond line\n"


def write_key(path: Path, key: object, passphrase: bytes | None = None) -> Path:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    path.write_bytes(
        key.private_bytes(  # type: ignore[attr-defined]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def key(tmp_path: Path) -> _core.SigningKey:
    path = write_key(tmp_path / "seeded.pem", Ed25519PrivateKey.from_private_bytes(SEED))
    return _core.SigningKey.load(path, "example.org/key")


def is_refused(note: bytes, vkey: str) -> bool:
    try:
        _core.verify_note(note, vkey)
    except (VerificationError, EvidenceError):
        return True
    return False


# ---- official vectors ----


def test_the_official_notes_open_or_are_refused_as_they_say(vectors: Path) -> None:
    document = json.loads((vectors / "signed-note/note_vectors.json").read_text())
    assert len(document["open"]) == 11
    for case in document["open"]:
        note = case["note"].encode()
        for vkey in case["vkeys"]:
            if case["valid"]:
                assert _core.verify_note(note, vkey) == document["sign"]["text"]
                assert _core.note_text(note) == document["sign"]["text"]
            else:
                assert is_refused(note, vkey), case["name"]
        if not case["vkeys"]:  # signed, but by nobody who is known
            with pytest.raises(VerificationError):
                _core.verify_note(note, _core.format_vkey("somebody", bytes(range(32))))


def test_the_official_signature_is_made_again(vectors: Path, tmp_path: Path) -> None:
    document = json.loads((vectors / "signed-note/note_vectors.json").read_text())
    name, encoded = document["skey_peter"].split("+")[2], document["skey_peter"].split("+", 4)[4]
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(encoded)[1:])
    key = _core.SigningKey.load(write_key(tmp_path / "peter.pem", private), name)
    assert key.vkey == document["vkey_peter"]
    assert key.sign_note(document["sign"]["text"]) == document["sign"]["note"].encode()


def test_the_official_bad_verifier_keys_are_refused(vectors: Path) -> None:
    document = json.loads((vectors / "signed-note/note_vectors.json").read_text())
    for vkey in document["bad_vkeys"]:
        with pytest.raises(EvidenceError) as seen:
            _core.parse_vkey(vkey)
        assert seen.value.status == "MALFORMED"


def test_every_ed25519_case_of_wycheproof_is_answered_right(vectors: Path) -> None:
    document = json.loads((vectors / "wycheproof/testvectors_v1/ed25519_test.json").read_text())
    answered = 0
    for group in document["testGroups"]:
        public = bytes.fromhex(group["publicKey"]["pk"])
        for case in group["tests"]:
            assert case["result"] in ("valid", "invalid")
            holds = _core.ed25519_verify(
                public, bytes.fromhex(case["sig"]), bytes.fromhex(case["msg"])
            )
            assert holds == (case["result"] == "valid"), (case["tcId"], case["comment"])
            answered += 1
    assert answered == document["numberOfTests"]


def test_a_public_key_of_another_length_is_an_argument_error() -> None:
    with pytest.raises(ValueError):
        _core.ed25519_verify(bytes(31), bytes(64), b"")


# ---- notes ----


def test_a_note_names_its_text_and_no_byte_of_it_may_change(key: _core.SigningKey) -> None:
    note = key.sign_note(TEXT)
    assert _core.verify_note(note, key.vkey) == _core.note_text(note) == TEXT
    for position in range(len(note)):
        bent = bytearray(note)
        bent[position] ^= 1
        with pytest.raises((VerificationError, EvidenceError)):
            _core.verify_note(bent, key.vkey)


def test_no_signature_and_a_false_one_are_both_verification_errors(key: _core.SigningKey) -> None:
    note = key.sign_note(TEXT)
    other = _core.format_vkey("example.org/other", key.public_key)
    with pytest.raises(VerificationError, match=r"example\.org/key") as unsigned:
        _core.verify_note(note, other)
    assert unsigned.value.status == "MISMATCH"
    with pytest.raises(VerificationError) as false:
        _core.verify_note(note.replace(b"first", b"other"), key.vkey)
    assert false.value.status == "MISMATCH"
    with pytest.raises(EvidenceError) as malformed:
        _core.verify_note(b"no note", key.vkey)
    assert malformed.value.status == "MALFORMED"


@pytest.mark.parametrize("text", ["", "no newline", "control\x07\n", "carriage\r\n"])
def test_text_that_no_note_can_carry_is_not_signed(key: _core.SigningKey, text: str) -> None:
    with pytest.raises(ValueError):
        key.sign_note(text)


def test_verifier_keys_have_the_form_of_the_specification(key: _core.SigningKey) -> None:
    name, public = "example.org/key", key.public_key
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4].hex()
    encoded = base64.b64encode(b"\x01" + public).decode()
    assert key.vkey == f"{name}+{key_id}+{encoded}"
    assert _core.format_vkey(name, public) == key.vkey
    assert _core.parse_vkey(key.vkey) == (name, public)
    owner = f"mlprov/owner/{hashlib.sha256(public).hexdigest()[:16]}"
    assert _core.parse_vkey(_core.format_vkey(None, public))[0] == owner


def test_a_verifier_key_with_any_other_character_is_refused(key: _core.SigningKey) -> None:
    for position in range(len(key.vkey)):
        bent = f"{key.vkey[:position]}~{key.vkey[position + 1 :]}"
        with pytest.raises(EvidenceError):
            _core.parse_vkey(bent)
    for bent in ("", key.vkey + "\n", key.vkey[:-1], " " + key.vkey, key.vkey.replace("+", "-")):
        with pytest.raises(EvidenceError):
            _core.parse_vkey(bent)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 256])
def test_names_that_no_key_may_have_are_refused(name: str) -> None:
    with pytest.raises(ValueError):
        _core.format_vkey(name, bytes(32))


# ---- checkpoints ----


def test_a_checkpoint_is_three_lines() -> None:
    root = bytes(range(32))
    text = _core.format_checkpoint("example.org/log", 7, root)
    assert text == f"example.org/log\n7\n{base64.b64encode(root).decode()}\n"
    assert _core.parse_checkpoint(text) == ("example.org/log", 7, root)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:2],
        lambda lines: [*lines, "extension"],
        lambda lines: ["", *lines[1:]],
        lambda lines: [lines[0], "07", lines[2]],
        lambda lines: [lines[0], "-7", lines[2]],
        lambda lines: [lines[0], "+7", lines[2]],
        lambda lines: [lines[0], " 7", lines[2]],
        lambda lines: [lines[0], "", lines[2]],
        lambda lines: [lines[0], "9223372036854775808", lines[2]],
        lambda lines: [*lines[:2], lines[2][:-1]],
        lambda lines: [*lines[:2], lines[2] + "="],
        lambda lines: [*lines[:2], base64.b64encode(bytes(31)).decode()],
        lambda lines: [*lines[:2], lines[2] + " "],
    ],
)
def test_a_checkpoint_of_another_shape_is_malformed(change) -> None:  # type: ignore[no-untyped-def]
    lines = _core.format_checkpoint("example.org/log", 7, bytes(range(32))).splitlines()
    with pytest.raises(EvidenceError) as seen:
        _core.parse_checkpoint("\n".join(change(lines)) + "\n")
    assert seen.value.status == "MALFORMED"


@pytest.mark.parametrize(("origin", "size"), [("", 1), ("a\nb", 1), ("a", -1), ("a", 2**63)])
def test_a_checkpoint_that_no_client_reads_is_not_written(origin: str, size: int) -> None:
    with pytest.raises(ValueError):
        _core.format_checkpoint(origin, size, bytes(32))


# ---- key files ----


def test_a_new_key_is_in_a_private_file_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    before = os.umask(0)
    try:
        key = _core.SigningKey.create(path, None)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key.name == f"mlprov/owner/{hashlib.sha256(key.public_key).hexdigest()[:16]}"
    again = _core.SigningKey.load(os.fsencode(path), None)
    assert (again.vkey, again.name) == (key.vkey, key.name)
    assert _core.verify_note(again.sign_note(TEXT), key.vkey) == TEXT
    read = serialization.load_pem_private_key(path.read_bytes(), None)
    assert isinstance(read, Ed25519PrivateKey)
    assert read.public_key().public_bytes_raw() == key.public_key


def test_a_key_with_a_passphrase_needs_it(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    key = _core.SigningKey.create(path, "n", passphrase=b"correct horse")
    assert _core.SigningKey.load(path, "n", b"correct horse").vkey == key.vkey
    for passphrase in (None, b"wrong", bytearray(b"correct hors")):
        with pytest.raises(ConfigError) as seen:
            _core.SigningKey.load(path, "n", passphrase)  # type: ignore[arg-type]
        assert seen.value.status == "KEY"
        assert b"correct" not in str(seen.value).encode()
    with pytest.raises(ValueError):
        _core.SigningKey.create(tmp_path / "other.pem", "n", b"")


def test_an_existing_file_or_link_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(ConfigError):
            _core.SigningKey.create(tmp_path / name, None)
    assert (tmp_path / "file").read_bytes() == b"precious"
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(Error):
        _core.SigningKey.create(tmp_path / "no such directory" / "key", None)


def test_key_files_that_others_could_read_or_replace_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    _core.SigningKey.create(path, None)
    for mode in (0o640, 0o604, 0o660, 0o602, 0o644):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=r"chmod|600") as seen:
            _core.SigningKey.load(path, None)
        assert seen.value.status == "KEY"
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError):
        _core.SigningKey.load(tmp_path / "link", None)
    with pytest.raises(ConfigError, match="missing"):
        _core.SigningKey.load(tmp_path / "missing", None)
    with pytest.raises(ConfigError):
        _core.SigningKey.load(tmp_path, None)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigError):
        _core.SigningKey.load(tmp_path / "pipe", None)


def test_other_kinds_of_key_and_no_key_are_refused(tmp_path: Path) -> None:
    curve = write_key(tmp_path / "p256.pem", generate_private_key(SECP256R1()))
    with pytest.raises(ConfigError, match=r"(?i)ed25519"):
        _core.SigningKey.load(curve, None)
    for content in (b"", b"text", bytes(70_000)):
        path = tmp_path / "bad.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        with pytest.raises(ConfigError):
            _core.SigningKey.load(path, None)


def test_the_private_key_has_no_attribute(key: _core.SigningKey) -> None:
    names = [name for name in dir(key) if not name.startswith("__")]
    assert names == ["create", "load", "name", "public_key", "sign_note", "vkey"]
    assert SEED.hex() not in repr(key)


@pytest.mark.parametrize(
    "encoding",
    [b"\x01" + bytes(30) + b"\x80", b"\xee" + b"\xff" * 30 + b"\x7f"],
    ids=["x is 0 with a sign bit", "y is p + 1"],
)
def test_a_public_key_in_another_encoding_of_the_same_point_is_refused(encoding: bytes) -> None:
    """RFC 8032 section 5.1.3: the neutral point verifies (R = neutral, S = 0), its twin not."""
    neutral = b"\x01" + bytes(31)
    signature = neutral + bytes(32)
    assert _core.ed25519_verify(neutral, signature, b"anything")
    assert not _core.ed25519_verify(encoding, signature, b"anything")
