"""The public face of digests: values, options, refusals. Of every kind of tensor elsewhere."""

from __future__ import annotations

import array
import hashlib
import hmac
import io
import os
import pathlib
import subprocess
import sys
import threading

import blake3
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

import mlprov
from mlprov import _core
from mlprov.digests import Digest, Hasher, TensorDigest, digest, digest_many
from mlprov.errors import ConfigError, EvidenceError, UnsupportedTensorError

np = pytest.importorskip("numpy")


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


ALGORITHMS = {"blake3": blake3.blake3, "sha256": hashlib.sha256, "sha384": hashlib.sha384}
BOUNDARY_LENGTHS = (0, 1, 63, 64, 65, 1023, 1024, 1025, 65537)


def reference(algorithm: str, data: bytes) -> str:
    return f"{algorithm}:{ALGORITHMS[algorithm](data).hexdigest()}"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("length", BOUNDARY_LENGTHS)
def test_bytes_arrays_tensors_and_files_of_the_same_bytes_have_one_digest(
    algorithm, length, tmp_path
):
    data = bytes(index * 7 % 251 for index in range(length))
    path = tmp_path / "data.bin"
    path.write_bytes(data)
    array = np.frombuffer(data, dtype=np.uint8)
    objs = [data, bytearray(data), memoryview(data), array, path]
    expected = reference(algorithm, data)
    assert [str(digest(obj, algorithm=algorithm)) for obj in objs] == [expected] * len(objs)
    assert [str(one) for one in digest_many(objs, algorithm=algorithm)] == [expected] * len(objs)


@given(st.binary(min_size=32, max_size=32))
def test_a_digest_survives_its_own_text(value):
    one = Digest("blake3", value)
    assert Digest.parse(str(one)) == one
    assert hash(Digest.parse(str(one))) == hash(one)
    assert bytes(one) == value
    assert one.hex() == value.hex()
    assert eval(repr(one).replace("Digest(", "Digest.parse(")) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "blake3",
        "blake3:",
        "blake3:" + "0" * 63,
        "blake3:" + "0" * 62,
        "blake3:" + "0" * 66,
        "blake3:" + "A" * 64,
        "BLAKE3:" + "0" * 64,
        " blake3:" + "0" * 64,
        "blake3:" + "0" * 64 + "\n",
        "md5:" + "0" * 32,
        "sha256:" + "0" * 128,
        "sha512:" + "0" * 64,
        "0" * 64,
    ],
)
def test_a_digest_in_any_other_spelling_is_refused(text):
    with pytest.raises(EvidenceError, match="not a digest"):
        Digest.parse(text)


def test_digests_of_other_algorithms_or_values_are_different():
    one = Digest("blake3", bytes(32))
    assert one != Digest("sha256", bytes(32))
    assert one != Digest("blake3", bytes(31) + b"\1")
    assert one != bytes(32)
    assert one != str(one)
    assert len({one, Digest("blake3", bytes(32)), Digest("sha256", bytes(32))}) == 2


def test_a_digest_cannot_be_changed():
    with pytest.raises(AttributeError):
        Digest("blake3", bytes(32)).value = bytes(32)  # type: ignore[misc]


@pytest.mark.parametrize(("algorithm", "length"), [("md5", 16), ("blake3", 31), ("sha512", 32)])
def test_a_digest_of_a_wrong_length_or_algorithm_cannot_be_made(algorithm, length):
    with pytest.raises(ConfigError):
        Digest(algorithm, bytes(length))


def test_text_is_refused_because_it_could_be_a_path():
    for refused in (lambda: digest("a.txt"), lambda: digest_many(["a"]), lambda: digest_many("a")):
        with pytest.raises(TypeError, match=r"could be text or a path: pass text\.encode\(\)"):
            refused()


@pytest.mark.parametrize("obj", [5, 0.5, None, object(), {"a": 1}])
def test_what_holds_no_values_is_refused(obj):
    with pytest.raises(TypeError, match="tensor"):
        digest(obj)


