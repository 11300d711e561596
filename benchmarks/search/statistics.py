"""Medians and shares over seeds with intervals that assume nothing about how figures are distributed."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import beta

CONFIDENCE = 0.95
LEAST_SEEDS = 6
"""Fewer figures have no 95 % interval of this kind: between the extremes of five lies the median with 93.75 %."""


@dataclass(frozen=True)
class Middle:
    """A median over seeds, or a share of them, and its interval.

    Attributes:
        coverage: Probability that an interval made like this one holds the true value; below 0.95 for too few figures.
    """

    value: float
    low: float
    high: float
    coverage: float


def median(figures: Sequence[float], confidence: float = CONFIDENCE) -> Middle:
    """The median and the shortest pair of order statistics that holds the true one with the confidence wanted.

    How many of n independent figures lie below the true median is binomial (n, 1/2), whatever their distribution. So
    the true median lies between the k-th smallest and the k-th largest with probability 1 - 2 P(B < k) (Conover,
    "Practical Nonparametric Statistics", 3rd ed., section 3.2; Hahn and Meeker, "Statistical Intervals", section 5.2).
    A bootstrap of so few figures would be too narrow.

    Args:
        figures: One per seed, at least one; infinite ones are allowed.
        confidence: Least coverage; when even the extremes do not reach it, they are taken, and `coverage` says so.
    """
    ranked, count = sorted(figures), len(figures)
    if not count:
        raise ValueError("a median needs at least one figure")
    below = 1  # the k of the formula
    while below + 1 <= count / 2 and _coverage(count, below + 1) >= confidence:
        below += 1
    return Middle(statistics.median(ranked), ranked[below - 1], ranked[count - below], _coverage(count, below))


def share(flags: Sequence[bool], confidence: float = CONFIDENCE) -> Middle:
    """The share of seeds of which something is true, with the exact interval of Clopper and Pearson (1934)."""
    if not flags:
        raise ValueError("a share needs at least one seed")
    count, true = len(flags), sum(flags)
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, true, count - true + 1)) if true else 0.0
    high = float(beta.ppf(1 - tail, true + 1, count - true)) if true < count else 1.0
    return Middle(true / count, low, high, confidence)


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided p-value of the differences' median being zero; ties are left out (Conover, section 3.4)."""
    signs = [difference > 0 for difference in differences if difference != 0]
    fewer = min(sum(signs), len(signs) - sum(signs))
    return float(min(1.0, 2 * _binomial(len(signs), fewer)))


def _coverage(count: int, below: int) -> float:
    return 1.0 - 2.0 * _binomial(count, below - 1)


def _binomial(count: int, most: int) -> float:
    """Probability of at most `most` heads in so many throws of a fair coin."""
    return sum(math.comb(count, heads) for heads in range(most + 1)) * 0.5**count
