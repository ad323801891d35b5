"""One-shot hashes, kernels and subtrees, against official vectors and other libraries."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import blake3
import pytest
from conftest import BOUNDARY_LENGTHS, pattern

from mlprov import _core
from mlprov.errors import ConfigError

SHA2 = ("sha256", "sha384", "sha512")
CHUNK = 1024


def test_the_official_blake3_vectors_hold_in_all_three_modes(vectors: Path, kernel: str) -> None:
    document = json.loads((vectors / "blake3/test_vectors/test_vectors.json").read_text())
    key, context = document["key"].encode(), document["context_string"]
    assert len(document["cases"]) == 35
    for case in document["cases"]:
        data = pattern(case["input_len"])
        hashers = {
            "hash": _core.Hasher(data),
            "keyed_hash": _core.Hasher(data, key=key),
            "derive_key": _core.Hasher(data, context=context),
        }
        for mode, hasher in hashers.items():
            expected = bytes.fromhex(case[mode])
            assert len(expected) == 131
            where = f"{mode} of {len(data)} bytes"
            assert hasher.digest(131) == expected, where
            assert hasher.digest() == expected[:32], where
            assert hasher.digest(60, seek=71) == expected[71:], where
        assert _core.hash_bytes(data).hex() == case["hash"][:64]


def nist_blocks(path: Path) -> Iterator[dict[str, str]]:
    block: dict[str, str] = {}
    for line in path.read_text().splitlines():
        name, separator, value = line.partition(" = ")
        if separator and not line.startswith(("#", "[")):
            block[name.strip()] = value.strip()
        elif not line.strip() and block:
            yield block
            block = {}
    if block:
        yield block


@pytest.mark.parametrize("name", ["SHA256ShortMsg.rsp", "SHA256LongMsg.rsp"])
def test_the_nist_messages_have_their_sha256(vectors: Path, name: str) -> None:
    blocks = [block for block in nist_blocks(vectors / "nist-sha2" / name) if "Msg" in block]
    assert len(blocks) >= 64
    for block in blocks:
        data = bytes.fromhex(block["Msg"])[: int(block["Len"]) // 8]
        assert _core.hash_bytes(data, "sha256").hex() == block["MD"], block["Len"]


def test_the_nist_monte_carlo_chain_holds(vectors: Path) -> None:
    # SHAVS section 6.4: MD_i = SHA-256(MD_(i-3) || MD_(i-2) || MD_(i-1)), 1,000 a checkpoint.
    blocks = list(nist_blocks(vectors / "nist-sha2" / "SHA256Monte.rsp"))
    seed = bytes.fromhex(blocks[0]["Seed"])
    checkpoints = [block["MD"] for block in blocks if "MD" in block]
    assert len(checkpoints) == 100
    for expected in checkpoints:
        window = [seed, seed, seed]
        for _ in range(1000):
            window = [*window[1:], _core.hash_bytes(b"".join(window), "sha256")]
        seed = window[-1]
        assert seed.hex() == expected


def test_every_kernel_agrees_with_pypi_blake3_at_every_boundary(kernel: str) -> None:
    for length in BOUNDARY_LENGTHS:
        data = pattern(length)
        assert _core.hash_bytes(data) == blake3.blake3(data).digest(), (kernel, length)


def test_every_kernel_agrees_with_pypi_blake3_at_every_offset_and_odd_length(kernel: str) -> None:
    generator = random.Random(1)
    data = memoryview(generator.randbytes(200_000))
    for _ in range(150):
        begin = generator.randrange(70)
        end = begin + int(2 ** generator.uniform(0, 17.5))
        piece = data[begin:end]
        assert _core.hash_bytes(piece) == blake3.blake3(piece).digest(), (kernel, begin, end)


@pytest.mark.parametrize("algorithm", SHA2)
def test_sha2_agrees_with_hashlib_at_every_boundary(algorithm: str) -> None:
    for length in BOUNDARY_LENGTHS:
        data = pattern(length)
        assert _core.hash_bytes(data, algorithm) == hashlib.new(algorithm, data).digest(), length


@pytest.mark.parametrize("algorithm", ["blake3", *SHA2])
def test_many_inputs_in_one_call_have_the_digests_of_single_calls(
    kernel: str, algorithm: str
) -> None:
    generator = random.Random(2)
    lengths = [generator.choice(BOUNDARY_LENGTHS[:30]) for _ in range(70)]
    # Runs of equal lengths are where a kernel fills its lanes across inputs.
    for items in (
        [],
        [b""],
        [generator.randbytes(length) for length in lengths],
        [generator.randbytes(1024) for _ in range(33)],
        [generator.randbytes(100) for _ in range(17)],
        [generator.randbytes(9000), b"", generator.randbytes(1)],
    ):
        assert _core.hash_many(items, algorithm) == [
            _core.hash_bytes(item, algorithm) for item in items
        ], kernel


def joined(data: bytes, offset: int, key: bytes | None) -> bytes:
    """A subtree's chaining value, joined from its chunks by the rule of the specification."""
    if len(data) <= CHUNK:
        return _core.blake3_subtree(data, offset, key=key)
    chunks = (len(data) + CHUNK - 1) // CHUNK
    half = 1 << ((chunks - 1).bit_length() - 1)
    left = joined(data[: half * CHUNK], offset, key)
    right = joined(data[half * CHUNK :], offset + half, key)
    return _core.blake3_parent(left, right, key=key)