def test_a_directory_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"is a directory; use mlprov\.digest_model"):
        digest(tmp_path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(OSError, match=r"gone\.bin"):
        digest(tmp_path / "gone.bin")


def test_files_pipes_and_arrays_may_stand_in_one_list(tmp_path):
    (tmp_path / "small").write_bytes(b"abc")
    (tmp_path / "large").write_bytes(bytes(20_000_000))
    os.mkfifo(tmp_path / "fifo")
    names = ["small", "fifo", "large", "small"]
    paths = [tmp_path / name for name in names]
    writer = threading.Thread(target=paths[1].write_bytes, args=(b"from a pipe",))
    writer.start()
    found = digest_many([b"first", *paths, b"last"], threads=2)
    writer.join()
    expected = [b"first", b"abc", b"from a pipe", bytes(20_000_000), b"abc", b"last"]
    assert list(map(str, found)) == [reference("blake3", data) for data in expected]


def test_the_first_file_that_cannot_be_hashed_is_raised(tmp_path, monkeypatch):
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"x")
    real = _core.hash_files

    def without_b(names, algorithm, **options):
        paths[1].unlink(missing_ok=True)
        return real(names, algorithm, **options)

    monkeypatch.setattr(_core, "hash_files", without_b)
    with pytest.raises(FileNotFoundError) as error:
        digest_many(paths)
    assert error.value.filename == str(paths[1])


@pytest.mark.parametrize("options", [{}, {"algorithms": ("blake3", "sha256")}], ids=str)
def test_a_file_that_cannot_be_opened_is_the_error_of_open(tmp_path, options):
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for name in ("missing", "circle", "file/x", "x" * 300):
        path = tmp_path / name
        with pytest.raises(OSError, match="Errno") as theirs:
            path.open()
        with pytest.raises(type(theirs.value)) as ours:
            digest(path, **options)
        assert ours.value.errno == theirs.value.errno
        assert str(ours.value.filename) == str(path)


def test_a_file_with_a_name_that_is_not_text_is_read(tmp_path):
    path = pathlib.Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.bin"))
    path.write_bytes(b"abc")
    assert str(digest(path)) == reference("blake3", b"abc")


@pytest.mark.parametrize("threads", [0, -1, 1.0, "2", True])
def test_a_number_of_threads_that_is_none_is_refused(threads):
    with pytest.raises(ConfigError, match="threads"):
        digest(b"", threads=threads)


@pytest.mark.parametrize("threads", [None, 1, 8])
def test_a_number_of_threads_changes_no_digest(threads):
    assert digest(b"abc", threads=threads) == digest(b"abc")


def test_an_unknown_algorithm_is_refused_by_name():
    with pytest.raises(ConfigError, match="md5"):
        digest(b"", algorithm="md5")


def test_a_tensor_without_values_is_named_by_its_position(torch):
    with pytest.raises(UnsupportedTensorError, match="object 2") as caught:
        digest_many([b"a", torch.zeros(2), torch.empty(2, device="meta")])
    assert caught.value.index == 2


def test_an_array_of_objects_is_named_by_its_position():
    with pytest.raises(UnsupportedTensorError, match="object 0"):
        digest_many([np.array([None])])


def test_a_model_is_sent_to_digest_model(torch):
    for model in (torch.nn.Linear(2, 2), {"a": np.zeros(2)}, torch.nn.Linear(1, 1).state_dict()):
        for call in (digest, digest_many, lambda one: digest_many([b"", one])):
            with pytest.raises(TypeError, match=r"mlprov\.digest_model\(\)"):
                call(model)


def test_a_tensor_has_the_digest_of_its_bytes(torch):
    tensor = torch.arange(300, dtype=torch.int16).reshape(2, 150)
    assert str(digest(tensor)) == reference("blake3", tensor.numpy().tobytes())


