"""The checks of a bundle's anchors, and of the time that they bound (docs/format.md section 10)."""

from __future__ import annotations

import functools
from typing import Any

from mlprov.anchor_files import (
    STATES_ENTRY,
    AnchorName,
    EthereumAnchor,
    IpfsAnchor,
    anchor_names,
    block_time,
    read_ethereum,
    read_ipfs,
    read_states,
)
from mlprov.brackets import read_not_before
from mlprov.bundle_checks import BundleChecks, claimed_time
from mlprov.errors import EvidenceError
from mlprov.trusted_blocks import BlockTrust
from mlprov.verdicts import Unchecked
from mlprov.wording import plural

__all__ = ["AnchorChecks"]

_SECONDS = len("2026-11-21T09:30:00")  # blocks have no fractions


class AnchorChecks:
    """Makes the checks ``anchor:…``, ``block:…``, ``not_before`` and ``time`` of a bundle.

    Args:
        bundle: whose own checks were made.
        trust: what the caller gave about blocks.
    """

    def __init__(self, bundle: BundleChecks, trust: BlockTrust) -> None:
        self._bundle = bundle
        self._trust = trust
        self._names = anchor_names(bundle.entries)
        self._found: dict[AnchorName, EthereumAnchor | IpfsAnchor] = {}
        self._accepted: list[AnchorName] = []
        self._begun: str | None = None

    def make(self) -> None:
        """Check each anchor, and whether its block is one that the caller accepts."""
        checks = self._bundle.checks
        for name in self._names:
            action = functools.partial(self._anchor, name)
            checks.run(f"anchor:{name}", action, needs=[self._need])
            if name.kind == "ethereum":
                action = functools.partial(self._block, name)
                checks.run(f"block:{name}", action, needs=[f"anchor:{name}"])

        started = self._bundle.decoded[:1]
        if started and started[0].get("not_before") is not None:
            checks.run("not_before", self._not_before, needs=["heads"])

    def make_time(self) -> None:
        """Check what bounds the records in time."""
        self._bundle.checks.run("time", self._time)

    @property
    def _need(self) -> str:
        """What must hold; ``covered`` is of the folders that were found right."""
        checks, bundle = self._bundle.checks, self._bundle
        waiting = bundle.open and bundle.covered and checks.unchecked("log")
        return "heads" if waiting else "log"

    @functools.cached_property
    def _states(self) -> dict[str, str]:
        entries = self._bundle.entries
        if STATES_ENTRY not in entries:
            raise EvidenceError(f"the bundle has anchors and no {STATES_ENTRY}")
        return read_states(entries[STATES_ENTRY], self._names)

    def _anchor(self, name: AnchorName) -> str:
        entries = self._bundle.entries
        if name.size not in self._bundle.covered:
            raise EvidenceError(f"{name.entry} is of a checkpoint that is not in log/{name.size}/")
        state = self._states[str(name)]
        if name.before is not None and name.before not in self._names:
            raise EvidenceError(f"{name.entry} is there without {name.before.entry}")
        content, note = entries[name.entry], entries[f"log/{name.size}/checkpoint"]
        covered = f"{self._reach(name)}, in the checkpoint of log size {name.size}"
        if name.kind == "ipfs":
            ipfs = read_ipfs(content, note, name.entry)
            self._found[name] = ipfs
            return f"{covered}: on IPFS as {ipfs.cid} ({state}); storage, not time"
        anchor = read_ethereum(content, note, name.entry)
        self._found[name] = anchor
        return (
            f"{covered}: {anchor.event} at {anchor.contract}, sent by {anchor.sender}, in "
            f"{anchor}, {anchor.hex}, whose time is {block_time(anchor.time)}; {state} "
            "when it was exported, as the exporter says"
        )

    def _reach(self, name: AnchorName) -> str:
        return f"the first {plural(self._bundle.covered[name.size], 'record')}"

    def _block(self, name: AnchorName) -> str:
        anchor = self._found[name]
        assert isinstance(anchor, EthereumAnchor)
        judgement = self._trust.judge(anchor)
        self._accepted.append(name)
        return judgement.said

    def _not_before(self) -> str:
        block = read_not_before(self._bundle.decoded[0]["not_before"])
        judgement = self._trust.judge(block)
        if judgement.time is not None:
            self._begun = block_time(judgement.time)
        known = "" if judgement.time is None else f", whose time is {self._begun}"
        return f"no head was signed before {block.hex}{known}: {judgement.said}"

    # ---- time ----

    def _bounds(self) -> list[tuple[int, EthereumAnchor]]:
        """(records, anchor) of the accepted anchors that bound more records, or bound them earlier.

        From the largest count of records down, each with an earlier block than those before.
        """
        found: list[tuple[int, EthereumAnchor]] = []
        for name in self._accepted:
            anchor = self._found[name]
            if isinstance(anchor, EthereumAnchor):
                found.append((self._bundle.covered[name.size], anchor))
        found.sort(key=lambda bound: (-bound[0], bound[1].time))
        bounds: list[tuple[int, EthereumAnchor]] = []
        for records, anchor in found:
            if not bounds or (anchor.time < bounds[-1][1].time and records < bounds[-1][0]):
                bounds.append((records, anchor))
        return bounds

    def _time(self) -> str:
        bounds, total = self._bounds(), len(self._bundle.lines)
        if not bounds:
            if any(name.kind == "ethereum" for name in self._found):
                raise Unchecked(
                    "record times are claimed by the writer; the block of no anchor is one that "
                    "you said to trust"
                )
            return claimed_time()
        said = [_bound(records, total, anchor) for records, anchor in bounds]
        if bounds[0][0] < total:
            rest = plural(total - bounds[0][0], "record")
            raise Unchecked(f"{'; '.join(said)}; nothing bounds the last {rest}")
        last, bound = str(self._bundle.decoded[-1]["time"]), block_time(bounds[0][1].time)
        if last[:_SECONDS] > bound[:_SECONDS]:
            said.append(f"the last record claims to be later, {last}: one of the clocks is wrong")
        return "; ".join(said)

    def facts(self) -> list[dict[str, Any]]:
        """Each anchor that was read, as JSON has it."""
        states = {check.name: check.state for check in self._bundle.checks.list}
        listed = []
        for name, anchor in self._found.items():
            listed.append(
                {
                    "name": str(name),
                    "kind": name.kind,
                    "log_size": name.size,
                    "records": self._bundle.covered[name.size],
                    "state": self._states[str(name)],
                    "evidence": states[f"anchor:{name}"],
                    **anchor.json(),
                }
            )
            if name.kind == "ethereum":
                listed[-1]["trusted"] = states[f"block:{name}"]
        return listed

    def not_before(self) -> str | None:
        """The time of the block that ``run.start`` names, where the caller accepts it."""
        return self._begun

    def no_later_than(self) -> str | None:
        """The earliest block time that bounds every record; None where nothing does."""
        bounds = self._bounds()
        if not bounds or bounds[0][0] < len(self._bundle.lines):
            return None
        return block_time(bounds[0][1].time)


def _bound(records: int, total: int, anchor: EthereumAnchor) -> str:
    which = f"all {plural(total, 'record')}" if records == total else f"the first {records} records"
    return f"{which} no later than {block_time(anchor.time)} ({anchor})"
