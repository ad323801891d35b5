"""Whose key: the owner key of a user and the keys that he trusts."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mlprov import _core, keys
from mlprov.errors import ConfigError, Error, StoreError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def files_of(path: Path) -> list[str]:
    return sorted(file.name for file in path.iterdir())


@pytest.fixture
def other(tmp_path: Path) -> str:
    """Somebody else's verifier key."""
    return _core.SigningKey.create(tmp_path / "other.pem", None).vkey


# ---- where ----


def test_the_users_directory_is_never_in_a_project(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "home"))
    assert keys.home() == tmp_path / "home"
    monkeypatch.delenv("MLPROV_HOME")
    assert keys.home() == Path(os.environ["XDG_CONFIG_HOME"]) / "mlprov"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert keys.home() == tmp_path / ".config" / "mlprov"
    monkeypatch.setenv("MLPROV_OWNER_KEY", str(tmp_path / "mine.pem"))
    assert keys.owner_key_path() == tmp_path / "mine.pem"


# ---- the owner key ----


def test_the_owner_key_is_made_once_and_found_again() -> None:
    assert keys.owner_vkey() is None
    made = keys.owner_key()
    assert keys.owner_key().vkey == keys.owner_vkey() == made.vkey
    name, public = _core.parse_vkey(made.vkey)
    assert name.startswith("mlprov/owner/")
    assert keys.pinned_keys() == {public: "this user's own key"}
    assert mode(keys.owner_key_path()) == 0o600
    assert files_of(keys.home()) == ["owner.pem"]


@pytest.mark.parametrize("umask", [0, 0o777, 0o022])
def test_the_key_is_private_whatever_the_umask(umask: int) -> None:
    before = os.umask(umask)
    try:
        keys.home().parent.mkdir(parents=True, exist_ok=True)
        if umask == 0o777:
            os.umask(0o077)  # else the directory itself could not be entered by anyone but root
        keys.owner_key()
    finally:
        os.umask(before)
    assert mode(keys.owner_key_path()) == 0o600
    assert mode(keys.home()) == 0o700


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660, 0o644, 0o666])
def test_a_key_that_others_can_read_is_refused(bits: int) -> None:
    keys.owner_key()
    keys.owner_key_path().chmod(bits)
    with pytest.raises(ConfigError, match=r"owner\.pem"):
        keys.owner_key()


def test_a_link_in_place_of_the_key_is_refused(tmp_path: Path) -> None:
    keys.owner_key()
    keys.owner_key_path().rename(tmp_path / "real.pem")
    keys.owner_key_path().symlink_to(tmp_path / "real.pem")
    with pytest.raises(ConfigError, match=r"owner\.pem"):
        keys.owner_key()


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    keys.home().mkdir(parents=True)
    keys.owner_key_path().symlink_to(tmp_path / "elsewhere.pem")
    with pytest.raises(ConfigError):
        keys.owner_key()
    assert not (tmp_path / "elsewhere.pem").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"],
)
def test_a_file_that_is_no_key_is_named(content: bytes) -> None:
    keys.home().mkdir(parents=True)
    keys.owner_key_path().write_bytes(content)
    keys.owner_key_path().chmod(0o600)
    with pytest.raises(ConfigError, match=r"owner\.pem"):
        keys.owner_key()


def test_a_key_of_another_kind_is_refused() -> None:
    keys.home().mkdir(parents=True)
    path = keys.owner_key_path()
    command = [
        "openssl",
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        str(path),
    ]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("the openssl command is not installed")
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=r"owner\.pem"):
        keys.owner_key()


def test_a_passphrase_encrypts_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPROV_OWNER_PASSPHRASE", "correct horse")
    made = keys.owner_key()
    assert b"ENCRYPTED" in keys.owner_key_path().read_bytes()
    assert keys.owner_key().vkey == made.vkey
    for wrong in ("wrong", None):
        if wrong is None:
            monkeypatch.delenv("MLPROV_OWNER_PASSPHRASE")
        else:
            monkeypatch.setenv("MLPROV_OWNER_PASSPHRASE", wrong)
        with pytest.raises(ConfigError, match=r"owner\.pem"):
            keys.owner_key()


def test_a_missing_key_is_not_made_when_it_is_only_asked_for() -> None:
    with pytest.raises(Error):
        keys.owner_key(create=False)
    assert not keys.owner_key_path().exists()


def test_a_home_that_cannot_be_made_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MLPROV_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match="file/home"):
        keys.owner_key()


def test_a_file_system_without_hard_links_gets_its_key_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    made = keys.owner_key()
    assert keys.owner_key().vkey == made.vkey
    assert files_of(keys.home()) == ["owner.pem"]