def test_the_digest_of_a_sparse_tensor_is_that_of_its_parts_leaf_without_the_name(torch):
    sparse = torch.eye(3).to_sparse()
    indices, values = sparse.indices().numpy(), sparse.values().numpy()
    leaf = {
        "coalesced": True,
        "layout": "sparse_coo",
        "parts": {
            "indices": {
                "digest": reference("blake3", indices.tobytes()),
                "dtype": "I64",
                "len": 48,
                "shape": [2, 3],
            },
            "values": {
                "digest": reference("blake3", values.tobytes()),
                "dtype": "F32",
                "len": 12,
                "shape": [3],
            },
        },
        "shape": [3, 3],
    }
    assert str(digest(sparse)) == reference("blake3", rfc8785.dumps(leaf))
    assert digest_many([b"a", sparse, b"b"]) == [digest(b"a"), digest(sparse), digest(b"b")]


def test_a_tensor_in_mkldnn_layout_has_the_digest_of_its_dense_values(torch):
    dense = torch.arange(6.0).reshape(2, 3)
    assert digest(dense.to_mkldnn()) == digest(dense)


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_the_leaf_of_a_tensor_is_canonical_json(name):
    value = digest(b"abc")
    leaf = TensorDigest(name, "U8", (3,), 3, value).leaf()
    members = {"digest": str(value), "dtype": "U8", "len": 3, "name": name, "shape": [3]}
    assert leaf == rfc8785.dumps(members)


def test_hashlib_reads_a_file_with_the_hasher():
    assert hashlib.file_digest(io.BytesIO(b"abc"), Hasher).hexdigest() == digest(b"abc").hex()
    assert Hasher is _core.Hasher


def test_importing_the_capture_modules_imports_neither_torch_nor_numpy():
    code = (
        "import sys, mlprov.digests, mlprov.trees, mlprov.models, mlprov.datasets, mlprov.batches\n"
        "mlprov.models.digest_model({}); mlprov.batches.capture_batch(0, [1])\n"
        "print([m for m in ('torch', 'numpy') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.returncode) == ("[]", 0), result.stderr


# ---- several algorithms in one pass ----

SEVERAL = ("sha256", "blake3", "sha512", "sha384")


def test_several_algorithms_give_a_tuple_in_their_order(torch, tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    things = [
        b"abc",
        memoryview(bytes(3_000_000)),
        torch.randn(300, 200).T,
        torch.eye(3).to_sparse(),
        np.arange(7)[::2],
        tmp_path / "file",
        torch.ones(2).to_mkldnn(),
        np.float32(1.5),
    ]
    expected = [tuple(digest(one, algorithm=name) for name in SEVERAL) for one in things]
    for threads in (1, 2, None):
        assert digest_many(things, algorithms=SEVERAL, threads=threads) == expected
    assert [digest(one, algorithms=SEVERAL) for one in things] == expected
    assert digest_many([b""], algorithms=["sha256"]) == [(digest(b"", algorithm="sha256"),)]
    assert digest_many([], algorithms=SEVERAL) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"algorithms": ("blake3", "md5")}, "'md5'"),
        ({"algorithms": "sha256"}, '"?sha256.*expected 1 to 8 names such as .*"blake3"'),
        ({"algorithms": ()}, r"is \(\); expected 1 to 8 names"),
        ({"algorithms": 5}, "is 5; expected 1 to 8 names"),
        ({"algorithms": ["blake3"] * 9}, "expected 1 to 8 names"),
        ({"algorithms": ["blake3", 5]}, "unknown algorithm 5"),
        ({"algorithms": ("blake3",), "algorithm": "sha256"}, "not both"),
        ({"algorithms": ("blake3",), "threads": -1}, "threads"),
    ],
)
def test_algorithms_that_are_none_are_refused(options, reason):
    for call in (lambda: digest(b"", **options), lambda: digest_many([b""], **options)):
        with pytest.raises(ConfigError, match=reason):
            call()


