"""Bundles with one thing wrong: a table of makers, filled by the tests of the second verifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from bundles_for_tests import BundleBuilder

Maker = Callable[[BundleBuilder], bytes]
BAD: list[tuple[str, Maker]] = []  # the check that must fail, and how to make the bundle


def bad(check: str) -> Callable[[Maker], Maker]:
    """Register a maker of a bad bundle; its name says what is wrong."""

    def register(maker: Maker) -> Maker:
        BAD.append((check, maker))
        return maker

    return register


def bad_bundles(module: str) -> list[Any]:
    """Those that a test module registered, as parameters of a test."""
    return [
        pytest.param(check, maker, id=maker.__name__)
        for check, maker in BAD
        if maker.__module__ == module
    ]


def with_entry(builder: BundleBuilder, name: str, content: bytes) -> bytes:
    """Add an entry, or replace it."""
    return builder.seal({**builder.entries(), name: content})


def without_entry(builder: BundleBuilder, name: str) -> bytes:
    """Leave an entry out of bundle and manifest."""
    return builder.seal({key: value for key, value in builder.entries().items() if key != name})


def with_manifest(builder: BundleBuilder, **changes: Any) -> bytes:
    """Change the manifest before it is signed; ``...`` removes a member."""
    entries = builder.entries()
    manifest = builder.manifest(entries) | changes
    return builder.seal(entries, {k: value for k, value in manifest.items() if value is not ...})


def with_start(builder: BundleBuilder, **changes: Any) -> bytes:
    """Change run.start before anything is signed; ``...`` removes a member."""
    start = builder.records[0] | changes
    builder.records[0] = {k: value for k, value in start.items() if value is not ...}
    return builder.build()


def only_records(builder: BundleBuilder, content: bytes) -> bytes:
    """Replace run.jsonl alone: the heads are of the right records."""
    return with_entry(builder, "run.jsonl", content)
