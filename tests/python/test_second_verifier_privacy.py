"""Both verifiers on the check ``privacy``: ε of a recorded history, recomputed without a framework.

Each ε here is what Opacus 1.6.0 gave for the history beside it (``get_privacy_spent``).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from bundles_for_tests import BundleBuilder, check, check_states, standard_run, v, verify

import mlprov.verification
from mlprov.questions import Question

MEMBERS = ("noise_multiplier", "sample_rate", "steps")
EPOCHS = (5, 6)  # the epoch records of the standard run


def steps(count: int, noise: float = 1.1, rate: float = 0.01) -> dict[str, Any]:
    return {"noise_multiplier": noise, "sample_rate": rate, "steps": count}


def privacy(epsilon: Any, order: Any, *history: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """What a record says, by Opacus' accountant of Rényi divergences at δ = 1e-5."""
    said = {
        "mechanism": "rdp", "history": list(history), "epsilon": epsilon, "delta": 1e-5,
        "order": order, "noise_multiplier": 1.1, "max_grad_norm": 1.0, "poisson": True,
    }  # fmt: skip
    return {name: value for name, value in (said | changes).items() if value is not ...}


FIRST = privacy(0.8394535578288401, 10.9, steps(10))
SECOND = privacy(0.8535025542436351, 10.9, steps(20))


def private_run(first: Any = FIRST, second: Any = SECOND) -> BundleBuilder:
    builder = standard_run()
    for seq, said in zip(EPOCHS, (first, second), strict=True):
        builder.records[seq]["privacy"] = said
    return builder


def states(first: Any = FIRST, second: Any = SECOND) -> tuple[str, str]:
    """The state of ``privacy``, and the result."""
    verdict = verify(private_run(first, second).build())
    return check_states(verdict)["privacy"], verdict.result


def details(first: Any = FIRST, second: Any = SECOND) -> tuple[str, str]:
    """What either verifier says of it."""
    builder = private_run(first, second)
    asked = Question(keys=[str(builder.owner_key)])
    verdict = mlprov.verification.verify_bytes(builder.build(), "evidence", asked)
    return verdict["privacy"].detail, check(verify(builder.build()), "privacy").detail


def test_a_run_that_says_nothing_of_privacy_has_no_such_check() -> None:
    assert "privacy" not in check_states(verify(standard_run().build()))
    assert "privacy" not in check_states(verify(private_run(None, None).build()))


def test_the_epsilon_of_every_epoch_is_recomputed() -> None:
    assert states() == ("holds", "holds")
    for detail in details():
        assert "0.8535" in detail
        assert "20 steps" in detail
    names = [one.name for one in verify(private_run().build()).checks]
    assert names.index("privacy") == names.index("complete") + 1


HISTORIES: list[dict[str, Any]] = [
    privacy(1.7230045116585928, 6.4, steps(20), steps(5, 0.8)),
    privacy(26.50055211793853, 2.1, steps(20, rate=1)),
    privacy(0.10286725121127971, 63, steps(20, rate=0)),
    privacy("Infinity", 1.1, steps(20, noise=0, rate=0.1)),
    privacy(0.11507962647371339, 63, steps(200, 3.0, 0.004)),
    privacy(0, None),
]


@pytest.mark.parametrize("said", HISTORIES, ids=str)
def test_what_opacus_gave_for_a_history_holds(said: dict[str, Any]) -> None:
    assert states(None, said) == ("holds", "holds")


@pytest.mark.parametrize(
    "said",
    [
        SECOND | {"epsilon": 0.85349},
        SECOND | {"epsilon": 0.8535045},
        SECOND | {"epsilon": "Infinity"},
        SECOND | {"epsilon": -1},
        SECOND | {"delta": 1.1e-5},
        SECOND | {"order": 10.8},
        SECOND | {"history": [steps(21)]},
        SECOND | {"history": [steps(20, 1.0)]},
        SECOND | {"history": [steps(20, rate=0.011)]},
        SECOND | {"history": [steps(20, noise=0)]},
        SECOND | {"history": []},
    ],
    ids=str,
)
def test_another_epsilon_than_the_one_of_its_history_does_not_hold(said: dict[str, Any]) -> None:
    assert states(None, said) == ("fails", "does not hold")
    assert states(FIRST | {"epsilon": 0.5}, SECOND | {"mechanism": "prv"})[0] == "fails"


