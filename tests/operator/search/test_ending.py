"""When a stage ends early: the estimate against what really happens, and the rule."""

from __future__ import annotations

import random

import pytest
from finetune_operator.search.ending import LEAST_RUNS, exhausted, expected_gain
from hypothesis import given
from hypothesis import strategies as st

VALUES = st.lists(st.floats(0.01, 2.0), min_size=LEAST_RUNS, max_size=40)


def test_too_few_runs_say_nothing():
    assert expected_gain([0.3] * (LEAST_RUNS - 1), 10) is None
    assert not exhausted([0.3] * (LEAST_RUNS - 1), 10, 0.5)


def test_a_best_value_of_zero_says_nothing():
    assert expected_gain([0.0, *[0.5] * 9], 10) is None


@given(VALUES, st.integers(0, 50))
def test_more_trials_gain_more_and_never_less_than_nothing(values, remaining):
    gain = expected_gain(values, remaining)
    assert gain is not None
    assert gain >= 0
    assert expected_gain(values, remaining + 5) >= gain
    assert expected_gain(list(reversed(values)), remaining) == gain


@given(VALUES, st.integers(1, 50))
def test_how_bad_the_bad_runs_are_changes_nothing(values, remaining):
    ranked = sorted(values)
    assert expected_gain([*ranked[:-1], 100.0], remaining) == expected_gain(values, remaining)
    assert not exhausted(values, remaining, 0)


@given(VALUES, st.integers(1, 50))
def test_maximising_is_the_mirror_image(values, remaining):
    assert expected_gain([-v for v in values], remaining, "maximize") == expected_gain(values, remaining)


def test_a_plateau_ends_a_stage_and_progress_does_not():
    plateau = [0.2, 0.2001, 0.2001, 0.2002, 0.9, 0.8, 0.2003, 0.3]
    assert exhausted(plateau, 8, 0.01)
    assert not exhausted([0.9, 0.7, 0.6, 0.5, 0.3, 0.2], 8, 0.01)
    assert not exhausted(plateau, 0, 0.01)  # it has ended by itself


@pytest.mark.parametrize(
    ("draw", "low", "high"),
    [
        (lambda rng: 1 + rng.gammavariate(2, 0.2), 0.7, 4.0),  # lighter tail than assumed: cautious
        (lambda rng: 3 - rng.expovariate(4), 0.8, 1.25),  # as assumed: right on average
        (lambda rng: rng.uniform(0.2, 0.9), 0.9, 4.0),
    ],
)
def test_the_estimate_is_right_on_average_or_cautious(draw, low, high):
    rng = random.Random(7)
    expected, happened = 0.0, 0.0
    for _ in range(2000):
        values = [draw(rng) for _ in range(12)]
        best = min(values)
        after = min([best, *(draw(rng) for _ in range(8))])
        gain = expected_gain(values, 8)
        assert gain is not None
        expected += gain * best
        happened += best - after
    assert low <= expected / happened <= high
