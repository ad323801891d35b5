"""Holds mlprov's verdicts against the second verifier's: two programs, one specification.

While :func:`comparing` is in force, every verdict that a test asks of the second verifier is asked
of mlprov too, and both must give the same result and the same state for every check.
"""

from __future__ import annotations

from typing import Any

from bundles_for_tests import v

import mlprov
from mlprov import verification
from mlprov.questions import Question


def mlprov_verdict(data: bytes, request: v.Request) -> tuple[str, dict[str, str]]:
    """mlprov's result and states for what was asked of the second verifier."""
    try:
        verdict = verification.verify_bytes(
            data,
            "the evidence",
            Question(
                model=request.model,
                data=dict(request.data) or None,
                tensors=list(request.tensors),
                epoch=request.epoch,
                step=request.step,
                keys=[str(key) for key in request.keys] or None,
                allow_unpinned=request.allow_unpinned,
            ),
        )
    except mlprov.EvidenceError:
        return "could not check", {}  # neither a bundle nor a proof: there is nothing to check
    return verdict.result, {check.name: check.state for check in verdict.checks}


def comparing(original: Any) -> Any:
    """The second verifier's ``verify_bytes``, with mlprov asked the same beside it."""

    def verify_bytes(data: bytes, request: v.Request | None = None) -> v.Verdict:
        theirs = original(data, request)
        result, states = mlprov_verdict(data, request or v.Request())
        expected = {check.name: check.state for check in theirs.checks}
        differing = {
            name: (state, expected.get(name))
            for name, state in states.items()
            if state != expected.get(name)
        }
        assert result == theirs.result, f"mlprov {result}, second {theirs.result}: {differing}"
        assert not states or states.keys() == expected.keys(), "the verifiers make other checks"
        assert not differing, f"mlprov and the second verifier disagree: {differing}"
        return theirs

    return verify_bytes
