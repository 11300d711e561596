"""Whether one run is better than another on the same utterances, beyond chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Utterances:
    """Errors and reference words of each utterance of a set, in the set's order."""

    errors: tuple[int, ...] = ()
    words: tuple[int, ...] = ()

    @property
    def rate(self) -> float | None:
        """Corpus-level word error rate; None without reference words."""
        return sum(self.errors) / sum(self.words) if sum(self.words) else None

    def __add__(self, other: Utterances) -> Utterances:
        return Utterances(self.errors + other.errors, self.words + other.words)


def paired_p_value(reference: Utterances, candidate: Utterances) -> float | None:
    """One-sided p-value of `candidate has the lower word error rate`, from two runs on the same utterances.

    The difference of two corpus-level rates on the same utterances is a ratio, R = sum(d) / sum(w) with d the
    difference of errors and w the words of an utterance. Its standard error is that of the linearised residuals
    d - R w (Cochran, Sampling Techniques, 1977, section 6.4), to which the paired bootstrap of Bisani and Ney (2004)
    converges.

    Returns:
        The p-value; 1 when the runs do not differ, None when they do not list the same two utterances at least.
    """
    count, words = len(reference.words), sum(reference.words)
    if reference.words != candidate.words or count < 2 or words == 0:
        return None
    gains = [before - after for before, after in zip(reference.errors, candidate.errors, strict=True)]
    ratio = sum(gains) / words
    squares = sum((gain - ratio * length) ** 2 for gain, length in zip(gains, reference.words, strict=True))
    error = math.sqrt(squares * count / (count - 1)) / words
    if error == 0:
        return 1.0 if ratio <= 0 else 0.0
    return 0.5 * math.erfc(ratio / error / math.sqrt(2))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being several, in the same order (Holm, Scandinavian Journal of Statistics 6, 1979)."""
    order = sorted(range(len(p_values)), key=lambda place: p_values[place])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        adjusted[place] = least
    return adjusted
