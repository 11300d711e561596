"""Promotion gates: a pure decision over measured numbers, each verdict with its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .contract import Gates, GateVerdict, SuiteResult


def judge(
    gates: Gates,
    *,
    relative_improvement: float,
    p_value: float,
    suites: Sequence[SuiteResult],
    error_types: Mapping[str, tuple[float, float]],
) -> tuple[GateVerdict, ...]:
    """Holds a candidate to its bounds.

    Args:
        gates: The bounds.
        relative_improvement: Of the test WER over the baseline's.
        p_value: Of the paired bootstrap on the test set.
        suites: Outcome of each regression suite.
        error_types: WER per error type on the test set: candidate's, baseline's.
    """
    verdicts = [
        GateVerdict(
            name="minImprovement",
            value=relative_improvement,
            threshold=gates.min_improvement,
            # Equal to the bound passes, but a candidate that is no better than the baseline never does.
            passed=relative_improvement >= gates.min_improvement and relative_improvement > 0,
        ),
        GateVerdict(
            name="significance", value=p_value, threshold=gates.significance, passed=p_value <= gates.significance
        ),
    ]
    if suites:
        rate = pass_rate(suites)
        verdicts.append(
            GateVerdict(
                name="minRegressionPassRate",
                value=rate,
                threshold=gates.min_regression_pass_rate,
                passed=rate >= gates.min_regression_pass_rate,
            )
        )
    if gates.max_error_type_degradation is not None and error_types:
        worst = max(candidate - baseline for candidate, baseline in error_types.values())
        verdicts.append(
            GateVerdict(
                name="maxErrorTypeDegradation",
                value=worst,
                threshold=gates.max_error_type_degradation,
                passed=worst <= gates.max_error_type_degradation,
            )
        )
    return tuple(verdicts)


def pass_rate(suites: Sequence[SuiteResult]) -> float:
    """Share of suites within their bound; 1 without suites."""
    return sum(suite.passed for suite in suites) / len(suites) if suites else 1.0
