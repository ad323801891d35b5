"""The check ``privacy``: ε recomputed from the recorded history (docs/format.md section 10).

No training framework is needed for it: :mod:`mlprov.renyi` has the accountant's arithmetic.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from mlprov.errors import EvidenceError
from mlprov.record_values import describe_record, is_integer, plain, shown
from mlprov.renyi import NoisySteps, RenyiAccount, UncomputableError
from mlprov.verdicts import Mismatch, Unchecked
from mlprov.wording import plural

__all__ = ["check_privacy", "has_privacy"]

_TOLERANCE = 1e-6  # section 10: what separates two ways of summing, and no two values of ε
_BOUND_ORDERS = range(2, 64)  # whole ones are quickly summed; any order gives a bound


@dataclass(frozen=True)
class _Claim:
    """What one epoch record says of privacy; None is what it does not say."""

    where: str
    mechanism: str
    history: list[NoisySteps] | None
    epsilon: float | None
    delta: float | None
    order: float | None
    poisson: Any


def has_privacy(records: Sequence[dict[str, Any]]) -> bool:
    """Whether there is anything to check."""
    return any(_is_private(record) for record in records)


def check_privacy(records: Sequence[dict[str, Any]]) -> str:
    """Recompute each ε that the epoch records claim; what was compared.

    Raises:
        EvidenceError: a record says something else than section 5 has there.
        Mismatch: an ε is not that of its history.
        Unchecked: nothing is wrong, but one could not be recomputed, or a history starts anew.
    """
    claims = [_read(record) for record in records if _is_private(record)]
    account = RenyiAccount()
    reasons = [reason for claim in claims if (reason := _recompute(claim, account)) is not None]
    for earlier, later in itertools.pairwise(claims):
        if not _goes_on(earlier.history, later.history):
            reasons.append(
                f"the history of {later.where} does not go on from that of {earlier.where}: each is"
                " of its own steps alone"
            )
    last = claims[-1]
    if reasons:
        raise Unchecked(f"{reasons[0]}{_bound(last)}")
    steps = sum(one.steps for one in last.history or ())
    return (
        f"ε of {plural(len(claims), 'epoch')} recomputed from the noise recorded; {last.where}:"
        f" ε {last.epsilon:.6g} at δ {last.delta:g} after {plural(steps, 'step')}"
        f"{_sampling(last.poisson)}"
    )


def _sampling(poisson: Any) -> str:
    if poisson is True:
        return ", Poisson sampling as recorded"
    said = "batches were not drawn so" if poisson is False else "how batches were drawn is not said"
    return f"; it presumes Poisson sampling, and {said}"


# ---- what records say ----


def _is_private(record: dict[str, Any]) -> bool:
    return record["type"] == "epoch" and record.get("privacy") is not None


def _read(record: dict[str, Any]) -> _Claim:
    where, privacy = describe_record(record), record["privacy"]
    if not isinstance(privacy, dict) or not isinstance(privacy.get("mechanism"), str):
        raise EvidenceError(f"{where} has a privacy that is no object with a mechanism")
    delta, order = (_number(privacy, member, where) for member in ("delta", "order"))
    if delta is not None and not 0 < delta < 1:
        raise EvidenceError(f"{where} has the δ {delta:g}, expected one above 0 and below 1")
    if order is not None and order <= 1:
        raise EvidenceError(f"{where} has the order {order:g}, expected one above 1")
    infinite = privacy.get("epsilon") == "Infinity"
    return _Claim(
        where,
        privacy["mechanism"],
        _read_history(privacy.get("history"), where),
        math.inf if infinite else _number(privacy, "epsilon", where),
        delta,
        order,
        privacy.get("poisson"),
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(privacy: dict[str, Any], member: str, where: str) -> float | None:
    value = privacy.get(member)
    if value is not None and not _is_number(value):
        raise EvidenceError(f"{where} has the {member} {shown(value)}, expected a number")
    return None if value is None else float(value)


def _read_history(history: Any, where: str) -> list[NoisySteps] | None:
    if history is None:
        return None
    if not isinstance(history, list):
        raise EvidenceError(f"{where} has a history of noise that is no list")
    return [_read_steps(entry, where) for entry in history]


def _read_steps(entry: Any, where: str) -> NoisySteps:
    members = entry if isinstance(entry, dict) else {}
    noise, rate = members.get("noise_multiplier"), members.get("sample_rate")
    steps = members.get("steps")
    well_formed = all(_is_number(value) and value >= 0 for value in (noise, rate))
    if not (well_formed and is_integer(steps) and steps >= 1):
        raise EvidenceError(f"{where} has {shown(entry)} in its history of noise")
    return NoisySteps(float(members["noise_multiplier"]), float(members["sample_rate"]), steps)


# ---- what follows from it ----


def _recompute(claim: _Claim, account: RenyiAccount) -> str | None:
    """Hold one ε against its history; why it cannot be done, where it cannot."""
    if claim.mechanism != "rdp":
        return f"the ε of {claim.where} is of the mechanism {plain(claim.mechanism)}, not of rdp"
    if claim.history is None or claim.delta is None or claim.epsilon is None:
        return f"{claim.where} lacks a history, an ε or a δ"
    if claim.history and claim.order is None:
        return f"{claim.where} does not name the order of its ε"
    if any(one.sample_rate > 1 for one in claim.history):
        return f"{claim.where} has a sample rate above 1"
    try:
        epsilon = account.epsilon(claim.history, claim.delta, claim.order or math.inf)
    except UncomputableError as error:
        return f"the ε of {claim.where} cannot be computed: {error}"
    if not _is_close(claim.epsilon, epsilon):
        raise Mismatch(
            f"{claim.where} says ε {claim.epsilon:.9g} at δ {claim.delta:g}; its history gives"
            f" {epsilon:.9g}",
            seen=f"{claim.epsilon:.9g}",
            expected=f"{epsilon:.9g}",
        )
    return None


def _is_close(claimed: float, computed: float) -> bool:
    if math.isinf(claimed) or math.isinf(computed):
        return claimed == computed
    return abs(claimed - computed) <= _TOLERANCE * max(1.0, abs(computed))


def _goes_on(earlier: list[NoisySteps] | None, later: list[NoisySteps] | None) -> bool:
    if earlier is None or later is None:
        return False
    before, after = _joined(earlier), _joined(later)
    if not before:
        return True
    end = len(before) - 1
    if len(after) <= end or before[:end] != after[:end]:
        return False
    return before[end][:2] == after[end][:2] and before[end].steps <= after[end].steps


def _joined(history: list[NoisySteps]) -> list[NoisySteps]:
    """A history in which neighbours differ."""
    joined: list[NoisySteps] = []
    for one in history:
        if joined and joined[-1][:2] == one[:2]:
            one = one._replace(steps=joined.pop().steps + one.steps)
        joined.append(one)
    return joined


def _bound(claim: _Claim) -> str:
    """What Rényi divergences say of a history that another mechanism accounts for."""
    if not claim.history or claim.delta is None or claim.mechanism == "rdp":
        return ""
    account, bounds = RenyiAccount(), list[float]()
    with contextlib.suppress(UncomputableError):
        if all(one.sample_rate <= 1 for one in claim.history):
            bounds += [account.epsilon(claim.history, claim.delta, n) for n in _BOUND_ORDERS]
    if not bounds:
        return ""
    claimed = "" if claim.epsilon is None else f"claims {claim.epsilon:.6g}, and "
    return f"; {claim.where} {claimed}by rdp its history has ε {min(bounds):.6g} at most"
