"""Rates, bootstrap and error types against computations written independently of the product's."""

from __future__ import annotations

import time

import jiwer
import numpy as np
import pytest
from finetune_trainer.alignment import infer_error_type
from finetune_trainer.metrics import (
    ErrorCounts,
    count_characters,
    count_operations,
    count_words,
    paired_bootstrap,
    relative_improvement,
)
from hypothesis import given, settings
from hypothesis import strategies as st

WORDS = ["go", "stop", "left", "right", "three", "tree"]
sentences = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(sentences.filter(bool), sentences), min_size=1, max_size=12)


def edit_distance(reference: list[str] | str, hypothesis: list[str] | str) -> int:
    """Levenshtein by the textbook's recurrence."""
    row = list(range(len(hypothesis) + 1))
    for i, left in enumerate(reference, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(hypothesis, start=1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (left != right))
    return row[-1]


@given(pairs)
@settings(max_examples=60, deadline=None)
def test_rates_equal_jiwer_and_the_textbook(rows: list[tuple[str, str]]) -> None:
    references, hypotheses = [list(column) for column in zip(*rows, strict=True)]
    words = count_words(references, hypotheses)
    characters = count_characters(references, hypotheses)
    assert words.rate == pytest.approx(jiwer.wer(references, hypotheses))
    assert characters.rate == pytest.approx(jiwer.cer(references, hypotheses))
    assert words.errors.tolist() == [edit_distance(r.split(), h.split()) for r, h in rows]
    assert characters.errors.tolist() == [edit_distance(r, h) for r, h in rows]
    operations = count_operations(references, hypotheses)
    assert operations.substitutions + operations.deletions + operations.insertions == words.errors.sum()
    assert words.units.tolist() == [len(r.split()) for r in references]


def test_operations_are_told_apart() -> None:
    references = ["go left now", "stop", "go right", "three"]
    hypotheses = ["go right now", "stop at once", "go", "three"]
    counted = count_operations(references, hypotheses)
    assert (counted.substitutions, counted.insertions, counted.deletions) == (1, 2, 1)


def test_an_empty_reference_counts_insertions() -> None:
    counts = count_words(["", "go"], ["stop now", "go"])
    assert counts.errors.tolist() == [2, 0]
    assert counts.rate == 2.0
    assert count_words([], []).rate == 0.0


def test_corpus_level_is_not_the_mean_over_utterances() -> None:
    counts = count_words(["go", "one two three four"], ["stop", "one two three four"])
    assert counts.rate == pytest.approx(1 / 5)


def counts_of(errors: list[int], units: list[int]) -> ErrorCounts:
    return ErrorCounts(np.array(errors, np.int64), np.array(units, np.int64))


def naive_bootstrap(
    baseline: np.ndarray, candidate: np.ndarray, units: np.ndarray, resamples: int
) -> tuple[float, float, float]:
    """Resampling row by row, as the paper describes it."""
    generator = np.random.default_rng(99)
    differences = []
    for _ in range(resamples):
        rows = generator.integers(0, len(units), len(units))
        differences.append((baseline[rows].sum() - candidate[rows].sum()) / units[rows].sum())
    values = np.array(differences)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high), float((1 + (values <= 0).sum()) / (1 + resamples))


@pytest.mark.parametrize("gain", [0.0, 0.03, 0.3])
def test_bootstrap_agrees_with_naive_resampling(gain: float) -> None:
    generator = np.random.default_rng(1)
    units = generator.integers(1, 8, 300)
    before = generator.binomial(units, 0.4)
    after = generator.binomial(units, 0.4 - gain)
    got = paired_bootstrap(counts_of(before, units), counts_of(after, units), seed=0, resamples=4000)
    low, high, p_value = naive_bootstrap(before, after, units, 4000)
    assert got.difference == pytest.approx((before.sum() - after.sum()) / units.sum())
    assert got.low == pytest.approx(low, abs=0.01)
    assert got.high == pytest.approx(high, abs=0.01)
    assert got.p_value == pytest.approx(p_value, abs=0.03)


def test_bootstrap_is_deterministic_and_its_p_value_never_zero() -> None:
    before, after = counts_of([3] * 50, [4] * 50), counts_of([0] * 50, [4] * 50)
    first = paired_bootstrap(before, after, seed=7)
    assert first == paired_bootstrap(before, after, seed=7)
    assert first.p_value == pytest.approx(1 / 1001)
    assert paired_bootstrap(before, before, seed=7).p_value == 1.0


@pytest.mark.parametrize(
    ("baseline", "candidate", "expected"), [(0.4, 0.1, 0.75), (0.2, 0.3, -0.5), (0.0, 0.0, 0.0), (0.0, 0.1, -1.0)]
)
def test_relative_improvement(baseline: float, candidate: float, expected: float) -> None:
    assert relative_improvement(baseline, candidate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "hypothesis", "expected"),
    [
        ("three left", "tree left", "pronunciation"),
        ("stop", "left", "substitution"),
        ("go left now", "go left", "deletion"),
        ("go left", "go go left", "insertion"),
        ("go", "go", "none"),
        ("go", "", "deletion"),
    ],
)
def test_error_type_is_inferred_from_the_alignment(text: str, hypothesis: str, expected: str) -> None:
    assert infer_error_type(text, hypothesis) == expected


def test_a_hundred_thousand_utterances_within_ten_seconds() -> None:
    generator = np.random.default_rng(0)
    references = [" ".join(generator.choice(WORDS, 8)) for _ in range(20_000)] * 5
    hypotheses = [" ".join(generator.choice(WORDS, 8)) for _ in range(20_000)] * 5
    began = time.process_time()
    before = count_words(references, hypotheses)
    count_characters(references, hypotheses)
    paired_bootstrap(before, before, seed=0)
    assert time.process_time() - began < 10
