"""Tests of runs against each other: against the paired bootstrap, under the null, and the verdicts built on them."""

from __future__ import annotations

import random

import numpy as np
import pytest
from finetune_operator.search import rounds, specialise
from finetune_operator.search.significance import Utterances, holm, paired_p_value
from finetune_trainer.metrics import ErrorCounts, paired_bootstrap


def draw(rng: random.Random, count: int, rate: float, words: tuple[int, ...] | None = None) -> Utterances:
    lengths = words or tuple(rng.randint(1, 20) for _ in range(count))
    return Utterances(tuple(sum(rng.random() < rate for _ in range(n)) for n in lengths), lengths)


@pytest.mark.parametrize(("before", "after"), [(0.3, 0.25), (0.3, 0.29), (0.3, 0.31), (0.1, 0.05)])
def test_it_agrees_with_the_paired_bootstrap(before, after):
    rng = random.Random(3)
    reference = draw(rng, 300, before)
    candidate = draw(rng, 300, after, reference.words)
    counts = [ErrorCounts(np.array(u.errors), np.array(u.words)) for u in (reference, candidate)]
    expected = paired_bootstrap(*counts, seed=0, resamples=20_000).p_value
    assert paired_p_value(reference, candidate) == pytest.approx(expected, abs=0.02)


def test_under_the_null_one_in_twenty_is_below_a_twentieth():
    rng = random.Random(5)
    below = 0
    for _ in range(400):
        reference = draw(rng, 80, 0.3)
        p_value = paired_p_value(reference, draw(rng, 80, 0.3, reference.words))
        below += p_value is not None and p_value <= 0.05
    assert 0.02 <= below / 400 <= 0.09


@pytest.mark.parametrize(
    ("reference", "candidate", "expected"),
    [
        (Utterances((1, 2), (5, 5)), Utterances((1, 2), (5, 6)), None),  # not the same utterances
        (Utterances((1,), (5,)), Utterances((0,), (5,)), None),
        (Utterances(), Utterances(), None),
        (Utterances((1, 2), (5, 5)), Utterances((1, 2), (5, 5)), 1.0),
        (Utterances((2, 2), (5, 5)), Utterances((1, 1), (5, 5)), 0.0),
    ],
)
def test_edges(reference, candidate, expected):
    assert paired_p_value(reference, candidate) == expected


def test_holm_is_monotone_and_never_below_the_raw_value():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_specialists_are_chosen_on_validation_and_judged_on_test():
    rates = {
        "general": {"accent": 0.3, "noise": 0.2},
        "other": {"accent": 0.1, "noise": 0.2},
        "lucky": {"accent": 0.2, "noise": 0.1},
    }
    chosen = specialise.choose("general", rates)
    assert chosen == {"accent": "other", "noise": "lucky"}
    words = (10,) * 100
    general = {"accent": Utterances((3,) * 50 + (4,) * 50, words), "noise": Utterances((2,) * 100, words)}
    found = {
        "accent": {"accent": Utterances((1,) * 60 + (2,) * 40, words)},
        "noise": {"noise": Utterances((1, 3) * 50, words)},
    }
    verdicts = specialise.judge(general, found, 0.05)
    assert verdicts["accent"].significant
    assert verdicts["accent"].relative_improvement == pytest.approx(0.6)
    assert not verdicts["noise"].significant
    assert verdicts["noise"].relative_improvement == 0


def test_the_general_run_wins_a_tie_and_a_group_that_it_lacks_is_no_gain():
    assert specialise.choose("b", {"a": {"x": 0.1}, "b": {"x": 0.1}}) == {"x": "b"}
    verdict = specialise.judge({}, {"x": {"x": Utterances((1, 1), (5, 5))}}, 0.05)["x"]
    assert (verdict.significant, verdict.p_value, verdict.relative_improvement) == (False, None, None)


def test_a_round_is_due_when_enough_cases_are_new():
    assert rounds.due(1100, 100, 1000)
    assert not rounds.due(1099, 100, 1000)
    assert not rounds.due(None, 100, 1000)
    assert not rounds.due(5000, None, 1000)


WORDS = (10,) * 200
GOOD, BAD = Utterances((1,) * 100 + (2,) * 100, WORDS), Utterances((3,) * 100 + (2,) * 100, WORDS)


@pytest.mark.parametrize(
    ("incumbent", "challenger", "before", "after", "replaces", "reason"),
    [
        (0.30, 0.20, BAD, GOOD, True, "Gain 33.33%"),
        (0.30, 0.29, BAD, GOOD, False, "less than the 5.00%"),
        (0.20, 0.30, GOOD, BAD, False, "less than"),
        (0.30, 0.20, BAD, BAD, False, "may be chance"),
        (0.30, 0.20, Utterances(), GOOD, False, "no errors of single utterances"),
        (None, 0.20, BAD, GOOD, False, "did not finish"),
        (0.30, None, BAD, GOOD, False, "No other configuration"),
    ],
)
def test_what_is_in_service_is_replaced_only_by_what_is_better(incumbent, challenger, before, after, replaces, reason):
    verdict = rounds.judge(incumbent, challenger, before, after, min_improvement=0.05, significance=0.05)
    assert verdict.replaces is replaces
    assert reason in verdict.reason
