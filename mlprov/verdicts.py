"""What a verifier answers: checks, each ``holds``, ``fails`` or ``unchecked``, and one result.

The rules are docs/format.md section 10.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from mlprov.errors import Error, EvidenceError, VerificationError
from mlprov.escapes import escape
from mlprov.explanations import Explained
from mlprov.wording import brief

__all__ = ["Check", "Checks", "Mismatch", "NewerVersion", "Unchecked", "Verdict"]

State = Literal["holds", "fails", "unchecked"]

_LONG_SUBJECT = 80  # characters of a subject in one line
_LONG_NAME = 100  # characters of a name out of the evidence
_ADDED = ("anchor:", "block:")  # what evidence may have on top; nothing else depends on it
_LONG_CELL = 600  # characters of a cell in a notebook: evidence may have megabytes


@dataclass(frozen=True)
class Check:
    """One thing that was compared with another.

    Attributes:
        name: as docs/format.md section 10 names it.
        state: ``holds``, ``fails`` or ``unchecked``.
        detail: what was compared, or why it was not.
        seen: what a failing check found, where one value says it.
        expected: what it should have found.

    >>> check = Check("signature", "holds", "manifest.json is signed by the owner")
    >>> check.name, check.state
    ('signature', 'holds')
    """

    name: str
    state: State
    detail: str
    seen: str | None = None
    expected: str | None = None


class Unchecked(Explained):
    """Raised inside a check that cannot be made; the text says why."""


class NewerVersion(Exception):  # noqa: N818 - an answer, not an error
    """Raised inside a check that meets a format version above what this release reads."""

    def __init__(self, version: int) -> None:
        super().__init__(f"format version {version} is newer than this release")
        self.version = version


class Mismatch(VerificationError):  # noqa: N818 - what it is called in a verdict
    """Raised inside a check that fails, where one value can be shown against another."""

    def __init__(self, message: str, *, seen: str, expected: str) -> None:
        super().__init__(message)
        self.seen = seen
        self.expected = expected


@dataclass(frozen=True, repr=False)
class Verdict:
    """The answer to "does this hold?".

    ``repr`` is one line, ``str`` every check on a line of its own; notebooks show a table. All
    three are escaped: names in evidence are whatever somebody else wrote.

    Attributes:
        subject: what was verified, as the caller named it.
        checks: every check that section 10 lists for it, in order.
        newer: the format version, where it is above what this release reads.
        facts: what the evidence says of itself, for display: run, name, signer, records, anchors …
        time_asked: whether the caller said which blocks he trusts, and so asked for ``time``.

    >>> checks = [Check("archive", "holds", "21 entries"), Check("heads", "fails", "wrong root")]
    >>> verdict = Verdict("digits.mlprov", tuple(checks))
    >>> print(verdict)
    holds      archive  21 entries
    fails      heads    wrong root
    digits.mlprov: does not hold (heads)
    >>> bool(verdict), verdict.exit_code, verdict["heads"].state
    (False, 1, 'fails')
    >>> verdict.require()
    Traceback (most recent call last):
    mlprov.errors.VerificationError: cannot accept digits.mlprov: heads: wrong root
    """

    subject: str
    checks: tuple[Check, ...]
    allow_unpinned: bool = False
    newer: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    time_asked: bool = False

    @property
    def failing(self) -> tuple[Check, ...]:
        """The checks that fail."""
        return tuple(check for check in self.checks if check.state == "fails")

    @property
    def _missing(self) -> tuple[Check, ...]:
        excused = {"complete", "not_before", "privacy"}
        if not self.time_asked:
            excused.add("time")
        if self.allow_unpinned:
            excused.add("signer")
        if self.facts.get("open"):
            excused.add("log")
        return tuple(
            c
            for c in self.checks
            if c.state == "unchecked" and c.name not in excused and not c.name.startswith(_ADDED)
        )

    @property
    def ok(self) -> bool:
        """Nothing fails, and the signer and every check that the caller asked for hold."""
        return self.exit_code == 0

    @property
    def result(self) -> str:
        """``holds``, ``does not hold`` or ``could not check``."""
        return ("holds", "does not hold", "could not check")[self.exit_code]

    @property
    def exit_code(self) -> int:
        """0 holds, 1 does not hold, 2 could not check."""
        if self.failing:
            return 1
        return 2 if self.newer is not None or self._missing else 0

    def __getitem__(self, name: str) -> Check:
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(name)

    def require(self) -> Verdict:
        """Return the verdict if it holds.

        Raises:
            VerificationError: a check fails; the message names the first.
            EvidenceError: nothing fails, but a check that was needed could not be made.
        """
        if self.failing:
            check = self.failing[0]
            raise VerificationError(f"cannot accept {self.subject}: {check.name}: {check.detail}")
        if self.newer is not None:
            raise EvidenceError(
                f"cannot check {self.subject}: it is of format version {self.newer}, this release "
                "reads 1",
                "upgrade mlprov",
            )
        if self._missing:
            check = self._missing[0]
            raise EvidenceError(f"cannot check {self.subject}: {check.name}: {check.detail}")
        return self

    def __bool__(self) -> bool:
        return self.ok

    @property
    def summary(self) -> str:
        """Subject, name of the run, result and the checks that it is owed to, in one line."""
        name = self.facts.get("name")
        decisive = [brief(check.name, _LONG_NAME) for check in self.failing or self._missing]
        if self.newer is not None and not self.failing:
            decisive = [f"format version {self.newer}"]
        parts = [
            self.subject,
            f" ({brief(str(name), _LONG_NAME)})" if name else "",
            f": {self.result}",
        ]
        if decisive:
            parts.append(f" ({', '.join(decisive)})")
        if self.facts.get("ended") is False and not self.failing:
            parts.append("; the run had not ended when this was exported")
        return escape("".join(parts))

    def __str__(self) -> str:
        names = [brief(check.name, _LONG_NAME) for check in self.checks]
        width = max(map(len, names), default=0)
        lines = [
            f"{check.state:<9}  {name:<{width}}  {check.detail}"
            for name, check in zip(names, self.checks, strict=True)
        ]
        return "\n".join([*map(escape, lines), self.summary])

    def __repr__(self) -> str:
        states = [check.state for check in self.checks]
        counts = (
            f"{states.count('holds')} hold, {states.count('fails')} fail, "
            f"{states.count('unchecked')} unchecked"
        )
        subject = brief(escape(self.subject), _LONG_SUBJECT)
        return f"<mlprov.Verdict {self.result}: {subject}; of {len(states)} checks {counts}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002 - IPython's form
        """What IPython prints on a terminal: the full text."""
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """What a notebook shows: a table, every cell escaped twice, for a page and for a reader."""
        rows = [
            "".join(
                f'<td style="text-align:left">{_cell(text)}</td>'
                for text in (check.state, check.name, check.detail)
            )
            for check in self.checks
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<p><b>{_cell(self.summary)}</b></p><table>{body}</table>"


def _cell(text: str) -> str:
    return html.escape(brief(escape(text), _LONG_CELL))


class Checks:
    """Collects checks in order and knows which held."""

    def __init__(self) -> None:
        self.list: list[Check] = []
        self.newer: int | None = None
        self._stopped = False

    def stop_at(self, version: int) -> None:
        """What follows is of a version above what this release reads: it cannot be checked."""
        self.newer = version
        self._stopped = True

    def holds(self, name: str) -> bool:
        """Whether a check of that name was made and holds."""
        return any(check.name == name and check.state == "holds" for check in self.list)

    def unchecked(self, name: str) -> bool:
        """Whether a check of that name was tried and could not be made."""
        return any(check.name == name and check.state == "unchecked" for check in self.list)

    def run(self, name: str, action: Callable[[], str], *, needs: Iterable[str] = ()) -> None:
        """Make one check.

        Args:
            name: of the check.
            action: returns what was compared; raises VerificationError or EvidenceError where the
                check fails, anything else of mlprov's where it cannot be made.
            needs: names of checks that must hold, or this one cannot be made.
        """
        lacking = [need for need in needs if not self.holds(need)]
        if self._stopped and self.newer is not None:
            self.list.append(Check(name, "unchecked", str(NewerVersion(self.newer))))
        elif lacking:
            reason = f"needs {' and '.join(map(repr, lacking))}, which does not hold"
            self.list.append(Check(name, "unchecked", reason))
        else:
            self.list.append(self._make(name, action))

    def _make(self, name: str, action: Callable[[], str]) -> Check:
        try:
            return Check(name, "holds", action())
        except Unchecked as reason:
            return Check(name, "unchecked", str(reason))
        except NewerVersion as found:
            self.newer = found.version
            return Check(name, "unchecked", str(found))
        except Mismatch as error:
            return Check(name, "fails", str(error), error.seen, error.expected)
        except (VerificationError, EvidenceError) as error:
            return Check(name, "fails", str(error))
        except Error as error:  # what the caller gave, or this machine; not the evidence
            return Check(name, "unchecked", str(error))
