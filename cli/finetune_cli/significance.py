"""Is B better than A? The paired bootstrap over utterances, in plain Python.

Method: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004:
utterances are drawn with replacement, both systems are scored on the same draw, and the share of draws in which B is
not better is the p-value.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

DRAWS = 2000


@dataclass(frozen=True, slots=True)
class Comparison:
    """A against B on the same utterances.

    Attributes:
        utterances: How many both have.
        a: Word error rate of A over them.
        b: Word error rate of B.
        p_value: Share of draws in which B is not better than A.
        low: 2.5th percentile of the gain a - b.
        high: 97.5th percentile.
    """

    utterances: int
    a: float
    b: float
    p_value: float
    low: float
    high: float


def paired_bootstrap(
    errors_a: Sequence[float], errors_b: Sequence[float], words: Sequence[int], seed: int = 0, draws: int = DRAWS
) -> Comparison:
    """Compares two systems.

    Args:
        errors_a: Word errors of A in each utterance.
        errors_b: Word errors of B in the same utterances.
        words: Reference words of each utterance.
        seed: Makes it repeatable.
        draws: Resamplings.

    Raises:
        ValueError: No utterance, or sequences of different lengths.
    """
    if not words or not len(errors_a) == len(errors_b) == len(words):
        raise ValueError("a comparison needs the same utterances, and at least one, on both sides")
    total = max(1, sum(words))
    source = random.Random(seed)
    places = range(len(words))
    gains = []
    for _ in range(draws):
        drawn = source.choices(places, k=len(words))
        length = max(1, sum(words[i] for i in drawn))
        gains.append(sum(errors_a[i] - errors_b[i] for i in drawn) / length)
    gains.sort()
    worse = sum(gain <= 0 for gain in gains)
    return Comparison(
        utterances=len(words),
        a=sum(errors_a) / total,
        b=sum(errors_b) / total,
        # One is added to both, so that a finite number of draws never claims certainty (Davison and Hinkley 1997, 4.2).
        p_value=(worse + 1) / (draws + 1),
        low=gains[int(0.025 * (draws - 1))],
        high=gains[int(0.975 * (draws - 1))],
    )
