"""What ``import`` does with bad bundles: it refuses, and the store keeps every byte it had."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bad_bundles_for_tests import BAD, BAD_NAMES, raw_zip, with_entry, with_start
from bundles_for_tests import OTHER_SEED, BundleBuilder, standard_run

import mlprov
from mlprov import bundles, stores

for part in ("archive", "run_log", "store_log", "trees"):  # each registers its own
    importlib.import_module(f"test_second_verifier_{part}")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below the folder, and every folder, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in it that has one imported run."""
    place = tmp_path_factory.mktemp("place")
    held = place / "held.mlprov"
    held.write_bytes(standard_run(run="019aa5c1-5a40-7000-8000-00000000000a").build())
    with stores.open_store(place / "store", create=True) as store:
        bundles.import_bundle(store, held, allow_unpinned=True)
    return place


def refused(place: Path, data: bytes, **asked: Any) -> str:
    """Import it twice, by the owner's key and by anybody's; what was said."""
    path = place / "bad.mlprov"
    path.write_bytes(data)
    before = contents(place)
    said = ""
    for given in [asked] if asked else [{"keys": [KEY]}, {"allow_unpinned": True}]:
        with (
            stores.open_store(place / "store") as store,
            pytest.raises((mlprov.VerificationError, mlprov.EvidenceError)) as caught,
        ):
            bundles.import_bundle(store, path, **given)
        said = str(caught.value)
        assert contents(place) == before
    return said


KEY = str(BundleBuilder().owner_key)


def test_a_good_bundle_is_imported_into_that_store(place: Path) -> None:
    """So that what the others are refused for is what is wrong with them."""
    path = place / "good.mlprov"
    path.write_bytes(standard_run(run="019aa5c1-5a40-7000-8000-00000000000b").build())
    before = contents(place)
    with stores.open_store(place / "store") as store:
        run = bundles.import_bundle(store, path, keys=[KEY])
    after = contents(place)
    assert {*after} - {*before} >= {f"store/imports/{run}.mlprov"}
    assert after["store/store.db"] != before["store/store.db"]


@pytest.mark.parametrize(
    ("check", "maker"), [pytest.param(*bad, id=bad[1].__name__) for bad in BAD]
)
def test_a_bad_bundle_leaves_the_store_as_it_was(
    place: Path, check: str, maker: Callable[[BundleBuilder], bytes]
) -> None:
    said = refused(place, maker(standard_run()))
    assert f": {check}: " in said or "cannot read" in said


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_bundle_with_a_path_trick_leaves_the_store_as_it_was(place: Path, name: bytes) -> None:
    entries = [(n.encode(), c) for n, c in sorted(standard_run().entries().items())]
    assert "archive" in refused(place, raw_zip([*entries, (name, b"x")]))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "keys/../../evil", "imports/x.mlprov"])
def test_a_path_trick_that_the_owner_sealed_leaves_the_store_as_it_was(
    place: Path, name: str
) -> None:
    assert "archive" in refused(place, with_entry(standard_run(), name, b"x"))


@pytest.mark.parametrize("index", range(0, 20, 4))
def test_a_bundle_with_an_entry_twice_leaves_the_store_as_it_was(place: Path, index: int) -> None:
    entries = [(n.encode(), c) for n, c in sorted(standard_run().entries().items())]
    assert "archive" in refused(place, raw_zip([*entries[: index + 1], *entries[index:]]))


@pytest.mark.parametrize("bracket", ["[", '{"a":'])
@pytest.mark.parametrize("where", ["run.jsonl", "manifest.json", "log", "trees"])
def test_a_hundred_thousand_brackets_leave_the_store_as_it_was(
    place: Path, bracket: str, where: str
) -> None:
    builder, bomb = standard_run(), bracket.encode() * 100_000
    entries = builder.entries()
    if where == "manifest.json":
        data = builder.seal(entries, bomb)
    else:
        name = next(n for n in entries if n.startswith(where) and not n.endswith("checkpoint"))
        data = with_entry(builder, name, bomb + b"\n")
    refused(place, data)


@pytest.mark.parametrize("run", ["../../../evil", "/tmp/evil", "", ".", "x" * 36])
def test_a_run_that_is_called_like_a_path_leaves_the_store_as_it_was(place: Path, run: str) -> None:
    refused(place, with_start(standard_run(), run=run))
    refused(place, standard_run(run=run).build())


def test_a_foreign_signer_s_bundle_leaves_the_store_as_it_was(place: Path) -> None:
    data = standard_run(owner_seed=OTHER_SEED).build()
    assert "signer" in refused(place, data, keys=[KEY])
    assert "not pinned" in refused(place, data, keys=None)


def test_a_bundle_of_a_held_run_with_another_content_leaves_the_store_as_it_was(
    place: Path,
) -> None:
    path = place / "again.mlprov"
    builder = standard_run(run="019aa5c1-5a40-7000-8000-00000000000a")
    builder.records[0]["name"] = "another"
    path.write_bytes(builder.build())
    before = contents(place)
    with (
        stores.open_store(place / "store") as store,
        pytest.raises(mlprov.StoreError, match="already"),
    ):
        bundles.import_bundle(store, path, keys=[KEY])
    assert contents(place) == before
