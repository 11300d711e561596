"""When a stage of a search has little more to give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

LEAST_RUNS = 6
"""Finished runs before anything is said about the next ones."""

Goal = Literal["minimize", "maximize"]


def expected_gain(values: Sequence[float], remaining: int, goal: Goal = "minimize") -> float | None:
    """By how much the best of `remaining` more trials is expected to beat the best so far, as a share of it.

    The best values of many draws are spaced as those of an exponential distribution, whatever the distribution they
    come from, as long as its tail is no heavier (Weissman, "Estimation of parameters and large quantiles based on the k
    largest observations", JASA 73, 1978). Its scale is estimated by the mean excess of the k best values over the next
    one, and the best of n draws is expected at scale * H(n) (Renyi, 1953), H the harmonic numbers. So m more draws are
    expected to gain scale * (H(n + m) - H(n)). Only the best values count: bad runs change nothing. Error rates cannot
    fall below zero, which makes their tail lighter and this estimate a cautious one: it rather goes on than stops.

    Draws are taken as exchangeable. For Bayesian search, which learns, that holds the closer the nearer it is to its
    end; while it still makes progress, the gaps between its best runs are wide, and the estimate is large.

    Args:
        values: Metric of the stage's finished runs, in any order.
        remaining: Trials that are left to the stage.
        goal: Direction of the metric.

    Returns:
        The expected relative gain, at least 0; None for fewer than `LEAST_RUNS` runs, and for a best value of 0.
    """
    count = len(values)
    sign = 1.0 if goal == "minimize" else -1.0
    ranked = sorted(sign * value for value in values)
    if count < LEAST_RUNS or ranked[0] == 0:
        return None
    best_runs = max(3, math.isqrt(count))
    scale = sum(ranked[best_runs] - value for value in ranked[:best_runs]) / best_runs
    draws = sum(1 / number for number in range(count + 1, count + remaining + 1))
    return scale * draws / abs(ranked[0])


def exhausted(values: Sequence[float], remaining: int, threshold: float, goal: Goal = "minimize") -> bool:
    """Whether a stage should end early: what its remaining trials are expected to gain is below the threshold.

    Jones, Schonlau and Welch (1998) end their search when the expected improvement falls below 1 % of the best value;
    that is the default threshold of a stage.

    Args:
        values: Metric of the stage's finished runs.
        remaining: Trials that are left to the stage.
        threshold: Least relative gain worth going on for; 0 never ends a stage.
        goal: Direction of the metric.
    """
    gain = expected_gain(values, remaining, goal)
    return remaining > 0 and gain is not None and gain < threshold