def test_processes_that_start_together_get_one_key() -> None:
    code = "from mlprov import errors, keys; print(keys.owner_key().vkey)"

    def start(_: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout

    with ThreadPoolExecutor(4) as pool:
        made = set(pool.map(start, range(8)))
    assert made == {f"{keys.owner_vkey()}\n"}
    assert files_of(keys.home()) == ["owner.pem"]


def test_threads_that_start_together_get_one_key() -> None:
    with ThreadPoolExecutor(8) as pool:
        made = {key.vkey for key in pool.map(lambda _: keys.owner_key(), range(16))}
    assert made == {keys.owner_vkey()}


# ---- keys of others ----


def test_a_key_is_trusted_named_again_and_removed(other: str) -> None:
    assert keys.trusted_keys() == ()
    keys.trust(other, "the lab")
    keys.trust(other, "the new lab")
    (kept,) = keys.trusted_keys()
    assert (kept.vkey, kept.label) == (other, "the new lab")
    assert keys.pinned_keys() == {kept.public_key: "the new lab"}
    assert mode(keys.home() / "trusted") == 0o600
    assert keys.untrust("the new lab") == kept
    assert keys.trusted_keys() == ()


def test_a_trusted_key_is_found_by_its_text_its_file_and_its_label(
    other: str, tmp_path: Path
) -> None:
    (tmp_path / "lab.vkey").write_text(other + "\n")
    for name in (other, tmp_path / "lab.vkey", "label"):
        keys.trust(tmp_path / "lab.vkey", "label")
        assert keys.untrust(name).vkey == other


def test_a_key_without_a_label_is_still_pinned(other: str) -> None:
    keys.trust(other)
    assert list(keys.pinned_keys().values()) == ["trusted"]


@pytest.mark.parametrize(
    "label", ["a\nb", "a\rb", "\x1b[31m", "a\0", "a\u2028b", "a\x85b", "a\u202eb", "\udcff"]
)
def test_a_label_that_would_break_the_list_or_the_terminal_is_refused(
    label: str, other: str
) -> None:
    with pytest.raises(ConfigError, match="label"):
        keys.trust(other, label)
    assert keys.trusted_keys() == ()


def test_labels_in_any_language_are_kept(other: str) -> None:
    keys.trust(other, "Universität Zürich 実験室")
    assert keys.trusted_keys()[0].label == "Universität Zürich 実験室"


def test_a_broken_line_is_named_with_its_number(other: str) -> None:
    keys.trust(other)
    with (keys.home() / "trusted").open("a") as file:
        file.write("# a comment\n\nnot-a-key label\n")
    with pytest.raises(ConfigError, match="line 4"):
        keys.trusted_keys()


def test_what_is_not_trusted_cannot_be_removed(other: str) -> None:
    with pytest.raises(ConfigError, match="0 of 0"):
        keys.untrust(other)
    with pytest.raises(ConfigError, match="neither"):
        keys.untrust("no such label")


def test_two_keys_of_one_label_are_not_guessed_between(other: str) -> None:
    keys.trust(other, "lab")
    keys.trust(keys.owner_key().vkey, "lab")
    with pytest.raises(ConfigError, match="2 of 2"):
        keys.untrust("lab")
    assert len(keys.trusted_keys()) == 2


@pytest.mark.parametrize("content", [b"", b"name+00000000+AAAA\n", b"\xff\xfe", b"x" * 10_000])
def test_a_file_without_a_key_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file.vkey").write_bytes(content)
    with pytest.raises(ConfigError, match=r"file\.vkey"):
        keys.read_vkey(tmp_path / "file.vkey")


@pytest.mark.parametrize("text", ["", "nothing", "a\0b", "/", "/dev/null"])
def test_a_text_that_is_neither_key_nor_file_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="as a key"):
        keys.read_vkey(text)


def test_a_full_disk_leaves_the_trusted_keys_as_they_were(
    other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys.trust(other, "kept")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left"):
        keys.trust(keys.owner_key().vkey, "new")
    assert [key.label for key in keys.trusted_keys()] == ["kept"]
    assert files_of(keys.home()) == ["owner.pem", "trusted"]


def test_the_private_key_is_in_no_text_about_it() -> None:
    key = keys.owner_key()
    body = keys.owner_key_path().read_text().split("\n")[1]
    for shown in (repr(key), str(key), str(vars(type(key)))):
        assert body not in shown
    with pytest.raises((TypeError, StoreError)):
        __import__("pickle").dumps(key)


def test_a_key_that_is_no_unicode_is_said_to_be_none():
    for call in (keys.read_vkey, keys.trust):
        with pytest.raises(ConfigError, match="no valid Unicode; give the line"):
            call("\ud800")