def test_a_difference_of_a_millionth_is_one_of_summing() -> None:
    assert states(None, SECOND | {"epsilon": SECOND["epsilon"] + 9e-7})[0] == "holds"


@pytest.mark.parametrize(
    "said",
    [
        SECOND | {"mechanism": "prv", "order": None},
        SECOND | {"mechanism": "gdp", "order": None},
        SECOND | {"mechanism": "Ünknown\x1b[2J"},
        SECOND | {"epsilon": None},
        SECOND | {"delta": None},
        SECOND | {"order": None},
        SECOND | {"history": None},
        privacy(..., ..., steps(20)),
        SECOND | {"history": [steps(20, rate=1.01)]},
        SECOND | {"order": 1e9},
        SECOND | {"history": [steps(20, noise=1e-200)]},
    ],
    ids=str,
)
def test_what_cannot_be_recomputed_is_unchecked_and_the_rest_of_the_bundle_holds(
    said: dict[str, Any],
) -> None:
    assert states(None, said) == ("unchecked", "holds")


def test_of_another_mechanism_the_bound_by_renyi_divergences_is_said() -> None:
    said = privacy(0.6, None, steps(20), mechanism="prv")
    assert "the mechanism prv, not of rdp" in details(None, said)[0]
    whole = [
        v.Divergences().total([v.Steps(1.1, 0.01, 20)], n)
        - math.log(1e-5 * n) / (n - 1)
        + math.log((n - 1) / n)
        for n in map(float, range(2, 64))
    ]
    bound = f"claims 0.6, and by rdp its history has ε {min(whole):.6g} at most"
    assert details(None, said)[0].endswith(bound)
    assert "nothing is computed" in details(None, said)[1]


@pytest.mark.parametrize(
    "said",
    [
        1,
        "rdp",
        [],
        {},
        SECOND | {"mechanism": None},
        SECOND | {"epsilon": "0.85"},
        SECOND | {"epsilon": True},
        SECOND | {"delta": 0},
        SECOND | {"delta": 1},
        SECOND | {"delta": "1e-5"},
        SECOND | {"order": 1},
        SECOND | {"order": True},
        SECOND | {"history": {}},
        SECOND | {"history": [[1.1, 0.01, 20]]},
        SECOND | {"history": [steps(0)]},
        SECOND | {"history": [steps(True)]},
        SECOND | {"history": [steps(20) | {"steps": 20.5}]},
        SECOND | {"history": [steps(20, noise=-1)]},
        SECOND | {"history": [steps(20) | {"sample_rate": None}]},
        SECOND | {"mechanism": "prv", "history": [steps(20, rate=-0.1)]},
    ],
    ids=str,
)
def test_a_malformed_account_fails(said: Any) -> None:
    assert states(None, said) == ("fails", "does not hold")


@pytest.mark.parametrize(
    ("earlier", "state"),
    [
        ([], "holds"),
        ([steps(20)], "holds"),
        ([steps(15), steps(5)], "holds"),
        ([steps(21)], "unchecked"),
        ([steps(5, 0.8)], "unchecked"),
        ([steps(10), steps(5, 0.8)], "unchecked"),
        (None, "unchecked"),
    ],
    ids=str,
)
def test_a_history_goes_on_from_the_one_before(earlier: Any, state: str) -> None:
    order, epsilon = None, 0.0
    if earlier:
        order, history = 8.1, [v.Steps(*(one[name] for name in MEMBERS)) for one in earlier]
        epsilon = v.Divergences().total(history, order)
        epsilon += -math.log(1e-5 * order) / (order - 1) + math.log((order - 1) / order)
    assert states(privacy(epsilon, order) | {"history": earlier})[0] == state


def test_it_is_said_whether_batches_were_drawn_as_the_accountant_takes_it() -> None:
    for poisson, words in (
        (True, "Poisson sampling as recorded"),
        (False, "batches were not drawn so"),
        (None, "how batches were drawn is not said"),
        ({"odd": 1}, "how batches were drawn is not said"),
    ):
        assert words in details(FIRST, SECOND | {"poisson": poisson})[0]
        assert states(FIRST, SECOND | {"poisson": poisson})[0] == "holds"
