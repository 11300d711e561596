"""Word and character error rates, and how sure one can be that one model is better than another.

WER = (S + D + I) / N over all words of a set (not the mean over utterances), with the alignment of minimal edit
distance; CER the same over characters. jiwer does the counting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Edit operations per utterance, each `(utterances,)`.

    Attributes:
        units: Words or characters of the reference.
    """

    substitutions: Counts
    deletions: Counts
    insertions: Counts
    units: Counts

    @property
    def errors(self) -> Counts:
        """All operations per utterance."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Corpus-level error rate, as a fraction; over 1 when insertions abound, 0 for no reference at all."""
        total = int(self.units.sum())
        return float(self.errors.sum() / total) if total else float(bool(self.errors.sum()))

    def subset(self, indices: Sequence[int] | npt.NDArray[np.bool_]) -> ErrorCounts:
        """The counts of some utterances."""
        chosen = np.asarray(indices)
        return ErrorCounts(
            self.substitutions[chosen], self.deletions[chosen], self.insertions[chosen], self.units[chosen]
        )


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Outcome of a paired bootstrap.

    Attributes:
        difference: Baseline's rate minus candidate's, on the whole set; positive when the candidate is better.
        low, high: Bounds of the difference's confidence interval.
        p_value: Probability, were there no improvement, of what the resamples show (one-sided).
    """

    difference: float
    low: float
    high: float
    p_value: float


def count_words(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Counts word errors of normalised texts."""
    from jiwer import process_words

    return _count(references, hypotheses, process_words)


def count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorCounts:
    """Counts character errors of normalised texts; spaces count, as in jiwer."""
    from jiwer import process_characters

    return _count(references, hypotheses, process_characters)


def _count(references: Sequence[str], hypotheses: Sequence[str], process: object) -> ErrorCounts:
    if not references:
        empty = np.zeros(0, np.int64)
        return ErrorCounts(empty, empty, empty, empty)
    output = process(list(references), list(hypotheses))  # type: ignore[operator]
    rows = np.zeros((len(references), 3), np.int64)
    column = {"substitute": 0, "delete": 1, "insert": 2}
    for row, chunks in enumerate(output.alignments):
        for chunk in chunks:
            if chunk.type == "equal":
                continue
            extent = (
                chunk.hyp_end_idx - chunk.hyp_start_idx
                if chunk.type == "insert"
                else chunk.ref_end_idx - chunk.ref_start_idx
            )
            rows[row, column[chunk.type]] += extent
    units = np.fromiter((len(reference) for reference in output.references), np.int64, len(references))
    return ErrorCounts(rows[:, 0], rows[:, 1], rows[:, 2], units)


def paired_bootstrap(
    baseline: ErrorCounts, candidate: ErrorCounts, *, seed: int, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Bootstrap:
    """Resamples utterances with replacement and compares both models on each resample.

    Method: Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004. The
    p-value is the share of resamples in which the candidate is not better, with one added to both counts so that it is
    never 0 (Davison & Hinkley 1997, section 4.2).

    Args:
        baseline: Counts of the model in service.
        candidate: Counts of the new model on the same utterances, in the same order.
        seed: Seed of the resampling.
        resamples: Number of resamples.
        confidence: Level of the interval.
    """
    gain = (baseline.errors - candidate.errors).astype(np.float64)
    units = baseline.units.astype(np.float64)
    generator = np.random.default_rng(seed)
    # Only utterances in which the models differ move the numerator, and utterances of equal length are alike for the
    # denominator, so a resample is a multinomial draw over the distinct (gain, units) pairs: a few hundred cells even
    # for 100,000 utterances.
    cells, counts = np.unique(np.stack([gain, units], axis=1), axis=0, return_counts=True)
    draws = generator.multinomial(len(gain), counts / counts.sum(), size=resamples).astype(np.float64)
    totals = draws @ cells
    differences = totals[:, 0] / np.maximum(totals[:, 1], 1.0)
    margin = (1 - confidence) / 2
    low, high = np.quantile(differences, [margin, 1 - margin])
    worse = int((differences <= 0).sum())
    return Bootstrap(
        difference=float(gain.sum() / max(units.sum(), 1.0)),
        low=float(low),
        high=float(high),
        p_value=(worse + 1) / (resamples + 1),
    )


def relative_improvement(baseline: float, candidate: float) -> float:
    """(baseline - candidate) / baseline; 0 when the baseline makes no errors and the candidate none, else -1."""
    if baseline == 0:
        return 0.0 if candidate == 0 else -1.0
    return (baseline - candidate) / baseline
