"""Every argument of every call, wrong in every way: an exception that says so, never a crash."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from core_calls_for_tests import CALLS, HASH, WITHOUT_ARGUMENTS, WRONG, Call, World

from mlprov import _core, errors, ethereum_accounts
from mlprov.errors import Error

# Anything at all: each must be taken or refused with an exception of the documented kinds.
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1,
    2**63,
    2**64,
    2**70,
    0.0,
    float("nan"),
    "",
    "a",
    "\0",
    "\ud800",
    "a" * 1000,
    b"",
    b"\0",
    bytes(31),
    bytes(33),
    bytes(10_000),
    bytearray(5),
    memoryview(b"abcd")[::2],
    [],
    [b""],
    [[]],
    [None] * 50,
    (),
    (1, 2),
    {},
    {1: 2},
    set(),
    object(),
    range(3),
    iter([b"a"]),
    int,
    print,
    ...,
)


# Made by the types themselves; vars() shows them as no functions.
CLASS_METHODS = {
    "SigningKey": ("create", "load"),
    "EthereumKey": ("generate", "from_secret", "create", "load"),
}


@pytest.fixture
def world(tmp_path: Path, store: _core.Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    kernel = _core.hash_kernel()
    yield World(tmp_path, store)
    names = (
        "Error",
        "VerificationError",
        "EvidenceError",
        "StoreError",
        "ConfigError",
        "UnsupportedTensorError",
        "AnchorError",
    )
    _core.set_exceptions({name: getattr(errors, name) for name in names})
    _core.set_hash_kernel(kernel)


def changed(
    arguments: list[Any], keywords: dict[str, Any], place: int | str, value: Any
) -> tuple[list[Any], dict[str, Any]]:
    if isinstance(place, str):
        return arguments, {**keywords, place: value}
    return [*arguments[:place], value, *arguments[place + 1 :]], keywords


def refuse(
    otherwise: str,
    function: Callable[..., Any],
    arguments: list[Any],
    keywords: dict[str, Any],
) -> None:
    """Call what must raise; a call that comes back is a failure that says what came back."""
    answer = function(*arguments, **keywords)
    pytest.fail(f"{otherwise}: {answer!r}")


def places(call: Call) -> list[tuple[int | str, str]]:
    return [*enumerate(call.kinds), *((name, kind) for name, (_, kind) in call.keywords.items())]


def test_the_table_names_every_function_and_method() -> None:
    named = {
        name.replace("([b'a'])", "").replace("(max, max)", "").replace("()", "")
        for name in (*(call.name for call in CALLS), *WITHOUT_ARGUMENTS)
    }
    objects = {
        "store": "Store",
        "key": "SigningKey",
        "account": "EthereumKey",
        "log": "RunLog",
        "stream": "LeafStream",
        "tree": "ModuleTree",
    }
    for short, full in objects.items():
        named = {name.replace(f"{short}.", f"{full}.") for name in named}
    closing = {
        "Store.close",
        "RunLog.close",
        "RunLog.destroy_key",
        "LeafStream.close",
        "LeafStream.abandon",
        *(f"AnchorWorkers.{method}" for method in ("hand_over", "wait", "stop")),  # threads
        "ethereum_deployment",  # takes an endpoint, as AnchorWorkers do: below
    }
    made_elsewhere = {
        "SigningKey",
        "EthereumKey",
        "RunLog",
        "LeafStream",
        "ModuleTree",
        "AnchorWorkers",
    }
    public = set()
    for name, value in vars(_core).items():
        if name.startswith("_") or not callable(value):
            continue
        if not (inspect.isclass(value) and name in made_elsewhere):
            public.add(name)
        if inspect.isclass(value):
            public |= {
                f"{name}.{method}"
                for method, found in vars(value).items()
                if not method.startswith("_") and callable(found)
            }
            public |= {f"{name}.{method}" for method in CLASS_METHODS.get(name, ())}
    assert public - named == closing


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_an_argument_of_a_wrong_type_is_a_type_error(world: World, call: Call) -> None:
    function = world.function(call.name)
    arguments, keywords = world.filled(call)
    for place, kind in places(call):
        wrong = list(WRONG.get(kind.rstrip("?"), ()))
        if wrong and not kind.endswith("?"):
            wrong.append(None)
        for value in wrong:
            given, named = changed(arguments, keywords, place, value)
            with pytest.raises((TypeError, Error)) as seen:
                refuse(f"{call} took {value!r} as argument {place}", function, given, named)
            assert isinstance(seen.value, TypeError) or kind in ("objects", "object"), (
                call,
                place,
                value,
            )


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_odd_values_are_taken_or_refused_and_nothing_breaks(world: World, call: Call) -> None:
    function = world.function(call.name)
    arguments, keywords = world.filled(call)
    for place, _ in places(call):
        for value in ODD:
            given, named = changed(arguments, keywords, place, value)
            try:
                function(*given, **named)
            except (TypeError, ValueError, IndexError, BufferError, OSError, Error) as error:
                if not str(error):
                    pytest.fail(f"{call} refused {value!r} as argument {place} without a word")
            except MemoryError:
                pass


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_missing_surplus_and_misnamed_arguments_are_type_errors(world: World, call: Call) -> None:
    function = world.function(call.name)
    arguments, keywords = world.filled(call)
    with pytest.raises(TypeError):
        function(*arguments, **keywords, no_such_argument=1)
    with pytest.raises(TypeError):
        function(*arguments, *[1] * 12)
    optional = (".root", "MerkleTree", ".commit", ".wait")
    if "Hasher" not in call.name and not call.name.endswith(optional):
        with pytest.raises(TypeError):
            function()


@pytest.mark.parametrize("name", WITHOUT_ARGUMENTS)
def test_calls_without_arguments_take_none(world: World, name: str) -> None:
    world.function(name)()
    with pytest.raises(TypeError):
        world.function(name)(1)
    with pytest.raises(TypeError):
        world.function(name)(x=1)


@pytest.mark.parametrize("name", ["SigningKey", "EthereumKey", "RunLog", "LeafStream"])
def test_types_that_others_make_cannot_be_called(name: str) -> None:
    with pytest.raises(TypeError, match="cannot create"):
        getattr(_core, name)()
    with pytest.raises(TypeError):
        object.__new__(getattr(_core, name))


def test_text_where_bytes_are_needed_is_refused_with_advice() -> None:
    for call in (
        _core.hash_bytes,
        _core.Hasher,
        _core.Hasher().update,
        _core.merkle_leaf_hash,
        _core.json_decode,
    ):
        with pytest.raises(TypeError, match=r"not str: encode text first \(text\.encode\(\)\)"):
            call("text")  # type: ignore[operator]


def test_a_tensor_is_not_taken_for_the_list_of_its_rows() -> None:
    for tensor in (memoryview(b"abcd"), bytearray(b"abcd")):
        with pytest.raises(TypeError, match=r"\[tensor\]"):
            _core.tensor_digests(tensor)
        with pytest.raises(TypeError, match=r"\[tensor\]"):
            _core.Ticket(tensor)


class Raising:
    """An object whose every protocol raises."""

    def __index__(self) -> int:
        raise RuntimeError("from __index__")

    def __iter__(self) -> Iterator[bytes]:
        raise RuntimeError("from __iter__")

    def __len__(self) -> int:
        raise RuntimeError("from __len__")

    def __getitem__(self, index: int) -> bytes:
        raise RuntimeError("from __getitem__")

    def __fspath__(self) -> str:
        raise RuntimeError("from __fspath__")


def test_an_exception_of_the_arguments_own_code_passes_through() -> None:
    odd: Any = Raising()
    tree = _core.MerkleTree([b"a"])
    for call in (
        lambda: tree.root(odd),
        lambda: tree.prove_inclusion(odd),
        lambda: tree.extend(odd),
        lambda: _core.merkle_root(odd),
        lambda: _core.hash_many(odd),
        lambda: _core.hash_file(odd, ["blake3"]),
        lambda: _core.hash_file("x", odd),
        lambda: _core.hash_files([odd]),
        lambda: _core.hash_files(odd),
        lambda: _core.Hasher().digest(odd),
        lambda: _core.encode_leaves(odd),
        lambda: _core.tensor_digests(odd),
        lambda: _core.Ticket(odd),
        lambda: _core.json_decode(b"1", odd),
    ):
        with pytest.raises(RuntimeError, match="from __"):
            call()


def test_code_of_an_argument_may_use_the_object_that_is_being_called() -> None:
    tree = _core.MerkleTree([b"a", b"b"])

    class Reentrant:
        def __index__(self) -> int:
            tree.append(b"c")
            return 1

    reentrant: Any = Reentrant()
    assert tree.root(reentrant) == _core.merkle_root([b"a"])
    assert len(tree.prove_inclusion(0, reentrant)) == 0
    tree.prove_consistency(reentrant, reentrant)

    def grows() -> Iterator[bytes]:
        yield b"d"
        tree.append(b"e")

    tree.extend(grows())
    assert tree.root() == _core.merkle_root([b"a", b"b", b"c", b"c", b"c", b"c", b"e", b"d"])


# ---- exceptions ----


def test_every_exception_says_its_status_and_whether_to_try_again(world: World) -> None:
    cases = {
        "MALFORMED": (lambda: _core.json_decode(b"["), False),
        "ARGUMENT": (lambda: _core.hash_bytes(b"", "md5"), False),
        "RANGE": (lambda: _core.MerkleTree().root(1), False),
        "MISMATCH": (
            lambda: _core.merkle_verify_inclusion(HASH, HASH[:-1] + b"1", 0, 1, []),
            False,
        ),
        "CONFIG": (lambda: _core.set_hash_kernel("none"), False),
        "NOT_FOUND": (lambda: _core.hash_file("/no/such/file", ["blake3"]), False),
        "KEY": (lambda: _core.SigningKey.load("/no/such/file", None), False),
    }
    for status, (call, retryable) in cases.items():
        with pytest.raises(Exception) as seen:
            call()
        assert (seen.value.status, seen.value.retryable) == (status, retryable)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("classes", "error"),
    [
        (5, TypeError),
        ({}, ValueError),
        ({5: Exception}, TypeError),
        ({"Error": 5}, TypeError),
        ({"Error": int}, TypeError),
        ({"Error": BaseException}, TypeError),
        ({"Surprise": Exception}, ValueError),
        ({"MemoryError": Exception}, ValueError),
    ],
)
def test_classes_that_cannot_answer_the_table_are_refused(
    world: World, classes: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        _core.set_exceptions(classes)
    with pytest.raises(Error):
        _core.json_decode(b"[")


def test_before_the_classes_are_known_runtime_error_stands_in(
    run_python: Callable[..., str],
) -> None:
    code = """
