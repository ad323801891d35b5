"""What verification over all networks found of a run: one table, and the file that keeps it."""

from __future__ import annotations

import json
import pathlib
from dataclasses import dataclass
from typing import Any

from mlprov.anchor_reports import HEADER, Finding, as_line, as_page, as_text
from mlprov.bundles import write_whole
from mlprov.errors import ConfigError
from mlprov.records import next_time
from mlprov.verdicts import Check
from mlprov.wording import plural

__all__ = ["ProvenanceReport"]

_HEADER = ("COVERS", *HEADER)
_RESULTS = ("holds", "does not hold", "could not check")


@dataclass(frozen=True)
class ProvenanceReport:
    """The answer of :meth:`ProvenanceTracker.verify_blockchain_provenance`.

    True where the records hold and there is an anchor, and every anchor that is there holds.

    Attributes:
        run: the run's id.
        name: its name.
        root: of its last head: ``sha256:…``, over all its records.
        size: how many those are.
        records: whether they hold, offline.
        findings: each anchor that covers some of them, and how many.
        networks: those that the configuration enables.
        time: when this was found, RFC 3339.
    """

    run: str
    name: str
    root: str
    size: int
    records: Check
    findings: tuple[tuple[int, Finding], ...]
    networks: tuple[str, ...]
    time: str

    @property
    def missing(self) -> list[str]:
        """Networks without an anchor that covers every record."""
        whole = {finding.row.kind for covered, finding in self.findings if covered == self.size}
        return [name for name in self.networks if name not in whole]

    @property
    def result(self) -> str:
        """``holds``, ``does not hold`` or ``could not check``.

        An anchor that is on its way is one that could not be checked yet, as is one that is missing
        on a network.
        """
        results = {finding.result for _, finding in self.findings}
        if self.records.state == "fails" or _RESULTS[1] in results:
            return _RESULTS[1]
        if self.records.state == "unchecked" or _RESULTS[2] in results or self.missing:
            return _RESULTS[2]
        return _RESULTS[0] if self.findings else _RESULTS[2]

    def __bool__(self) -> bool:
        return self.result == "holds"

    def _rows(self) -> list[tuple[object, ...]]:
        return [
            (f"{covered} of {plural(self.size, 'record')}", *finding.cells())
            for covered, finding in self.findings
        ]

    def _lines(self) -> list[str]:
        lines = [
            f"run {self.run} ({self.name}): {self.result}",
            f"{self.root} over {plural(self.size, 'record')}; verified {self.time}",
            f"records: {self.records.state}: {self.records.detail}",
        ]
        if self.missing:
            lines.append(f"no anchor of all records yet: {', '.join(self.missing)}")
        return lines

    def _notes(self) -> list[str]:
        return [reason for _, finding in self.findings for reason in finding.reasons]

    def __str__(self) -> str:
        lines, notes = map(as_line, self._lines()), map(as_line, self._notes())
        return "\n".join([*lines, as_text(_HEADER, self._rows()), *notes])

    def json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "run": self.run,
            "name": self.name,
            "merkle_root": self.root,
            "records": self.size,
            "result": self.result,
            "missing": self.missing,
            "time": self.time,
            "checks": [vars(self.records)],
            "anchors": [
                {"records": covered, **finding.json()} for covered, finding in self.findings
            ],
        }

    def save(self, path: pathlib.Path) -> pathlib.Path:
        """Write it whole or not at all; the suffix says how.

        Raises:
            ConfigError: another suffix than ``.json``, ``.txt`` or ``.html``.
            StoreError: it cannot be written.
        """
        if path.suffix == ".json":
            text = json.dumps(self.json(), indent=2, sort_keys=True) + "\n"
        elif path.suffix == ".txt":
            text = f"{self}\n"
        elif path.suffix == ".html":
            said = [*self._lines(), *self._notes()]
            text = as_page(f"Provenance of {self.name}", said, _HEADER, self._rows())
        else:
            raise ConfigError(
                f"cannot write the report {path}: it is told by its suffix how",
                "name a file that ends in .json, .txt or .html",
            )
        write_whole(path, text.encode("utf-8", "backslashreplace"), what="report")
        return path


def now() -> str:
    """The time of a report."""
    return next_time(None)