@pytest.mark.parametrize("key", [None, bytes(range(32))], ids=["plain", "keyed"])
@pytest.mark.parametrize("length", [1025, 2048, 2049, 5000, 16384, 100_000])
def test_joined_subtrees_are_the_hash_of_the_whole(
    kernel: str, length: int, key: bytes | None
) -> None:
    data = pattern(length)
    chunks = (length + CHUNK - 1) // CHUNK
    half = 1 << ((chunks - 1).bit_length() - 1)
    left, right = data[: half * CHUNK], data[half * CHUNK :]
    cvs = _core.blake3_subtree(left, 0, key), _core.blake3_subtree(right, half, key)
    assert cvs == (joined(left, 0, key), joined(right, half, key))
    root = _core.blake3_parent(*cvs, root=True, key=key)
    assert root == _core.Hasher(data, key=key).digest()
    assert root != _core.blake3_parent(*cvs, key=key), "a root is no chaining value"


@pytest.mark.parametrize(
    ("data", "offset", "words"),
    [
        (b"", 0, "at least one byte"),
        (pattern(2048), 1, "multiple of 2"),
        (pattern(5000), 4, "multiple of 8"),
    ],
)
def test_a_subtree_that_is_empty_or_not_aligned_is_refused(
    data: bytes, offset: int, words: str
) -> None:
    with pytest.raises(ValueError, match=r"(?i)" + words) as refused:
        _core.blake3_subtree(data, offset)
    assert refused.value.status == "ARGUMENT"  # type: ignore[attr-defined]


# ---- kernels ----


def test_the_portable_kernel_is_always_usable_and_last() -> None:
    assert _core.hash_kernels()[-1] == ("portable", True)


def test_the_forced_kernel_is_the_one_in_use(kernel: str) -> None:
    assert _core.hash_kernel() == kernel


def test_an_unknown_kernel_is_refused_and_the_known_are_named() -> None:
    before = _core.hash_kernel()
    with pytest.raises(ConfigError, match="portable") as refused:
        _core.set_hash_kernel("quantum")
    assert refused.value.status == "CONFIG"
    assert _core.hash_kernel() == before


def test_a_kernel_that_this_processor_lacks_is_refused() -> None:
    unusable = [name for name, usable in _core.hash_kernels() if not usable]
    if not unusable:
        pytest.skip("this processor can use every kernel")
    with pytest.raises(ConfigError, match=unusable[0]):
        _core.set_hash_kernel(unusable[0])


def test_the_environment_forces_a_kernel(run_python: Callable[..., str]) -> None:
    code = "from mlprov import _core; print(_core.hash_kernel())"
    assert run_python(code, MLPROV_HASH_IMPL="portable").strip() == "portable"


def test_a_wrong_kernel_in_the_environment_is_an_error_and_no_silent_change(
    run_python: Callable[..., str],
) -> None:
    output = run_python("import mlprov._core", check=False, MLPROV_HASH_IMPL="quantum")
    assert "ImportError" in output
    assert "quantum" in output