def test_what_is_no_collection_of_objects_is_said(torch):
    for wrong in (5, None, torch.zeros(()), digest):
        with pytest.raises(TypeError, match=f"expected a list .*not {type(wrong).__name__}"):
            digest_many(wrong)
    for call in (Digest.parse, mlprov.MerkleTree().extend):
        with pytest.raises(TypeError, match=r"(expected|must be) .*not .*int"):
            call(5)


# ---- buffers that change ----


def test_what_has_no_buffer_is_named_by_its_position():
    with pytest.raises(TypeError, match="object 1 of 3: cannot hash a set: expected a tensor"):
        digest_many([b"a", {1}, b"b"])


def refusal_while_hashing(buffer):
    """What appending says at the same time; None where the hash was never met."""
    thread = threading.Thread(target=digest, args=(buffer,), kwargs={"algorithm": "sha512"})
    thread.start()
    try:
        while thread.is_alive():
            buffer.append(1)
            buffer.pop()
    except BufferError as error:
        return error
    finally:
        thread.join()
    return None


@pytest.mark.parametrize("kind", [bytearray, lambda data: array.array("B", data)])
def test_a_buffer_cannot_change_its_size_while_it_is_hashed(kind):
    buffer = kind(bytes(30_000_000))
    tries = (refusal_while_hashing(buffer) for _ in range(20))  # a busy machine may miss one
    assert any(isinstance(refusal, BufferError) for refusal in tries)
    buffer.append(1)  # let go
    assert digest(buffer) == digest(bytes(buffer))


def test_a_view_that_was_released_is_refused():
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(UnsupportedTensorError, match=r"object 0: a memoryview .* released"):
        digest(view)


# ---- hashlib's shape ----


def test_blake3_has_the_shape_of_hashlib_s_constructors():
    ours, theirs = mlprov.blake3(b"a", usedforsecurity=False), blake3.blake3(b"a")
    for piece in (b"", b"b" * 100, bytearray(5000)):
        ours.update(piece)
        theirs.update(piece)
    assert ours.digest() == theirs.digest()
    assert ours.copy().hexdigest() == theirs.hexdigest()
    assert ours.digest(100, seek=7) == theirs.digest(100, seek=7)
    for name in ("name", "digest_size", "block_size"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert mlprov.blake3(data=b"abc").hexdigest() == digest(b"abc").hex()
    assert isinstance(mlprov.blake3(), Hasher)


def test_blake3_has_the_keyed_and_the_derive_key_mode():
    key = bytes(range(32))
    assert mlprov.blake3(b"x", key=key).digest() == blake3.blake3(b"x", key=key).digest()
    context = "mlprov tests 2026"
    assert (
        mlprov.blake3(b"x", derive_key_context=context).digest()
        == blake3.blake3(b"x", derive_key_context=context).digest()
    )
    with pytest.raises(ValueError, match="32"):
        mlprov.blake3(key=b"short")
    with pytest.raises(ValueError, match="not both"):
        mlprov.blake3(key=key, derive_key_context=context)
    with pytest.raises(TypeError, match="not str"):
        mlprov.blake3("text")


@pytest.mark.parametrize("key", [b"", b"key", bytes(64), bytes(65), bytes(1000)])
def test_hmac_takes_blake3_as_its_digest(key):
    for message in (b"", b"message", bytes(5000)):
        expected = hmac.new(key, message, blake3.blake3).digest()
        assert hmac.new(key, message, mlprov.blake3).digest() == expected
        assert hmac.digest(key, message, mlprov.blake3) == expected
        grown = hmac.new(key, digestmod=mlprov.blake3)
        grown.update(message)
        assert hmac.compare_digest(grown.copy().digest(), expected)
        assert grown.name == "hmac-blake3"


def test_hashlib_reads_a_file_by_blake3(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 3000)
    with path.open("rb") as file:
        assert hashlib.file_digest(file, mlprov.blake3).hexdigest() == digest(path).hex()
    with path.open("rb", buffering=0) as file:
        assert hashlib.file_digest(file, lambda: mlprov.blake3(b"")).hexdigest() == (
            digest(path).hex()
        )
