"""Rényi privacy of DP-SGD, held against published figures, many digits and two other programs."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import pytest
from bundles_for_tests import v
from hypothesis import given, settings
from hypothesis import strategies as st

from mlprov.renyi import NoisySteps, RenyiAccount, UncomputableError

ORDERS = [*(1 + x / 10 for x in range(1, 100)), *range(12, 64)]  # those of accountants


def divergence(noise: float, rate: float, order: float) -> float:
    """Of one step."""
    return RenyiAccount().divergence([NoisySteps(noise, rate, 1)], order)


# tutorials/README.md of TensorFlow Privacy: MNIST, batches of 256, δ = 1e-5; the second row is also
# the example in its analysis' README. Their ε is that of Mironov 2017, proposition 3.
@pytest.mark.parametrize(
    ("noise", "epochs", "published"), [(1.3, 15, "1.19"), (1.1, 60, "3.01"), (0.7, 45, "7.10")]
)
def test_the_published_figures_of_tensorflow_privacy_come_out(
    noise: float, epochs: int, published: str
) -> None:
    history = [NoisySteps(noise, 256 / 60000, math.ceil(epochs * 60000 / 256))]
    account = RenyiAccount()
    found = min(account.divergence(history, a) + math.log(1e5) / (a - 1) for a in ORDERS)
    assert f"{found:.2f}" == published


def exact_divergence(noise: float, rate: float, order: float) -> float:
    """The definition (docs/format.md section 10), integrated with thirty digits."""
    mpmath: Any = pytest.importorskip("mpmath")
    with mpmath.workdps(30):
        sigma, q, alpha = mpmath.mpf(noise), mpmath.mpf(rate), mpmath.mpf(order)

        def integrand(z: Any) -> Any:
            ratio = 1 - q + q * mpmath.exp((2 * z - 1) / (2 * sigma**2))
            density = mpmath.exp(-(z**2) / (2 * sigma**2)) / (sigma * mpmath.sqrt(2 * mpmath.pi))
            return density * ratio**alpha

        places = [n * sigma for n in range(-15, 16, 5)] + [
            alpha + n * sigma for n in range(-15, 16, 5)
        ]
        total = mpmath.quad(integrand, sorted(set(places)))
        return float(mpmath.log(total) / (alpha - 1))


@pytest.mark.parametrize("order", [1.1, 2, 2.5, 8.1, 32])
@pytest.mark.parametrize(("noise", "rate"), [(0.5, 0.3), (0.8, 1e-3), (1.1, 256 / 60000), (4, 0.9)])
def test_a_divergence_is_the_integral_that_defines_it(
    noise: float, rate: float, order: float
) -> None:
    exact = exact_divergence(noise, rate, order)
    assert divergence(noise, rate, order) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(
    noise=st.floats(0.05, 1000),
    rate=st.floats(1e-8, 1 - 1e-8),
    order=st.floats(1.05, 64) | st.integers(2, 64),
)
def test_series_and_trapezoidal_rule_agree(noise: float, rate: float, order: float) -> None:
    other = v.Divergences().total([v.Steps(noise, rate, 1)], float(order))
    assert divergence(noise, rate, order) == pytest.approx(other, rel=1e-8, abs=1e-11)


def test_a_series_whose_first_terms_are_small_is_not_cut_off() -> None:
    exact = exact_divergence(12.0, 0.5, 63.5)  # its terms begin at exp(−30.2)
    assert divergence(12.0, 0.5, 63.5) == pytest.approx(exact, rel=1e-9)


def test_steps_without_sampling_are_the_gaussian_mechanism() -> None:
    for noise, order in itertools.product((0.5, 1, 20), (1.1, 2, 63)):
        assert divergence(noise, 1, order) == pytest.approx(order / (2 * noise**2), rel=1e-15)
        nearly = divergence(noise, 1 - 1e-12, order)
        assert nearly == pytest.approx(order / (2 * noise**2), rel=1e-8)


def test_a_step_that_takes_no_sample_discloses_nothing_and_one_without_noise_everything() -> None:
    assert divergence(0, 0, 2) == 0
    assert divergence(1, 0, 2.5) == 0
    assert divergence(0, 0.1, 2) == math.inf
    assert RenyiAccount().epsilon([NoisySteps(0, 0.1, 1)], 1e-5, 2) == math.inf
    assert RenyiAccount().epsilon([], 1e-5, 2) == 0


def test_a_whole_order_is_the_limit_of_the_others() -> None:
    assert divergence(1.1, 0.1, 3 + 1e-9) == pytest.approx(divergence(1.1, 0.1, 3), rel=1e-7)


def test_steps_of_several_kinds_add_up_in_any_order() -> None:
    account = RenyiAccount()
    history = [NoisySteps(1.1, 0.01, 100), NoisySteps(0.9, 0.02, 7), NoisySteps(1.1, 0.01, 3)]
    alone = [account.divergence([one], 4.5) for one in history]
    assert account.divergence(history, 4.5) == pytest.approx(math.fsum(alone), rel=1e-15)
    assert account.divergence(history[::-1], 4.5) == account.divergence(history, 4.5)


def test_what_takes_too_long_or_is_beyond_floats_is_not_guessed() -> None:
    with pytest.raises(UncomputableError, match="more than 1000000 terms"):
        divergence(1, 0.5, 10**9)
    with pytest.raises(UncomputableError, match="more than 200000 terms"):
        divergence(1, 0.5, 300_000.5)
    with pytest.raises(UncomputableError, match="floats do not suffice"):
        divergence(1e200, 0.5, 2.5)  # σ² is infinite
    for rate in (0.5, 1):
        with pytest.raises(UncomputableError, match="floats do not suffice"):
            divergence(1e-200, rate, 2)  # σ² is 0


@pytest.mark.frameworks
@pytest.mark.parametrize("noise", [0.05, 0.3, 1.1, 10.0])
def test_opacus_has_the_same_epsilon_and_the_same_best_order(noise: float) -> None:
    accountants = pytest.importorskip("opacus.accountants")
    for rate, steps, delta in itertools.product(
        (0, 1e-9, 256 / 60000, 0.3, 0.999999, 1), (1, 10**6), (1e-2, 1e-10)
    ):
        accountant = accountants.RDPAccountant()
        accountant.history = [(noise, rate, steps), (2 * noise, rate, 10)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the best order is the first, or the last
            epsilon, order = accountant.get_privacy_spent(delta=delta)
        history = [NoisySteps(*entry) for entry in accountant.history]
        found = RenyiAccount().epsilon(history, delta, order)
        assert found == pytest.approx(epsilon, rel=1e-8, abs=1e-9), (rate, steps, delta)


@pytest.mark.frameworks
def test_opacus_has_the_same_divergence_at_every_order_of_its_accountant() -> None:
    analysis = pytest.importorskip("opacus.accountants.analysis.rdp")
    assert pytest.importorskip("opacus.accountants").RDPAccountant.DEFAULT_ALPHAS == ORDERS
    for noise, rate in itertools.product((0.5, 1.1, 5.0), (1e-4, 0.01, 0.5)):
        theirs = analysis.compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=ORDERS)
        ours = [divergence(noise, rate, order) for order in ORDERS]
        assert ours == pytest.approx(list(theirs), rel=1e-8, abs=1e-11)
