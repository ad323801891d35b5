"""Rényi differential privacy of DP-SGD: ε from an accountant's history (docs/format.md section 10).

One step is the sampled Gaussian mechanism: every sample is taken with probability q, and noise of
σ times the clipping norm is added to the sum of their clipped gradients. Its Rényi divergence of
order α is that of Mironov, Talwar and Zhang, "Rényi Differential Privacy of the Sampled Gaussian
Mechanism" (arXiv:1908.10530), section 3.3. Divergences of one order add up over steps (Mironov,
"Rényi Differential Privacy", CSF 2017, proposition 1), and give (ε, δ) by theorem 21 of Balle et
al., "Hypothesis Testing Interpretations and Renyi Differential Privacy" (arXiv:1905.09982).

Plain Python: a verifier has no training framework. What is too large or too small for a float is
kept as its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["NoisySteps", "RenyiAccount", "UncomputableError"]

_MAX_TERMS = 1_000_000  # of all sums of one account: some seconds
_MAX_SERIES = 200_000  # of one series, whose terms are kept: 40 MB; α = 1.1 takes 15,000
_LEAST_TERM = -30.0  # logarithm of where a series ends; the sum is at least 1
_LARGE = 25.0  # from here on erfc comes from its asymptotic series; math.erfc is 0 above 27.2


class UncomputableError(Exception):
    """The value is beyond what floats and the bound on terms can give; nothing is wrong with it."""


class NoisySteps(NamedTuple):
    """Steps one after another with the same noise.

    Attributes:
        noise_multiplier: σ, standard deviation of the noise in units of the clipping norm; from 0.
        sample_rate: q, the probability of each sample to be in a step, 0 to 1.
        steps: how many, from 1.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int


class RenyiAccount:
    """Computes ε, and remembers the divergence of each kind of step.

    >>> history = [NoisySteps(1.1, 256 / 60000, 14063)]
    >>> round(RenyiAccount().epsilon(history, 1e-5, 8.1), 3)
    2.597
    """

    def __init__(self) -> None:
        self._known: dict[tuple[float, float, float], float] = {}
        self._terms = 0

    def epsilon(self, history: Sequence[NoisySteps], delta: float, order: float) -> float:
        """ε at δ of all steps of a history, by their divergence of one order.

        Args:
            history: what was done, in any order; nothing has ε 0.
            delta: δ, above 0 and below 1.
            order: α, above 1. Each gives an ε that holds; accountants search for the least.

        Returns:
            ε; infinite where there is a step without noise.

        Raises:
            UncomputableError: floats or the bound on terms do not suffice.
        """
        if not history:
            return 0.0
        divergence = self.divergence(history, order)
        # Balle et al., theorem 21: ε = R + (ln(1/δ) − ln α)/(α − 1) + ln((α − 1)/α)
        return (
            divergence
            - (math.log(delta) + math.log(order)) / (order - 1)
            + math.log((order - 1) / order)
        )

    def divergence(self, history: Sequence[NoisySteps], order: float) -> float:
        """The Rényi divergence of order α of all steps: what :meth:`epsilon` converts."""
        try:
            total = math.fsum(one.steps * self._of_one_step(one, order) for one in history)
        except (ArithmeticError, ValueError):
            total = math.nan
        if math.isnan(total):
            raise UncomputableError("floats do not suffice for its noise, rate and order")
        return total

    def _of_one_step(self, one: NoisySteps, order: float) -> float:
        sigma, rate, _ = one
        known = self._known.get((sigma, rate, order))
        if known is None:
            known = self._known[sigma, rate, order] = self._compute(sigma, rate, order)
        return known

    def _compute(self, sigma: float, rate: float, order: float) -> float:
        if rate == 0:
            return 0.0
        if sigma == 0:
            return math.inf
        scale = 0.5 / (sigma * sigma)
        if rate == 1:  # the Gaussian mechanism (Mironov 2017, proposition 7)
            return order * scale
        whole = float(order).is_integer()
        log_a = (
            self._sum_whole(scale, rate, int(order)) if whole else self._series(sigma, rate, order)
        )
        return log_a / (order - 1)

    def _count(self, terms: int) -> None:
        self._terms += terms
        if self._terms > _MAX_TERMS:
            raise UncomputableError(f"it takes more than {_MAX_TERMS} terms")

    def _sum_whole(self, scale: float, rate: float, order: int) -> float:
        """The logarithm of A, whole order: Σ C(α,k) (1−q)^(α−k) q^k exp((k²−k)/2σ²)."""
        self._count(order + 1)
        log_q, log_rest = math.log(rate), math.log1p(-rate)
        weight, terms = 0.0, []
        for k in range(order + 1):
            terms.append((1.0, weight + k * log_q + (order - k) * log_rest + (k * k - k) * scale))
            if k < order:
                weight += math.log((order - k) / (k + 1))
        return _log_sum(terms)

    def _series(self, sigma: float, rate: float, order: float) -> float:
        """The logarithm of A, any order: two series, for the integral below z₀ and above it.

        They are those of section 3.3 with i for k, and α − i for the j of the second; binomial
        coefficients of an order that is no integer change their signs from i = ⌈α⌉ + 1 on.
        """
        log_q, log_rest = math.log(rate), math.log1p(-rate)
        scale = 0.5 / (sigma * sigma)
        middle = sigma * sigma * (log_rest - log_q) + 0.5  # z₀: where both densities are equal
        width = math.sqrt(2) * sigma
        coefficient, terms, i = 1.0, list[tuple[float, float]](), 0
        while True:
            self._count(1)
            if i == _MAX_SERIES:
                raise UncomputableError(f"its series takes more than {_MAX_SERIES} terms")
            j = order - i
            weight, sign = math.log(abs(coefficient)), math.copysign(1.0, coefficient)
            below = (
                weight + i * log_q + j * log_rest + (i * i - i) * scale
                + _log_half_erfc((i - middle) / width)
            )  # fmt: skip
            above = (
                weight + j * log_q + i * log_rest + (j * j - j) * scale
                + _log_half_erfc((middle - j) / width)
            )  # fmt: skip
            terms += [(sign, below), (sign, above)]
            # Before α, terms may still grow; not(>=) is also true of a term that is no number.
            if i > order and not max(below, above) >= _LEAST_TERM:
                return _log_sum(terms)
            coefficient *= j / (i + 1)
            i += 1


def _log_sum(terms: Sequence[tuple[float, float]]) -> float:
    """Logarithm of Σ sign · exp(logarithm)."""
    most = max(logarithm for _, logarithm in terms)
    return most + math.log(
        math.fsum(sign * math.exp(logarithm - most) for sign, logarithm in terms)
    )


def _log_half_erfc(x: float) -> float:
    """The logarithm of erfc(x) / 2; Abramowitz and Stegun 7.1.23 for large x."""
    if x < _LARGE:
        return math.log(math.erfc(x) / 2)
    term, total, inverse = 1.0, 1.0, 0.5 / (x * x)
    for n in range(1, 8):
        term *= -(2 * n - 1) * inverse
        total += term
    return -x * x - math.log(2 * x * math.sqrt(math.pi)) + math.log(total)