import importlib.machinery, importlib.util
from mlprov import _core as first
spec = importlib.util.spec_from_file_location("mlprov._core", first.__file__)
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
try:
    core.json_decode(b"[")
except RuntimeError as error:
    print(type(error).__name__, error.status)
"""
    assert run_python(code).split() == ["RuntimeError", "MALFORMED"]


@pytest.mark.parametrize(
    "endpoint",
    [
        ("bitcoin", "http://127.0.0.1", (), None, 1),
        ("ipfs", "http://127.0.0.1\0", (), None, 1),
        ("ipfs", "http://127.0.0.1", ["A: b"], None, 1),
        ("ipfs", "http://127.0.0.1", ("A: b",) * 9, None, 1),
        ("ipfs", "http://127.0.0.1", (1,), None, 1),
        ("ipfs", "http://127.0.0.1", (), None, 0),
        ("ipfs", 1, (), None, 1),
        ("ipfs",),
        "ipfs",
    ],
)
def test_a_wrong_endpoint_is_refused_and_starts_nothing(endpoint: Any) -> None:
    for endpoints in ([endpoint], [endpoint] * 17, []):
        with pytest.raises((TypeError, ValueError)):
            _core.AnchorWorkers(b"/nowhere", endpoints)
    with pytest.raises((TypeError, ValueError)):
        _core.ethereum_deployment(endpoint, b"")


# A good one: chain, no contract yet, account, kind, who signs, limits.
GOOD_ACCOUNT = ethereum_accounts.read(
    {
        "chain_id": 1,
        "account": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "signer_url": "http://127.0.0.1:1",
    },
    "here",
    to_deploy="AnchorStore",
).for_core()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, 1),
        (2, None),
        (3, "Other"),
        (4, 7),
        (4, ("http://127.0.0.1", [], None, 1)),
        (4, ("http://127.0.0.1", (), None, 0)),
        (5, GOOD_ACCOUNT[5][:-1]),
        (5, (*GOOD_ACCOUNT[5][:-1], 0)),
    ],
)
def test_a_wrong_account_is_refused_before_anything_is_asked(place: int, value: Any) -> None:
    account = (*GOOD_ACCOUNT[:place], value, *GOOD_ACCOUNT[place + 1 :])
    endpoint: Any = ("ethereum", "http://127.0.0.1:1", (), None, 1, account)
    with pytest.raises((TypeError, ValueError)):
        _core.ethereum_deployment(endpoint, b"")


def test_a_deployment_needs_an_account_and_bytes() -> None:
    with pytest.raises(ValueError, match="no account"):
        _core.ethereum_deployment(("ipfs", "http://127.0.0.1:1", (), None, 1), b"")
    endpoint: Any = ("ethereum", "http://127.0.0.1:1", (), None, 1, GOOD_ACCOUNT)
    text: Any = "text"
    with pytest.raises(TypeError, match="bytecode"):
        _core.ethereum_deployment(endpoint, text)
