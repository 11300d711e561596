"""Gates: verdicts as a table."""

from __future__ import annotations

import pytest
from finetune_trainer.contract import Gates, SuiteResult
from finetune_trainer.gates import judge, pass_rate


def suite(passed: bool) -> SuiteResult:
    return SuiteResult(name="s", utterances=10, wer=0.1, baseline_wer=0.1, passed=passed)


@pytest.mark.parametrize(
    ("gates", "improvement", "p_value", "suites", "types", "expected"),
    [
        (Gates(), 0.2, 0.01, [], {}, {"minImprovement": True, "significance": True}),
        (Gates(), 0.0, 0.01, [], {}, {"minImprovement": False, "significance": True}),
        (Gates(min_improvement=0.1), 0.1, 0.05, [], {}, {"minImprovement": True, "significance": True}),
        (Gates(min_improvement=0.1), 0.09, 0.051, [], {}, {"minImprovement": False, "significance": False}),
        (
            Gates(),
            0.2,
            0.01,
            [suite(True), suite(False)],
            {},
            {"minImprovement": True, "significance": True, "minRegressionPassRate": False},
        ),
        (
            Gates(min_regression_pass_rate=0.5),
            0.2,
            0.01,
            [suite(True), suite(False)],
            {},
            {"minImprovement": True, "significance": True, "minRegressionPassRate": True},
        ),
        (
            Gates(max_error_type_degradation=0.05),
            0.2,
            0.01,
            [],
            {"accent": (0.1, 0.3), "noise": (0.4, 0.3)},
            {"minImprovement": True, "significance": True, "maxErrorTypeDegradation": False},
        ),
    ],
)
def test_each_gate_is_judged_by_its_own_bound(
    gates: Gates,
    improvement: float,
    p_value: float,
    suites: list[SuiteResult],
    types: dict[str, tuple[float, float]],
    expected: dict[str, bool],
) -> None:
    verdicts = judge(gates, relative_improvement=improvement, p_value=p_value, suites=suites, error_types=types)
    assert {verdict.name: verdict.passed for verdict in verdicts} == expected


def test_no_suites_means_all_passed() -> None:
    assert pass_rate([]) == 1.0
    assert pass_rate([suite(True), suite(False)]) == 0.5
